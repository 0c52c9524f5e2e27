"""What the tests of the integrations share: the level."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from automagik_telemetry import get_tracing_manager, host


@pytest.fixture
def to_the_last_detail(opted_in: Any) -> None:
    """Let events of level DEBUG leave too."""
    get_tracing_manager()
    host.sinks()["telemetry"].setLevel(logging.DEBUG)
    logging.getLogger(host.LOGGER).setLevel(logging.DEBUG)
