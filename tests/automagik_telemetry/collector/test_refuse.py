"""Bad input gets a 4xx and one sentence; nothing of it is stored, and nothing stored is harmed."""

from __future__ import annotations

import gzip
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from automagik_telemetry.collector._body import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from automagik_telemetry.collector.server import Collector

    Make = Callable[..., dict[str, Any]]
    Stored = Callable[[str], list[dict[str, Any]]]

pytestmark = pytest.mark.slow

LIMIT = 65536
JSON = {"content-type": "application/json"}
PROTOBUF = {"content-type": "application/x-protobuf"}
GZIP = JSON | {"content-encoding": "gzip"}
ZSTD = JSON | {"content-encoding": "zstd"}
AT = "resourceSpans[0].scopeSpans[0].spans[1]"


def _gzip(data: bytes) -> bytes:
    """The same bytes at any time."""
    return gzip.compress(data, mtime=0)


def _name(value: object) -> str:
    """Names a case by its sentence."""
    return value if isinstance(value, str) else ""


@pytest.fixture
def unharmed(client: httpx.Client, span: Make, traces: Make, stored: Stored) -> Iterator[None]:
    """Stores a span before the test, and finds it and nothing else afterwards, with the collector still working."""
    before, after = span("before"), span("after")
    client.post("/v1/traces", json=traces(before)).raise_for_status()
    yield
    assert [row["SpanName"] for row in stored("otel_traces")] == ["before"]
    assert stored("otel_logs") == []
    client.post("/v1/traces", json=traces(after)).raise_for_status()
    assert [row["SpanName"] for row in stored("otel_traces")] == ["before", "after"]


