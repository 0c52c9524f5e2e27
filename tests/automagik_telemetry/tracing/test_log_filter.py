"""The filter that puts the IDs of the active span on records."""

from __future__ import annotations

import asyncio
import io
import logging
import logging.config
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider

from automagik_telemetry import TraceContextFilter, configure, get_tracing_manager
from automagik_telemetry.handlers.formatter import event_dict

if TYPE_CHECKING:
    from automagik_telemetry.testing import CapturedTelemetry
    from automagik_telemetry.tracing.context import TraceContext

NOTHING = {
    "trace_id": "0",
    "span_id": "0",
    "otelTraceID": "0",
    "otelSpanID": "0",
    "otelTraceSampled": False,
    "otelServiceName": "",
}


def added(filter_: TraceContextFilter | None = None, **attributes: Any) -> dict[str, Any]:
    """Return the attributes that the filter has added to a record, or left there."""
    record = logging.makeLogRecord(attributes)
    assert (filter_ or TraceContextFilter()).filter(record)
    return {name: record.__dict__[name] for name in NOTHING}


def run(name: str = "simple") -> TraceContext:
    """Return the block of a run."""
    observability = get_tracing_manager().observability
    assert observability is not None
    return observability.trace_agent_run(name)


def test_outside_of_a_trace_the_ids_are_zero(telemetry: CapturedTelemetry) -> None:
    """Without a span the attributes are those of OpenTelemetry's logging instrumentation."""
    assert added() == NOTHING
    assert added(TraceContextFilter("shop"))["otelServiceName"] == "shop"


def test_inside_of_a_span_they_are_its_own(telemetry: CapturedTelemetry) -> None:
    """The IDs are those of the innermost span that is sent, in tasks too."""

    async def in_task() -> dict[str, Any]:
        return added()

    with run() as root, root.span("chat") as span:
        found = [added(), asyncio.run(in_task())]
    assert added() == NOTHING
    (sent,) = telemetry.traces
    assert (sent.trace_id, sent.span("chat").span_id) == (span.trace_id, span.span_id)
    for each in found:
        assert each["trace_id"] == each["otelTraceID"] == sent.trace_id
        assert each["span_id"] == each["otelSpanID"] == span.span_id
        assert each["otelTraceSampled"] is True


def test_values_that_are_there_stay(telemetry: CapturedTelemetry) -> None:
    """Values of the application or of OpenTelemetry are never replaced."""
    with run() as root:
        assert added(trace_id="mine", otelTraceID="theirs") == {
            **NOTHING,
            "trace_id": "mine",
            "otelTraceID": "theirs",
            "span_id": root.span_id,
            "otelSpanID": root.span_id,
            "otelTraceSampled": True,
        }


def test_without_tracing() -> None:
    """Without tracing the filter adds zeros, or the IDs that the application has."""
    assert configure().observability is None
    assert added() == NOTHING
    with structlog.contextvars.bound_contextvars(trace_id="a" * 32, span_id="b" * 16):
        assert added() == {
            **NOTHING,
            "trace_id": "a" * 32,
            "span_id": "b" * 16,
            "otelTraceID": "a" * 32,
            "otelSpanID": "b" * 16,
        }
    with structlog.contextvars.bound_contextvars(trace_id=5, span_id=object()):
        assert added() == NOTHING
    span = TracerProvider().get_tracer("test").start_span("theirs")
    with otel.use_span(span):
        context = span.get_span_context()
        assert added()["otelTraceID"] == f"{context.trace_id:032x}"
        assert added()["span_id"] == f"{context.span_id:016x}"
        assert added()["otelTraceSampled"] is True


def test_it_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure to find the span is a record without one."""
    monkeypatch.setattr("automagik_telemetry.tracing._log_filter.current_span", lambda: 1 / 0)
    assert added() == NOTHING


def test_in_a_dictconfig(telemetry: CapturedTelemetry) -> None:
    """A handler of the application shows the IDs in its lines."""
    stream = io.StringIO()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"trace": {"()": "automagik_telemetry.TraceContextFilter", "service_name": "shop"}},
            "formatters": {"line": {"format": "%(trace_id)s %(span_id)s %(otelServiceName)s %(message)s"}},
            "handlers": {
                "out": {
                    "class": "logging.StreamHandler",
                    "stream": stream,
                    "filters": ["trace"],
                    "formatter": "line",
                }
            },
            "loggers": {"shop": {"level": "INFO", "handlers": ["out"]}},
        }
    )
    with run() as root:
        logging.getLogger("shop").info("inside")
    logging.getLogger("shop").info("outside")
    logging.getLogger("shop").handlers.clear()
    assert stream.getvalue() == f"{root.trace_id} {root.span_id} shop inside\n0 0 shop outside\n"


@pytest.mark.parametrize("is_inside", [True, False])
def test_sent_events_do_not_change(telemetry: CapturedTelemetry, is_inside: bool) -> None:
    """A filter of another handler, or of the sink, changes no ID of an event, and no field is dropped because of it."""

    def log() -> None:
        logging.getLogger("automagik").info("feature.used", extra={"feature_name": "cli"})

    def log_both() -> None:
        log()
        logger = logging.getLogger("automagik")
        other = logging.NullHandler()
        handlers = [other, *logger.handlers]
        for handler in handlers:
            handler.addFilter(TraceContextFilter())
        logger.handlers.insert(0, other)
        try:
            log()
        finally:
            logger.removeHandler(other)
            for handler in handlers:
                handler.filters.clear()

    if is_inside:
        with run():
            log_both()
    else:
        log_both()
    before, after = telemetry.events
    assert telemetry.dropped == []
    assert after.span_id != before.span_id
    assert after.parent_span_id == before.parent_span_id
    assert (after.trace_id == before.trace_id) is is_inside
    assert bool(after.parent_span_id) is is_inside


def test_the_ids_are_plain_for_others() -> None:
    """Pickled, the IDs are plain strings. An event dict does not have them."""
    record = logging.makeLogRecord({"msg": "feature.used", "levelno": logging.INFO})
    TraceContextFilter().filter(record)
    assert type(pickle.loads(pickle.dumps(record.__dict__))["trace_id"]) is str  # noqa: S301 - our own
    assert event_dict(record).keys() == {"event", "level", "timestamp"}
