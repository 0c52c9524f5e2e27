"""A filter that puts the IDs of the active span on records of the standard library."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

from automagik_telemetry._failsafe import attempt
from automagik_telemetry.handlers._record import SpanID
from automagik_telemetry.tracing._propagation import application_ids
from automagik_telemetry.tracing.spans import current_span

if TYPE_CHECKING:
    from collections.abc import Mapping

_NO_IDS = "0", "0", False


class TraceContextFilter(logging.Filter):
    """A filter of a handler that adds the IDs of the active span to each record, and drops none.

    The attributes are `trace_id` and `span_id`, and those of OpenTelemetry's logging instrumentation: `otelTraceID`,
    `otelSpanID`, `otelTraceSampled` and `otelServiceName`. Outside of a trace the IDs are "0". A record that has one of
    them already keeps it. While no full trace is recorded, the IDs are those of the application's OpenTelemetry span,
    or those bound with structlog's contextvars.

    Args:
        service_name: The value of `otelServiceName`. The default is an empty string.
    """

    def __init__(self, service_name: str = "") -> None:
        super().__init__()
        self.service_name = service_name

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the IDs to a record.

        Args:
            record: The record.

        Returns:
            True.
        """
        trace_id, span_id, sampled = attempt(_active_ids, default=_NO_IDS)
        attributes = record.__dict__
        for name, value in (
            ("trace_id", SpanID(trace_id)),
            ("span_id", SpanID(span_id)),
            ("otelTraceID", trace_id),
            ("otelSpanID", span_id),
            ("otelTraceSampled", sampled),
            ("otelServiceName", self.service_name),
        ):
            attributes.setdefault(name, value)
        return True


def _active_ids() -> tuple[str, str, bool]:
    """Return the IDs of the active trace and span, and whether the span is recorded."""
    span = current_span()
    if span is not None:
        return span.trace.trace_id, span.span_id, span.recorded and span.trace.recorder is not None
    ids: Mapping[str, Any] = application_ids()
    if ids:
        return ids["trace_id"], ids["span_id"], _is_sampled()
    ids = structlog.contextvars.get_contextvars()
    trace_id, span_id = ids.get("trace_id"), ids.get("span_id")
    if type(trace_id) is str and type(span_id) is str:
        return trace_id, span_id, False
    return _NO_IDS


def _is_sampled() -> bool:
    """Return whether the application's current span of OpenTelemetry is sampled."""
    span = sys.modules["opentelemetry.trace"].get_current_span()
    return bool(span.get_span_context().trace_flags.sampled)
