"""Converts OTLP's protobuf encoding into its JSON form, so that the same code checks and stores both."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from automagik_telemetry.collector._body import MAX_OBJECTS, MAX_PROTOBUF, too_many_objects
from automagik_telemetry.collector._errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from automagik_telemetry.collector._values import Json


_Item = TypeVar("_Item")


def parse_traces(body: bytes) -> Json:
    """Return an ExportTraceServiceRequest in its JSON form.

    Raises:
        BadRequest: 400, if the body is not valid; 413, if it is too large.
    """
    request = ExportTraceServiceRequest()
    _parse(request, body)
    return _Converter().traces(request)


def parse_logs(body: bytes) -> Json:
    """Return an ExportLogsServiceRequest in its JSON form.

    Raises:
        BadRequest: 400, if the body is not valid; 413, if it is too large.
    """
    request = ExportLogsServiceRequest()
    _parse(request, body)
    return _Converter().logs(request)


def partial_traces(rejected: int, message: str) -> bytes:
    """Return an ExportTraceServiceResponse for a request of which not all is stored."""
    partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    return ExportTraceServiceResponse(partial_success=partial).SerializeToString()


def partial_logs(rejected: int, message: str) -> bytes:
    """Return an ExportLogsServiceResponse for a request of which not all is stored."""
    partial = ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=message)
    return ExportLogsServiceResponse(partial_success=partial).SerializeToString()


def status(code: int, message: str) -> bytes:
    """Return a `google.rpc.Status` with these two fields (`code` below 128), as protobuf bytes."""
    text = message.encode()
    return bytes([0x08, code, 0x12]) + _varint(len(text)) + text


def _parse(request: Message, body: bytes) -> None:
    if len(body) > MAX_PROTOBUF:
        raise BadRequest(413, f"A protobuf body must have at most {MAX_PROTOBUF:,} bytes. Send smaller batches.")
    try:
        request.ParseFromString(body)
    except DecodeError:
        raise BadRequest(400, f"The body is not a valid protobuf {request.DESCRIPTOR.name}.") from None


class _Converter:
    """Converts one request, and counts its objects."""

    def __init__(self) -> None:
        self._objects = 0

    def _counted(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """Return items that are to be converted, if there are not too many in all."""
        self._objects += len(items)
        if self._objects > MAX_OBJECTS:
            raise too_many_objects()
        return items

    def traces(self, request: ExportTraceServiceRequest) -> Json:
        """Return a request in its JSON form."""
        return {
            "resourceSpans": [
                {
                    "resource": {"attributes": self._attributes(resource.resource.attributes)},
                    "scopeSpans": [
                        {
                            "scope": self._scope(scope.scope),
                            "spans": [self._span(span) for span in self._counted(scope.spans)],
                        }
                        for scope in self._counted(resource.scope_spans)
                    ],
                }
                for resource in self._counted(request.resource_spans)
            ]
        }

    def logs(self, request: ExportLogsServiceRequest) -> Json:
        """Return a request in its JSON form."""
        return {
            "resourceLogs": [
                {
                    "resource": {"attributes": self._attributes(resource.resource.attributes)},
                    "schemaUrl": resource.schema_url,
                    "scopeLogs": [
                        {
                            "scope": self._scope(scope.scope),
                            "schemaUrl": scope.schema_url,
                            "logRecords": [self._record(record) for record in self._counted(scope.log_records)],
                        }
                        for scope in self._counted(resource.scope_logs)
                    ],
                }
                for resource in self._counted(request.resource_logs)
            ]
        }

    def _scope(self, scope: InstrumentationScope) -> Json:
        return {"name": scope.name, "version": scope.version, "attributes": self._attributes(scope.attributes)}

    def _span(self, span: Span) -> Json:
        return {
            "traceId": span.trace_id.hex(),
            "spanId": span.span_id.hex(),
            "parentSpanId": span.parent_span_id.hex(),
            "traceState": span.trace_state,
            "name": span.name,
            "kind": span.kind,
            "startTimeUnixNano": span.start_time_unix_nano,
            "endTimeUnixNano": span.end_time_unix_nano,
            "attributes": self._attributes(span.attributes),
            "status": {"code": span.status.code, "message": span.status.message},
            "events": [
                {
                    "timeUnixNano": event.time_unix_nano,
                    "name": event.name,
                    "attributes": self._attributes(event.attributes),
                }
                for event in self._counted(span.events)
            ],
            "links": [
                {
                    "traceId": link.trace_id.hex(),
                    "spanId": link.span_id.hex(),
                    "traceState": link.trace_state,
                    "attributes": self._attributes(link.attributes),
                }
                for link in self._counted(span.links)
            ],
        }

    def _record(self, record: LogRecord) -> Json:
        return {
            "timeUnixNano": record.time_unix_nano,
            "observedTimeUnixNano": record.observed_time_unix_nano,
            "traceId": record.trace_id.hex(),
            "spanId": record.span_id.hex(),
            "flags": record.flags,
            "severityText": record.severity_text,
            "severityNumber": record.severity_number,
            "body": self._any(record.body),
            "attributes": self._attributes(record.attributes),
            "eventName": record.event_name,
        }

    def _attributes(self, pairs: Sequence[KeyValue]) -> list[Json]:
        return [{"key": pair.key, "value": self._any(pair.value)} for pair in self._counted(pairs)]

    def _any(self, value: AnyValue) -> dict[str, Any]:  # noqa: PLR0911 - one for each kind of value
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
                return {"arrayValue": {"values": [self._any(item) for item in self._counted(value.array_value.values)]}}
            case "kvlist_value":
                return {"kvlistValue": {"values": self._attributes(value.kvlist_value.values)}}
            case _:
                return {}


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits in a byte; the eighth is set if more follow
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
