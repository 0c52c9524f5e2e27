"""A pipeline on a clock that the test moves, with an exporter that answers as told; its thread never starts."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

from automagik_telemetry.export._contract import ExportResult, Outcome
from tests.faults.sending import account, line, pipeline
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
    """An exporter that answers as told, and keeps the ids of what it accepted and of every attempt."""

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
        """Be ready."""

    def abandon(self) -> None:
        """Do nothing."""

    def shutdown(self) -> None:
        """Do nothing."""


class Bench:
    """A pipeline whose thread never starts; `tick` and `pass_time` stand in for it."""

    def __init__(self, state: Path | None, sink: Sink, **options: Any) -> None:
        self.now = 1000.0
        self.sink = sink
        self.pipeline: Pipeline = pipeline(state, sink, clock=lambda: self.now, **options)
        self.pipeline.worker.active = self  # as if there were a thread, so that none is started
        self.pipeline.worker.backoff._uniform = lambda _low, high: high

    def log(self, *numbers: int) -> None:
        """Queue events."""
        for number in numbers:
            self.pipeline.queue.append(line(number))

    def tick(self, times: int = 1) -> float:
        """Let the worker look, and return when it wants to look again."""
        delay = 0.0
        for _ in range(times):
            delay = self.pipeline.worker.tick()
            account(self.pipeline)
        return delay

    def pass_time(self, seconds: float) -> None:
        """Move the clock, and let the listener do all that is due then."""
        self.now += seconds
        while self.tick() == 0.0:
            pass

    def account(self) -> dict[str, Any]:
        """Return the account."""
        return account(self.pipeline)
