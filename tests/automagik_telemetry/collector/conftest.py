"""A running collector, a client for it, and makers of OTLP requests."""

from __future__ import annotations

import itertools
import subprocess
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from automagik_telemetry.collector.server import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START = int(time.time()) * 1_000_000_000 - 3_600_000_000_000 + 123_456_789
"""An hour ago, in nanoseconds."""
_ids = itertools.count(1)

SENDER = "a-token-that-sends-for-one-application"
READER = "a-token-that-reads"
TOKENS = f"""
[[token]]
token = "{SENDER}"
applications = ["automagik-agents", "shop"]

[[token]]
token = "{READER}"
read = true
"""


def any_value(value: object) -> dict[str, Any]:
    """A Python value as an OTLP JSON AnyValue."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(item) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": pairs(value)}}
    return {"stringValue": value}


def pairs(values: dict[str, object]) -> list[dict[str, Any]]:
    """A dict as OTLP JSON attributes."""
    return [{"key": key, "value": any_value(value)} for key, value in values.items()]


def make_event_fields(fields: dict[str, object]) -> list[dict[str, Any]]:
    """An event's fields as attributes."""
    return pairs({f"event.{key}": value for key, value in fields.items()} | {"system.os": "Linux"})


def make_span(name: str, **fields: object) -> dict[str, Any]:
    """One of our events as a span, with ids of its own."""
    number = next(_ids)
    duration = fields.get("duration_ms", 0)
    assert isinstance(duration, int | float)
    success = fields.get("success")
    return {
        "traceId": f"{number:032x}",
        "spanId": f"{number:016x}",
        "name": name,
        "kind": 1,
        "startTimeUnixNano": str(START),
        "endTimeUnixNano": str(START + round(duration * 1e6)),
        "attributes": make_event_fields(fields),
        "status": {"code": 0 if success is None else 1 if success else 2},
    }


def make_record(name: str, **fields: object) -> dict[str, Any]:
    """One of our events as a log record, with ids of its own."""
    number = next(_ids)
    return {
        "timeUnixNano": str(START),
        "traceId": f"{number:032x}",
        "spanId": f"{number:016x}",
        "severityNumber": 9,
        "severityText": "INFO",
        "eventName": name,
        "body": {"stringValue": name},
        "attributes": make_event_fields(fields),
    }


def wrap(signal: str, scopes: str, items: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    """Items of one resource and scope as a request."""
    resource = {"attributes": pairs({"service.name": "automagik-agents", "user.id": "anonymous"})}
    scope = {"name": "automagik_telemetry", "version": "1.2.3"}
    return {signal: [{"resource": resource, scopes: [{"scope": scope, items: content}]}]}


@pytest.fixture
def span() -> Callable[..., dict[str, Any]]:
    """Makes one of our events as a span."""
    return make_span


@pytest.fixture
def record() -> Callable[..., dict[str, Any]]:
    """Makes one of our events as a log record."""
    return make_record


@pytest.fixture
def traces() -> Callable[..., dict[str, Any]]:
    """Makes a request of spans."""
    return lambda *spans: wrap("resourceSpans", "scopeSpans", "spans", list(spans))


@pytest.fixture
def logs() -> Callable[..., dict[str, Any]]:
    """Makes a request of log records."""
    return lambda *records: wrap("resourceLogs", "scopeLogs", "logRecords", list(records))


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    """A running collector, which takes bodies of up to 64 KiB."""
    with Collector(tmp_path / "store" / "collector.duckdb", limit=65536) as running:
        yield running


@pytest.fixture
def client(collector: Collector) -> Iterator[httpx.Client]:
    """An HTTP client of the running collector."""
    with httpx.Client(base_url=collector.url, timeout=30, trust_env=False) as http:
        yield http


@pytest.fixture
def stored(collector: Collector) -> Callable[[str], list[dict[str, Any]]]:
    """Reads all rows of a table, in the order they came."""

    def read(table: str) -> list[dict[str, Any]]:
        times = ("Timestamp",) if table == "otel_traces" else ("Timestamp", "TimestampTime")
        replaced = ", ".join(f'epoch_ns("{name}") AS "{name}"' for name in times)
        with collector.store._database.cursor() as cursor:
            result = cursor.execute(f"SELECT * REPLACE ({replaced}) FROM {table} ORDER BY rowid")  # noqa: S608 - names of our own tables
            names = [column[0] for column in result.description or ()]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    return read


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A file of two tokens."""
    file = tmp_path / "tokens.toml"
    file.touch(mode=0o600)
    file.write_text(TOKENS)
    return file


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for this machine, and its key."""
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    arguments = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = ["openssl", "req", *arguments, *names, "-out", str(files[0]), "-keyout", str(files[1])]
    try:
        subprocess.run(made, check=True, capture_output=True, timeout=30)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("openssl can't make a certificate here")
    return files
