"""Converts an OTLP request in its JSON form into rows of the store, and checks every value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from automagik_telemetry.collector._errors import Malformed
from automagik_telemetry.collector._values import (
    MAX_NANOSECONDS,
    MAX_UINT32,
    Json,
    any_text,
    attributes,
    child,
    enum,
    identifier,
    text,
    unsigned,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Row: TypeAlias = dict[str, Any]
"""A row: values by column name. Timestamps are integers, in Unix nanoseconds."""

_KINDS: Final = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")
_STATUSES: Final = ("Unset", "Ok", "Error")
_KIND_NAMES: Final = tuple(name.upper() for name in _KINDS)
_STATUS_NAMES: Final = tuple(name.upper() for name in _STATUSES)
_SEVERITIES: Final = (
    "UNSPECIFIED",
    *(f"{name}{step}" for name in ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL") for step in ("", 2, 3, 4)),
)
_TRACE_ID: Final = 32
_EARLIER_TRACE_ID: Final = 64

LONG_TRACE_ID: Final = "LongTraceId"
"""Key of a row whose trace ID had 64 digits, as older clients send it. It is not a column."""

_SPAN_ID: Final = 16
_BYTE: Final = 0xFF


def trace_rows(request: Json) -> Iterator[Row]:
    """Yield the spans of an ExportTraceServiceRequest as rows of `otel_traces`.

    Raises:
        Malformed: A value in it is not valid OTLP.
    """

    def in_resource(resource_spans: Json) -> Iterator[Row]:
        resource = _resource(resource_spans)

        def in_scope(scope_spans: Json) -> Iterator[Row]:
            scope = _scope(scope_spans)
            shared = {name: scope[name] for name in ("ScopeName", "ScopeVersion")}
            return walk(scope_spans, "spans", lambda span: iter([_span(span) | resource | shared]))

        return walk(resource_spans, "scopeSpans", in_scope)

    return walk(request, "resourceSpans", in_resource)


def log_rows(request: Json) -> Iterator[Row]:
    """Yield the records of an ExportLogsServiceRequest as rows of `otel_logs`.

    Raises:
        Malformed: A value in it is not valid OTLP.
    """

    def in_resource(resource_logs: Json) -> Iterator[Row]:
        resource = _resource(resource_logs) | {"ResourceSchemaUrl": text(resource_logs, "schemaUrl")}

        def in_scope(scope_logs: Json) -> Iterator[Row]:
            shared = resource | _scope(scope_logs) | {"ScopeSchemaUrl": text(scope_logs, "schemaUrl")}
            return walk(scope_logs, "logRecords", lambda record: iter([_record(record) | shared]))

        return walk(resource_logs, "scopeLogs", in_scope)

    return walk(request, "resourceLogs", in_resource)


def _resource(parent: Json) -> Row:
    """Return the columns that all rows of a resource share."""
    resource = child(parent, "resource")
    try:
        found = attributes(resource)
    except Malformed as error:
        raise error.inside("resource") from None
    return {"ResourceAttributes": found, "ServiceName": found.get("service.name", "")}


def _scope(parent: Json) -> Row:
    """Return the columns that all rows of an instrumentation scope share."""
    scope = child(parent, "scope")
    try:
        return {
            "ScopeName": text(scope, "name"),
            "ScopeVersion": text(scope, "version"),
            "ScopeAttributes": attributes(scope),
        }
    except Malformed as error:
        raise error.inside("scope") from None


def _span(span: Json) -> Row:
    start = unsigned(span, "startTimeUnixNano", MAX_NANOSECONDS)
    end = unsigned(span, "endTimeUnixNano", MAX_NANOSECONDS)
    status, message = _status(span)
    trace_id = text(span, "traceId")
    is_long = len(trace_id) == _EARLIER_TRACE_ID
    if is_long:
        identifier(span, "traceId", _EARLIER_TRACE_ID, required=True)
        span = span | {"traceId": trace_id[:_TRACE_ID]}
    return {
        **({LONG_TRACE_ID: True} if is_long else {}),
        "Timestamp": start,
        "TraceId": identifier(span, "traceId", _TRACE_ID, required=True),
        "SpanId": identifier(span, "spanId", _SPAN_ID, required=True),
        "ParentSpanId": identifier(span, "parentSpanId", _SPAN_ID),
        "TraceState": text(span, "traceState"),
        "SpanName": text(span, "name"),
        "SpanKind": _KINDS[enum(span, "kind", "SPAN_KIND_", _KIND_NAMES)],
        "SpanAttributes": attributes(span),
        "Duration": max(end - start, 0),
        "StatusCode": status,
        "StatusMessage": message,
        **_columns("Events", span, "events", _event, ("Timestamp", "Name", "Attributes")),
        **_columns("Links", span, "links", _link, ("TraceId", "SpanId", "TraceState", "Attributes")),
    }


def _status(span: Json) -> tuple[str, str]:
    status = child(span, "status")
    try:
        code = enum(status, "code", "STATUS_CODE_", _STATUS_NAMES)
        return _STATUSES[code], text(status, "message")
    except Malformed as error:
        raise error.inside("status") from None


def _event(event: Json) -> Iterator[Row]:
    yield {
        "Timestamp": unsigned(event, "timeUnixNano", MAX_NANOSECONDS),
        "Name": text(event, "name"),
        "Attributes": attributes(event),
    }


def _link(link: Json) -> Iterator[Row]:
    yield {
        "TraceId": identifier(link, "traceId", _TRACE_ID, required=True),
        "SpanId": identifier(link, "spanId", _SPAN_ID, required=True),
        "TraceState": text(link, "traceState"),
        "Attributes": attributes(link),
    }


def _record(record: Json) -> Row:
    time = unsigned(record, "timeUnixNano", MAX_NANOSECONDS)
    observed = unsigned(record, "observedTimeUnixNano", MAX_NANOSECONDS)
    return {
        "Timestamp": time or observed,
        "TraceId": identifier(record, "traceId", _TRACE_ID),
        "SpanId": identifier(record, "spanId", _SPAN_ID),
        # The column has one byte for the W3C trace flags. The other bits are reserved.
        "TraceFlags": unsigned(record, "flags", MAX_UINT32) & _BYTE,
        "SeverityText": text(record, "severityText"),
        "SeverityNumber": enum(record, "severityNumber", "SEVERITY_NUMBER_", _SEVERITIES),
        "Body": any_text(record, "body"),
        "LogAttributes": attributes(record),
        "EventName": text(record, "eventName"),
    }


def _columns(nested: str, span: Json, key: str, read: Callable[[Json], Iterator[Row]], names: tuple[str, ...]) -> Row:
    """Return a list of objects as ClickHouse stores it: one array for each field."""
    items = list(walk(span, key, read)) if span.get(key) is not None else []
    return {f"{nested}.{name}": [item[name] for item in items] for name in names}
