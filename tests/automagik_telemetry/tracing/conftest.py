"""Traces as they are logged, without a sink: a recorder that keeps all, and a handler that collects."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from automagik_telemetry.handlers._loggers import TRACE_LOGGER, own
from automagik_telemetry.handlers.formatter import event_dict
from automagik_telemetry.tracing import spans
from automagik_telemetry.tracing.manager import ObservabilityManager
from automagik_telemetry.tracing.sampler import AdaptiveSampler

if TYPE_CHECKING:
    from collections.abc import Iterator


class Logged(logging.Handler):
    """Keeps the event dict of every trace that is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.events.append(event_dict(record))

    def only(self) -> dict[str, Any]:
        """Return the one trace that was logged."""
        (event,) = self.events
        return event

    def spans(self) -> dict[str, dict[str, Any]]:
        """Return the spans of all traces by name."""
        return {span["name"]: span for event in self.events for span in event["spans"]}


@pytest.fixture
def logged() -> Iterator[Logged]:
    """The handler of logged traces."""
    handler = Logged()
    logger = own(TRACE_LOGGER)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.level = before


@pytest.fixture
def keeping_all(logged: Logged) -> Iterator[ObservabilityManager]:
    """Record everything, and keep it."""
    yield ObservabilityManager(sampler=AdaptiveSampler(base_rate=1.0))
    spans.record_with(None)
