"""OTLP's protobuf encoding, turned into its JSON shape, so that both are checked and stored by the same code."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from automagik_telemetry.collector._errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from automagik_telemetry.collector._values import Json


def parse_traces(body: bytes) -> Json:
    """An ExportTraceServiceRequest in its JSON shape.

    Raises:
        BadRequest: 400, when the body is not one.
    """
    request = ExportTraceServiceRequest()
    _parse(request, body)
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource.resource.attributes)},
                "scopeSpans": [
                    {"scope": _scope(scope.scope), "spans": [_span(span) for span in scope.spans]}
                    for scope in resource.scope_spans
                ],
            }
            for resource in request.resource_spans
        ]
    }


def parse_logs(body: bytes) -> Json:
    """An ExportLogsServiceRequest in its JSON shape.

    Raises:
        BadRequest: 400, when the body is not one.
    """
    request = ExportLogsServiceRequest()
    _parse(request, body)
    return {
        "resourceLogs": [
            {
                "resource": {"attributes": _attributes(resource.resource.attributes)},
                "schemaUrl": resource.schema_url,
                "scopeLogs": [
                    {
                        "scope": _scope(scope.scope),
                        "schemaUrl": scope.schema_url,
                        "logRecords": [_record(record) for record in scope.log_records],
                    }
                    for scope in resource.scope_logs
                ],
            }
            for resource in request.resource_logs
        ]
    }


def status(code: int, message: str) -> bytes:
    """A `google.rpc.Status` with these two fields (`code` below 128), as protobuf bytes."""
    text = message.encode()
    return bytes([0x08, code, 0x12]) + _varint(len(text)) + text


def _parse(request: Message, body: bytes) -> None:
    try:
        request.ParseFromString(body)
    except DecodeError:
        raise BadRequest(400, f"The body is not a valid protobuf {request.DESCRIPTOR.name}.") from None


def _scope(scope: InstrumentationScope) -> Json:
    return {"name": scope.name, "version": scope.version, "attributes": _attributes(scope.attributes)}


def _span(span: Span) -> Json:
    return {
        "traceId": span.trace_id.hex(),
        "spanId": span.span_id.hex(),
        "parentSpanId": span.parent_span_id.hex(),
        "traceState": span.trace_state,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": span.start_time_unix_nano,
        "endTimeUnixNano": span.end_time_unix_nano,
        "attributes": _attributes(span.attributes),
        "status": {"code": span.status.code, "message": span.status.message},
        "events": [
            {"timeUnixNano": event.time_unix_nano, "name": event.name, "attributes": _attributes(event.attributes)}
            for event in span.events
        ],
        "links": [
            {
                "traceId": link.trace_id.hex(),
                "spanId": link.span_id.hex(),
                "traceState": link.trace_state,
                "attributes": _attributes(link.attributes),
            }
            for link in span.links
        ],
    }


def _record(record: LogRecord) -> Json:
    return {
        "timeUnixNano": record.time_unix_nano,
        "observedTimeUnixNano": record.observed_time_unix_nano,
        "traceId": record.trace_id.hex(),
        "spanId": record.span_id.hex(),
        "flags": record.flags,
        "severityText": record.severity_text,
        "severityNumber": record.severity_number,
        "body": _any(record.body),
        "attributes": _attributes(record.attributes),
        "eventName": record.event_name,
    }


def _attributes(pairs: Iterable[KeyValue]) -> list[Json]:
    return [{"key": pair.key, "value": _any(pair.value)} for pair in pairs]


def _any(value: AnyValue) -> dict[str, Any]:  # noqa: PLR0911 - one for each kind of value
    match value.WhichOneof("value"):
        case "string_value":
            return {"stringValue": value.string_value}
        case "bool_value":
            return {"boolValue": value.bool_value}
        case "int_value":
            return {"intValue": value.int_value}
        case "double_value":
            return {"doubleValue": value.double_value}
        case "bytes_value":
            return {"bytesValue": base64.b64encode(value.bytes_value).decode()}
        case "array_value":
            return {"arrayValue": {"values": [_any(item) for item in value.array_value.values]}}
        case "kvlist_value":
            return {"kvlistValue": {"values": _attributes(value.kvlist_value.values)}}
        case _:
            return {}


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte, the eighth says that more follow
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