def _assert_refused(reply: httpx.Response, status: int, message: str) -> None:
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/json")
    assert reply.json() == {"code": 3, "message": message}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("headers", "body", "status", "message"),
    [
        (JSON, b"", 400, "The body is not valid JSON: error at character 0."),
        (JSON, b"hello", 400, "The body is not valid JSON: error at character 0."),
        (JSON, b'{"resourceSpans"', 400, "The body is not valid JSON: error at character 16."),
        (JSON, b"[]", 400, "The body must be a JSON object."),
        (JSON, b'"resourceSpans"', 400, "The body must be a JSON object."),
        (
            JSON,
            b'{"a":' * 2000 + b"1" + b"}" * 2000,
            400,
            "The JSON is nested too deep: at most 1,024 levels are allowed.",
        ),
        (JSON, b"x" * (LIMIT + 1), 413, "The body must have at most 65,536 bytes. Send smaller batches."),
        (
            {"content-type": "text/plain"},
            b"{}",
            415,
            "Content-Type must be application/json or application/x-protobuf, got 'text/plain'.",
        ),
        ({}, b"{}", 415, "Content-Type must be application/json or application/x-protobuf, but is missing."),
        (JSON | {"content-encoding": "br"}, b"{}", 415, "Content-Encoding must be gzip, zstd or identity, got 'br'."),
        (ZSTD, zstd.compress(b'{"resourceSpans": []}')[:-1], 400, "The zstd data is truncated."),
        (ZSTD, b"", 400, "The zstd data is truncated."),
        (ZSTD, b"{}", 400, "The body is not valid zstd."),
        (ZSTD, zstd.compress(b"{}") * 2, 400, "The zstd data must be one frame, but more data follows."),
        (
            ZSTD,
            zstd.compress(b" " * 50_000_000),
            413,
            "The decompressed body must have at most 65,536 bytes. Send smaller batches.",
        ),
        (GZIP, _gzip(b'{"resourceSpans": []}')[:-9], 400, "The gzip data is truncated."),
        (GZIP, b"", 400, "The gzip data is truncated."),
        (GZIP, b"{}", 400, "The body is not valid gzip."),
        (GZIP, _gzip(b"{}")[:-8] + b"\0" * 8, 400, "The body is not valid gzip."),
        (GZIP, _gzip(b"{}") * 2, 400, "The gzip data must be one member, but more data follows."),
        (
            GZIP,
            _gzip(b" " * 50_000_000),
            413,
            "The decompressed body must have at most 65,536 bytes. Send smaller batches.",
        ),
        (JSON, b'{"resourceSpans": {}}', 400, "resourceSpans must be an array, got an object."),
        (JSON, b'{"resourceSpans": [7]}', 400, "resourceSpans[0] must be an object, got 7."),
    ],
    ids=_name,
)
def test_a_bad_body_is_refused(
    client: httpx.Client, headers: dict[str, str], body: bytes, status: int, message: str
) -> None:
    """Each invalid body is rejected with a sentence on the cause."""
    _assert_refused(client.post("/v1/traces", content=body, headers=headers), status, message)


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"traceId": "xyz"}, 'traceId must be 32 hexadecimal digits, got "xyz".'),
        ({"traceId": None}, "traceId must be 32 hexadecimal digits, got nothing."),
        ({"traceId": "g" * 32}, f'traceId must be 32 hexadecimal digits, got "{"g" * 32}".'),
        ({"traceId": "0" * 32}, "traceId must not be all zero."),
        ({"traceId": 5}, "traceId must be a string, got 5."),
        ({"spanId": "a" * 32}, f'spanId must be 16 hexadecimal digits, got "{"a" * 32}".'),
        ({"spanId": ""}, 'spanId must be 16 hexadecimal digits, got "".'),
        ({"spanId": "0" * 16}, "spanId must not be all zero."),
        ({"parentSpanId": "abc"}, 'parentSpanId must be 16 hexadecimal digits, got "abc".'),
        ({"name": ["agent.run"]}, "name must be a string, got an array."),
        ({"kind": "SERVER-ISH"}, 'kind must be an integer, got "SERVER-ISH".'),
        ({"kind": 6}, "kind must be from 0 to 5, got 6."),
        ({"kind": True}, "kind must be an integer, got true."),
        ({"startTimeUnixNano": "soon"}, 'startTimeUnixNano must be an integer, got "soon".'),
        ({"startTimeUnixNano": 1.5}, "startTimeUnixNano must be an integer, got 1.5."),
        ({"startTimeUnixNano": "-1"}, "startTimeUnixNano must be from 0 to 9223372036854775806, got -1."),
        (
            {"endTimeUnixNano": 2**63},
            "endTimeUnixNano must be from 0 to 9223372036854775806, got 9223372036854775808.",
        ),
        ({"status": "ok"}, 'status must be an object, got "ok".'),
        ({"status": {"code": 3}}, "status.code must be from 0 to 2, got 3."),
        ({"attributes": {"a": 1}}, "attributes must be an array, got an object."),
        ({"attributes": [{"key": 1}]}, "attributes[0].key must be a string, got 1."),
        ({"attributes": [{"key": "a", "value": "b"}]}, 'attributes[0].value must be an object, got "b".'),
        (
            {"attributes": [{"key": "a", "value": {"boolValue": "yes"}}]},
            'attributes[0].value.boolValue must be true or false, got "yes".',
        ),
        (
            {"attributes": [{"key": "a", "value": {"intValue": "1.5"}}]},
            'attributes[0].value.intValue must be an integer, got "1.5".',
        ),
        (
            {"attributes": [{"key": "a", "value": {"doubleValue": "much"}}]},
            'attributes[0].value.doubleValue must be a number, got "much".',
        ),
        (
            {"attributes": [{"key": "a", "value": {"bytesValue": "?"}}]},
            "attributes[0].value.bytesValue must be base64.",
        ),
        (
            {"attributes": [{"key": "a", "value": {"arrayValue": {"values": [{}, {"stringValue": 1}]}}}]},
            "attributes[0].value.arrayValue.values[1].stringValue must be a string, got 1.",
        ),
        (
            {"attributes": [{"key": "a", "value": {"kvlistValue": {"values": [{"key": "k", "value": []}]}}}]},
            "attributes[0].value.kvlistValue.values[0].value must be an object, got an array.",
        ),
        ({"events": [{"timeUnixNano": {}}]}, "events[0].timeUnixNano must be an integer, got an object."),
        ({"links": [{"traceId": "1"}]}, 'links[0].traceId must be 32 hexadecimal digits, got "1".'),
    ],
    ids=_name,
)
def test_a_bad_span_refuses_the_whole_request(
    client: httpx.Client, span: Make, traces: Make, wrong: dict[str, Any], message: str
) -> None:
    """For one invalid value among valid spans, the sentence has its path, and no span is stored."""
    request = traces(span("first"), span("second") | wrong, span("third"))
    _assert_refused(client.post("/v1/traces", json=request), 400, f"{AT}.{message}")


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"traceId": "12"}, 'traceId must be 32 hexadecimal digits, got "12".'),
        ({"severityNumber": 25}, "severityNumber must be from 0 to 24, got 25."),
        ({"flags": -1}, "flags must be from 0 to 4294967295, got -1."),
        ({"body": "text"}, 'body must be an object, got "text".'),
        ({"body": {"stringValue": 5}}, "body.stringValue must be a string, got 5."),
        ({"eventName": 5}, "eventName must be a string, got 5."),
    ],
    ids=_name,
)
def test_a_bad_record_refuses_the_whole_request(
    client: httpx.Client, record: Make, logs: Make, wrong: dict[str, Any], message: str
) -> None:
    """For one invalid value among valid records, the sentence has its path, and no record is stored."""
    reply = client.post("/v1/logs", json=logs(record("agent.run"), record("agent.run") | wrong))
    _assert_refused(reply, 400, f"resourceLogs[0].scopeLogs[0].logRecords[1].{message}")


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"resource": 5}, "resource must be an object, got 5."),
        ({"resource": {"attributes": 5}}, "resource.attributes must be an array, got 5."),
        ({"scopeSpans": [{"scope": "x"}]}, 'scopeSpans[0].scope must be an object, got "x".'),
        ({"scopeSpans": [{"scope": {"name": 1}}]}, "scopeSpans[0].scope.name must be a string, got 1."),
    ],
    ids=_name,
)
def test_a_bad_resource_or_scope_is_refused(client: httpx.Client, group: dict[str, Any], message: str) -> None:
    """The values around the spans are checked as well."""
    _assert_refused(client.post("/v1/traces", json={"resourceSpans": [group]}), 400, f"resourceSpans[0].{message}")


