"""Sent values are stored unchanged, in each encoding."""

from __future__ import annotations

import base64
import gzip
import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from automagik_telemetry.collector._body import zstd

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from automagik_telemetry.collector.server import Collector

    Make = Callable[..., dict[str, Any]]
    Stored = Callable[[str], list[dict[str, Any]]]

START = int(time.time()) * 1_000_000_000 - 3_600_000_000_000 + 123_456_789
TRACE_ID = "5b8efff798038103d269b633813fc60c"
SPAN_ID = "eee19b7ec3c1b174"
JSON = {"content-type": "application/json"}
PROTOBUF = {"content-type": "application/x-protobuf"}

SPAN_SENT = {
    "traceId": TRACE_ID.upper(),
    "spanId": SPAN_ID,
    "parentSpanId": "eee19b7ec3c1b173",
    "traceState": "a=b",
    "name": "agent.run",
    "kind": 2,
    "startTimeUnixNano": str(START),
    "endTimeUnixNano": START + 12_500_000,
    "attributes": [
        {"key": "text", "value": {"stringValue": 'line 1\nline 2 \u2028 é \U0001f600 " \\ \x00 end'}},
        {"key": "empty", "value": {"stringValue": ""}},
        {"key": "true", "value": {"boolValue": True}},
        {"key": "false", "value": {"boolValue": False}},
        {"key": "count", "value": {"intValue": "9223372036854775807"}},
        {"key": "zero", "value": {"intValue": 0}},
        {"key": "measure", "value": {"doubleValue": 1.5}},
        {"key": "nothing", "value": {}},
        {"key": "list", "value": {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "two"}]}}},
        {"key": "map", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": True}}]}}},
        {"key": "bytes", "value": {"bytesValue": "/+8="}},
    ],
    "status": {"code": 2, "message": "it failed"},
    "events": [
        {
            "timeUnixNano": str(START + 1),
            "name": "exception",
            "attributes": [{"key": "exception.type", "value": {"stringValue": "ValueError"}}],
        },
        {"timeUnixNano": str(START + 2), "name": "second"},
    ],
    "links": [
        {
            "traceId": "0af7651916cd43dd8448eb211c80319c",
            "spanId": "b7ad6b7169203331",
            "traceState": "c=d",
            "attributes": [{"key": "why", "value": {"stringValue": "retry"}}],
        }
    ],
}
SPAN_STORED = {
    "Timestamp": START,
    "TraceId": TRACE_ID,
    "SpanId": SPAN_ID,
    "ParentSpanId": "eee19b7ec3c1b173",
    "TraceState": "a=b",
    "SpanName": "agent.run",
    "SpanKind": "Server",
    "ServiceName": "automagik-agents",
    "ResourceAttributes": {"service.name": "automagik-agents", "user.id": "anonymous"},
    "ScopeName": "automagik_telemetry",
    "ScopeVersion": "1.2.3",
    "SpanAttributes": {
        "text": 'line 1\nline 2 \u2028 é \U0001f600 " \\ \x00 end',
        "empty": "",
        "true": "true",
        "false": "false",
        "count": "9223372036854775807",
        "zero": "0",
        "measure": "1.5",
        "nothing": "",
        "list": '[1,"two"]',
        "map": '{"k":true}',
        "bytes": "/+8=",
    },
    "Duration": 12_500_000,
    "StatusCode": "Error",
    "StatusMessage": "it failed",
    "Events.Name": ["exception", "second"],
    "Events.Attributes": [{"exception.type": "ValueError"}, {}],
    "Links.TraceId": ["0af7651916cd43dd8448eb211c80319c"],
    "Links.SpanId": ["b7ad6b7169203331"],
    "Links.TraceState": ["c=d"],
    "Links.Attributes": [{"why": "retry"}],
}
RECORD_SENT = {
    "timeUnixNano": str(START),
    "observedTimeUnixNano": str(START + 5),
    "traceId": TRACE_ID,
    "spanId": SPAN_ID,
    "flags": 257,
    "severityNumber": 17,
    "severityText": "ERROR",
    "eventName": "agent.error",
    "body": {"stringValue": "agent.error"},
    "attributes": [{"key": "event.error_type", "value": {"stringValue": "ValueError"}}],
}
RECORD_STORED = {
    "Timestamp": START,
    "TimestampTime": START // 1_000_000_000 * 1_000_000_000,
    "TraceId": TRACE_ID,
    "SpanId": SPAN_ID,
    "TraceFlags": 1,
    "SeverityText": "ERROR",
    "SeverityNumber": 17,
    "ServiceName": "automagik-agents",
    "Body": "agent.error",
    "ResourceSchemaUrl": "",
    "ResourceAttributes": {"service.name": "automagik-agents", "user.id": "anonymous"},
    "ScopeSchemaUrl": "",
    "ScopeName": "automagik_telemetry",
    "ScopeVersion": "1.2.3",
    "ScopeAttributes": {},
    "LogAttributes": {"event.error_type": "ValueError"},
    "EventName": "agent.error",
}


