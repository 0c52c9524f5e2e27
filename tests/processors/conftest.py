"""Reads OTLP/JSON with the official protobuf classes, so that the tests believe nothing of ours."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from automagik_processors import envelope

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue

IDS = {"traceId", "spanId", "parentSpanId"}


def with_base64_ids(item: Any) -> Any:  # any JSON
    """Return JSON with ids in base64, which protobuf's parser expects; OTLP/JSON differs from it in just this."""
    if isinstance(item, list):
        return [with_base64_ids(part) for part in item]
    if not isinstance(item, dict):
        return item
    for key in IDS & item.keys():
        item[key] = base64.b64encode(bytes.fromhex(item[key])).decode()
    return {key: with_base64_ids(part) for key, part in item.items()}


def refuse(constant: str) -> None:
    """Fail for constants that Python's JSON reader accepts and JSON does not have."""
    pytest.fail(f"{constant} is no JSON")


def parse_body(signal: str, body: bytes) -> Any:  # protobuf's messages are made at run time
    """Return the whole request that `body` is."""
    request = ExportTraceServiceRequest() if signal == "traces" else ExportLogsServiceRequest()
    return ParseDict(with_base64_ids(json.loads(body, parse_constant=refuse)), request)


def parse_fragment(signal: str, fragment: bytes) -> Any:
    """Return the one span or log record that `fragment` is."""
    assert b"\n" not in fragment
    head, tail = envelope(signal, {"service.name": "tests"}, "scope", "1")
    request = parse_body(signal, head + fragment + tail)
    if signal == "traces":
        (item,) = request.resource_spans[0].scope_spans[0].spans
    else:
        (item,) = request.resource_logs[0].scope_logs[0].log_records
    return item


def read_value(value: AnyValue) -> Any:
    """Return the Python value of an AnyValue."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [read_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: read_value(pair.value) for pair in value.kvlist_value.values}
    return getattr(value, kind)


def read_attributes(item: Any) -> dict[str, Any]:
    """Return the attributes of a span, log record or resource, whose keys must be unique."""
    attributes = {pair.key: read_value(pair.value) for pair in item.attributes}
    assert len(attributes) == len(item.attributes)
    return attributes


@pytest.fixture(scope="session")
def body() -> Callable[[str, bytes], Any]:
    """Provide the reader of whole requests."""
    return parse_body


@pytest.fixture(scope="session")
def fragment() -> Callable[[str, bytes], Any]:
    """Provide the reader of single spans and log records."""
    return parse_fragment


@pytest.fixture(scope="session")
def attributes() -> Callable[[Any], dict[str, Any]]:
    """Provide the reader of attributes."""
    return read_attributes


@pytest.fixture(autouse=True)
def clean_environment() -> None:
    """Create no directories for these tests, which read neither files nor the environment."""