@pytest.mark.usefixtures("unharmed")
def test_a_value_nested_too_deep_is_refused(client: httpx.Client, span: Make, traces: Make) -> None:
    """Values in values are followed for 64 levels, not further."""

    def nested(levels: int) -> dict[str, Any]:
        value: dict[str, Any] = {"stringValue": "x"}
        for _ in range(levels):
            value = {"arrayValue": {"values": [value]}}
        return value

    reply = client.post("/v1/traces", json=traces(span("x") | {"attributes": [{"key": "a", "value": nested(65)}]}))
    assert reply.status_code == 400
    assert reply.json()["message"].endswith("must be nested at most 64 levels deep.")


@pytest.mark.usefixtures("unharmed")
def test_a_body_of_unknown_length_is_bounded_too(client: httpx.Client) -> None:
    """A body sent in chunks is refused once it has passed the limit, without its length being announced."""
    reply = client.post("/v1/traces", content=(b"x" * 1000 for _ in range(100)), headers=JSON)
    _assert_refused(reply, 413, "The body must have at most 65,536 bytes. Send smaller batches.")


def test_a_body_of_just_the_limit_is_taken(client: httpx.Client) -> None:
    """The limit itself is allowed, plain and compressed."""
    body = b"{}" + b" " * (LIMIT - 2)
    assert client.post("/v1/traces", content=body, headers=JSON).status_code == 200
    assert client.post("/v1/traces", content=_gzip(body), headers=GZIP).status_code == 200


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\xff" * 20, "The body is not a valid protobuf ExportTraceServiceRequest."),
        (b'{"resourceSpans": []}', "The body is not a valid protobuf ExportTraceServiceRequest."),
        (
            (b"\x00" * 16, b"\x01" * 8),
            "resourceSpans[0].scopeSpans[0].spans[0].traceId must not be all zero.",
        ),
        (
            (b"\x01" * 16, b"\x01" * 4),
            'resourceSpans[0].scopeSpans[0].spans[0].spanId must be 16 hexadecimal digits, got "01010101".',
        ),
    ],
    ids=_name,
)
def test_bad_protobuf_is_refused_in_protobuf(
    client: httpx.Client, body: bytes | tuple[bytes, bytes], message: str
) -> None:
    """A sender of protobuf gets a `google.rpc.Status` in protobuf."""
    if isinstance(body, tuple):
        request = ExportTraceServiceRequest()
        request.resource_spans.add().scope_spans.add().spans.append(Span(trace_id=body[0], span_id=body[1]))
        body = request.SerializeToString()
    reply = client.post("/v1/traces", content=body, headers=PROTOBUF)
    assert (reply.status_code, reply.headers["content-type"]) == (400, "application/x-protobuf")
    assert _status(reply.content) == (3, message)


def _status(data: bytes) -> tuple[int, str]:
    """Reads a `google.rpc.Status` with protobuf itself, from a descriptor made here."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="status_of_a_test.proto", package="test", syntax="proto3")
    message = file.message_type.add(name="Status")
    field = descriptor_pb2.FieldDescriptorProto
    message.field.add(name="code", number=1, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    message.field.add(name="message", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    status: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName("test.Status"))()
    status.ParseFromString(data)
    return status.code, status.message


@pytest.mark.usefixtures("unharmed")
def test_a_wrong_method_is_refused(client: httpx.Client) -> None:
    """The OTLP paths accept POST alone, and the message has this."""
    reply = client.get("/v1/traces")
    _assert_refused(reply, 405, "/v1/traces accepts POST, not GET.")
    assert reply.headers["allow"] == "POST"
    assert client.put("/v1/logs", json={}).status_code == 405


@pytest.mark.usefixtures("unharmed")
def test_an_unknown_path_is_refused(client: httpx.Client) -> None:
    """An address that does not exist names those that do; a stray slash is not redirected."""
    message = "{} does not exist. Use POST /v1/traces, POST /v1/logs, GET /api/report, GET /health or GET /metrics."
    _assert_refused(client.post("/v1/metrics", json={}), 404, message.format("/v1/metrics"))
    _assert_refused(client.post("/v1/traces/", json={}), 404, message.format("/v1/traces/"))


@pytest.mark.usefixtures("unharmed")
def test_a_sender_that_goes_away_stores_nothing(collector: Collector, span: Make, traces: Make) -> None:
    """A body that ends before its announced length is not a request."""
    address = urlsplit(collector.url)
    body = orjson.dumps(traces(span("lost")))
    headers = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body) + 1}"
    head = f"POST /v1/traces HTTP/1.1\r\n{headers}"
    with socket.create_connection((address.hostname, address.port)) as sender:
        sender.sendall(f"{head}\r\n\r\n".encode() + body)