def _with_base64_ids(request: dict[str, Any]) -> dict[str, Any]:
    """Turns the hex ids of OTLP's JSON into the base64 of protobuf's own."""

    def convert(key: str, value: object) -> object:
        if key in {"traceId", "spanId", "parentSpanId"}:
            return base64.b64encode(bytes.fromhex(str(value))).decode()
        if isinstance(value, list):
            return [convert("", item) for item in value]
        if isinstance(value, dict):
            return {name: convert(name, item) for name, item in value.items()}
        return value

    return {name: convert(name, item) for name, item in request.items()}


def test_a_json_span_is_stored_with_every_value(client: httpx.Client, traces: Make, stored: Stored) -> None:
    """All fields of a span come back as the exporter for ClickHouse writes them, and the answer is `{}`."""
    reply = client.post("/v1/traces", content=orjson.dumps(traces(SPAN_SENT)), headers=JSON)
    assert (reply.status_code, reply.content, reply.headers["content-type"]) == (200, b"{}", "application/json")
    (row,) = stored("otel_traces")
    times = row.pop("Events.Timestamp")
    assert row == SPAN_STORED
    assert len(times) == 2


def test_event_times_keep_their_nanoseconds(client: httpx.Client, traces: Make, collector: Collector) -> None:
    """The times of span events are stored to the nanosecond."""
    client.post("/v1/traces", json=traces(SPAN_SENT)).raise_for_status()
    with collector.store._database.cursor() as cursor:
        found = cursor.execute('SELECT epoch_ns(unnest("Events.Timestamp")) FROM otel_traces').fetchall()
    assert found == [(START + 1,), (START + 2,)]


def test_a_protobuf_span_is_stored_with_every_value(client: httpx.Client, traces: Make, stored: Stored) -> None:
    """The same span in protobuf makes the same row, and the answer is an empty protobuf response."""
    body = ParseDict(_with_base64_ids(traces(SPAN_SENT)), ExportTraceServiceRequest()).SerializeToString()
    reply = client.post("/v1/traces", content=body, headers=PROTOBUF)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/x-protobuf")
    assert ExportTraceServiceResponse.FromString(reply.content) == ExportTraceServiceResponse()
    (row,) = stored("otel_traces")
    del row["Events.Timestamp"]
    assert row == SPAN_STORED


def test_a_json_record_is_stored_with_every_value(client: httpx.Client, logs: Make, stored: Stored) -> None:
    """All fields of a log record come back, and the answer is `{}`."""
    reply = client.post("/v1/logs", content=orjson.dumps(logs(RECORD_SENT)), headers=JSON)
    assert (reply.status_code, reply.content, reply.headers["content-type"]) == (200, b"{}", "application/json")
    assert stored("otel_logs") == [RECORD_STORED]


def test_a_protobuf_record_is_stored_with_every_value(client: httpx.Client, logs: Make, stored: Stored) -> None:
    """The same record in protobuf makes the same row, and the answer is an empty protobuf response."""
    body = ParseDict(_with_base64_ids(logs(RECORD_SENT)), ExportLogsServiceRequest()).SerializeToString()
    reply = client.post("/v1/logs", content=body, headers=PROTOBUF)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/x-protobuf")
    assert ExportLogsServiceResponse.FromString(reply.content) == ExportLogsServiceResponse()
    assert stored("otel_logs") == [RECORD_STORED]


