"""The real pipeline towards a receiver that keeps every byte, and the count of cases for the last line of a run."""

from __future__ import annotations

from tests.automagik_telemetry.conftest import fresh_process, opted_in, receiver

__all__ = ["fresh_process", "opted_in", "receiver"]
