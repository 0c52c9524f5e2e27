"""The receiver of the unit tests, for processes that tests start."""

from __future__ import annotations

from tests.automagik_telemetry.conftest import opted_in, receiver

__all__ = ["opted_in", "receiver"]