def test_every_kind_of_protobuf_value_is_stored(client: httpx.Client, stored: Stored) -> None:
    """Each kind of AnyValue in protobuf becomes its plain string."""
    values = {
        "s": AnyValue(string_value="x"),
        "b": AnyValue(bool_value=False),
        "i": AnyValue(int_value=-5),
        "d": AnyValue(double_value=0.25),
        "y": AnyValue(bytes_value=b"\xff\xef"),
        "a": AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue()])),
        "m": AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=AnyValue(double_value=2.0))])),
        "n": AnyValue(),
    }
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.append(
        Span(
            trace_id=bytes.fromhex(TRACE_ID),
            span_id=bytes.fromhex(SPAN_ID),
            kind=Span.SPAN_KIND_CONSUMER,
            status=Status(code=Status.STATUS_CODE_OK),
            attributes=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
    )
    client.post("/v1/traces", content=request.SerializeToString(), headers=PROTOBUF).raise_for_status()
    (row,) = stored("otel_traces")
    assert row["SpanAttributes"] == {
        "s": "x",
        "b": "false",
        "i": "-5",
        "d": "0.25",
        "y": "/+8=",
        "a": "[1,null]",
        "m": '{"k":2.0}',
        "n": "",
    }
    assert (row["SpanKind"], row["StatusCode"], row["ServiceName"], row["Timestamp"]) == ("Consumer", "Ok", "", 0)


@pytest.mark.fault(129)
@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_a_compressed_body_is_taken(
    client: httpx.Client, traces: Make, stored: Stored, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    """A compressed body is stored like a plain one."""
    body = compress(orjson.dumps(traces(SPAN_SENT)))
    reply = client.post("/v1/traces", content=body, headers=JSON | {"content-encoding": encoding})
    assert reply.status_code == 200
    assert [row["SpanId"] for row in stored("otel_traces")] == [SPAN_ID]


def test_a_charset_and_identity_are_tolerated(client: httpx.Client, traces: Make, stored: Stored) -> None:
    """A content type with a parameter and the encoding `identity` are accepted, and the response has neither."""
    headers = {"content-type": "Application/JSON; charset=utf-8", "content-encoding": "identity"}
    reply = client.post("/v1/traces", content=orjson.dumps(traces(SPAN_SENT)), headers=headers)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    assert len(stored("otel_traces")) == 1


def test_names_of_enumerations_are_tolerated(client: httpx.Client, traces: Make, logs: Make, stored: Stored) -> None:
    """Enumerations may be named, as some senders of JSON do."""
    named = SPAN_SENT | {"kind": "SPAN_KIND_CLIENT", "status": {"code": "STATUS_CODE_OK"}}
    client.post("/v1/traces", json=traces(named)).raise_for_status()
    client.post("/v1/logs", json=logs(RECORD_SENT | {"severityNumber": "SEVERITY_NUMBER_WARN2"})).raise_for_status()
    (row,) = stored("otel_traces")
    assert (row["SpanKind"], row["StatusCode"]) == ("Client", "Ok")
    assert [row["SeverityNumber"] for row in stored("otel_logs")] == [14]


def test_absent_null_and_unknown_fields_are_tolerated(client: httpx.Client, logs: Make, stored: Stored) -> None:
    """Only required fields must be present; null is absent, and unknown fields are ignored."""
    least = {"body": None, "attributes": None, "traceId": "", "spanId": "0" * 16, "later": [1]}
    client.post("/v1/logs", json=logs(least)).raise_for_status()
    (row,) = stored("otel_logs")
    assert (row["TraceId"], row["SpanId"], row["Body"], row["LogAttributes"]) == ("", "", "", {})


def test_a_record_without_a_time_has_the_observed_one(client: httpx.Client, logs: Make, stored: Stored) -> None:
    """A log record without a time is stored with its observed time."""
    client.post("/v1/logs", json=logs({"timeUnixNano": "0", "observedTimeUnixNano": START})).raise_for_status()
    assert [row["Timestamp"] for row in stored("otel_logs")] == [START]


def test_a_body_that_is_no_string_is_stored_as_json(client: httpx.Client, logs: Make, stored: Stored) -> None:
    """A structured body is kept as JSON text."""
    body = {"kvlistValue": {"values": [{"key": "b", "value": {"intValue": "1"}}, {"key": "a", "value": {}}]}}
    client.post("/v1/logs", json=logs({"body": body})).raise_for_status()
    assert [row["Body"] for row in stored("otel_logs")] == ['{"a":null,"b":1}']


def test_a_span_that_ends_before_it_starts_has_no_duration(client: httpx.Client, traces: Make, stored: Stored) -> None:
    """A clock that was set back does not make a duration of 584 years."""
    client.post("/v1/traces", json=traces(SPAN_SENT | {"endTimeUnixNano": START - 1})).raise_for_status()
    assert [row["Duration"] for row in stored("otel_traces")] == [0]


def test_an_empty_request_is_accepted(client: httpx.Client, stored: Stored) -> None:
    """A request with nothing in it is right, in both encodings."""
    assert client.post("/v1/traces", json={}).status_code == 200
    assert client.post("/v1/logs", content=b"", headers=PROTOBUF).status_code == 200
    assert stored("otel_traces") == stored("otel_logs") == []


def test_the_real_exporter_is_understood(collector: Collector, stored: Stored) -> None:
    """Spans of the OpenTelemetry SDK, sent by its own exporter over HTTP, arrive."""
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    exporter = OTLPSpanExporter(f"{collector.url}/v1/traces", compression=Compression.Gzip)
    provider = TracerProvider(resource=Resource({"service.name": "sdk"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("scope", "9").start_as_current_span("outer") as outer:
        outer.set_attribute("flag", value=True)
        outer.add_event("seen", {"n": 1})
    provider.shutdown()
    (row,) = stored("otel_traces")
    assert row["TraceId"] == f"{outer.get_span_context().trace_id:032x}"
    assert row["SpanId"] == f"{outer.get_span_context().span_id:016x}"
    assert row["SpanAttributes"] == {"flag": "true"}
    assert (row["ServiceName"], row["SpanName"], row["ScopeName"], row["ScopeVersion"]) == (
        "sdk",
        "outer",
        "scope",
        "9",
    )
    assert (row["Events.Name"], row["Events.Attributes"]) == (["seen"], [{"n": "1"}])


def test_health(client: httpx.Client) -> None:
    """`GET /health` returns 200."""
    assert client.get("/health").status_code == 200
