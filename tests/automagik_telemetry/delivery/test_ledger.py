"""The account stays whole whatever comes in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from automagik_telemetry.delivery.segment import MappedSegment
from tests.faults.bench import Bench, Sink

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.fault(43)
def test_a_refusal_while_events_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler that logs while a batch is closed is counted beside the batch's events."""
    bench = Bench(tmp_path / "state", Sink(), max_export_batch_size=2)

    class Interrupted(MappedSegment):
        @property
        def events(self) -> int:
            bench.pipeline.ledger.refuse("reentrant")
            return super().events

    monkeypatch.setattr("automagik_telemetry.delivery.queue.MappedSegment", Interrupted)
    bench.log(0, 1)
    account = bench.account()
    assert account["dropped_by_reason"]["reentrant"] > 0
    assert account["queued"] == 2 + account["dropped"]
