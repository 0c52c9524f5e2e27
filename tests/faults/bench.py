"""A pipeline on a test's clock, with an exporter whose results are set, and without a thread."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

from automagik_telemetry.export._contract import ExportResult, Outcome
from automagik_telemetry.export._worker import Run
from tests.faults.sending import checked_metrics, line, pipeline
from tests.faults.server import span_ids

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from automagik_telemetry.export._pipeline import Pipeline

RETRY = ExportResult(Outcome.RETRY)
REJECTED = ExportResult(Outcome.REJECTED)
TOO_LARGE = ExportResult(Outcome.TOO_LARGE)
SUCCESS = ExportResult(Outcome.SUCCESS)


class Sink:
    """An exporter with a set result. It records the IDs of accepted events and of every attempt."""

    url = "http://endpoint.test/v1/traces"
    under_way = False

    def __init__(self, answer: Callable[[list[str]], ExportResult] | ExportResult = SUCCESS) -> None:
        self.answer = answer
        self.attempts: list[list[str]] = []
        self.accepted: list[str] = []

    def export(self, body: bytes, timeout: float) -> ExportResult:
        """Answer."""
        assert timeout == 10.0
        found = span_ids(gzip.decompress(body))
        self.attempts.append(found)
        result = self.answer if isinstance(self.answer, ExportResult) else self.answer(found)
        if result.outcome is Outcome.SUCCESS:
            self.accepted += found
        return result

    def prepare(self) -> None:
        """Do nothing."""

    def abandon(self) -> None:
        """Do nothing."""

    def shutdown(self) -> None:
        """Do nothing."""


class Bench:
    """A pipeline without a thread; `tick` and `pass_time` replace it."""

    def __init__(self, state: Path | None, sink: Sink, **options: Any) -> None:
        self.now = 1000.0
        self.sink = sink
        self.pipeline: Pipeline = pipeline(state, sink, clock=lambda: self.now, **options)
        self.pipeline.worker.active = Run()  # as if there were a thread, so that none is started
        self.pipeline.worker.backoff._uniform = lambda _low, high: high

    def log(self, *numbers: int) -> None:
        """Queue events."""
        for number in numbers:
            self.pipeline.queue.append(line(number))

    def tick(self, times: int = 1) -> float:
        """Run the worker's tick, and return the delay until the next."""
        delay = 0.0
        for _ in range(times):
            delay = self.pipeline.worker.tick()
            checked_metrics(self.pipeline)
        return delay

    def pass_time(self, seconds: float) -> None:
        """Move the clock, and run the worker until no work is due."""
        self.now += seconds
        while self.tick() == 0.0:
            pass

    def metrics(self) -> dict[str, Any]:
        """Return the metrics."""
        return checked_metrics(self.pipeline)
