"""The fixture `telemetry` of pytest. Nothing of the package is imported until a test uses it.

It is a module of its own, because pytest imports the plugins of every installed distribution in every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automagik_telemetry.testing import CapturedTelemetry


@pytest.fixture
def telemetry() -> Iterator[CapturedTelemetry]:
    """Everything that the application would send during the test. Nothing is sent."""
    from automagik_telemetry.testing import capture

    with capture() as captured:
        yield captured
