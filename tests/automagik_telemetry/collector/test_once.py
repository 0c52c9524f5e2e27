"""An event that is sent again is accepted, but stored once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx

from tests.automagik_telemetry.collector.conftest import START

if TYPE_CHECKING:
    from collections.abc import Callable

    from automagik_telemetry.collector.server import Collector

    Make = Callable[..., dict[str, Any]]
    Stored = Callable[[str], list[dict[str, Any]]]


def test_a_resent_span_is_stored_once(client: httpx.Client, span: Make, traces: Make, stored: Stored) -> None:
    """The same request twice is 200 twice, and one row; a new span beside an old one is stored."""
    first, second = span("agent.run"), span("agent.run")
    for request in (traces(first), traces(first), traces(first, second)):
        assert client.post("/v1/traces", json=request).status_code == 200
    assert [row["SpanId"] for row in stored("otel_traces")] == [first["spanId"], second["spanId"]]


def test_a_span_twice_in_a_request_is_stored_once(
    client: httpx.Client, span: Make, traces: Make, stored: Stored
) -> None:
    """The first of two spans with the same ids in one request is the one kept."""
    first = span("first")
    client.post("/v1/traces", json=traces(first, first | {"name": "second"})).raise_for_status()
    assert [row["SpanName"] for row in stored("otel_traces")] == ["first"]


def test_both_ids_identify_a_span(client: httpx.Client, span: Make, traces: Make, stored: Stored) -> None:
    """Spans that share only their span id, or only their trace, are different."""
    first = span("agent.run")
    client.post("/v1/traces", json=traces(first)).raise_for_status()
    others = [first | {"traceId": "a" * 32}, first | {"spanId": "b" * 16}]
    client.post("/v1/traces", json=traces(*others)).raise_for_status()
    assert len(stored("otel_traces")) == 3


def test_a_resent_event_record_is_stored_once(client: httpx.Client, record: Make, logs: Make, stored: Stored) -> None:
    """A record with the same ids, event name and time is the same event; another name or time makes another."""
    first = record("agent.run")
    same = [first, first]
    other = [first | {"eventName": "tool.executed"}, first | {"timeUnixNano": str(START + 5)}]
    client.post("/v1/logs", json=logs(*same)).raise_for_status()
    client.post("/v1/logs", json=logs(*same, *other)).raise_for_status()
    assert len(stored("otel_logs")) == 3


def test_plain_log_lines_are_all_kept(client: httpx.Client, record: Make, logs: Make, stored: Stored) -> None:
    """A record without an event name, or outside of a span, has no identity, so that two alike are two."""
    line = record("agent.run") | {"eventName": ""}
    loose = record("agent.run") | {"traceId": "", "spanId": ""}
    client.post("/v1/logs", json=logs(line, line, loose, loose)).raise_for_status()
    client.post("/v1/logs", json=logs(line, loose)).raise_for_status()
    assert len(stored("otel_logs")) == 6


def test_a_resent_record_outside_of_a_trace_is_stored_once(
    client: httpx.Client, record: Make, logs: Make, stored: Stored
) -> None:
    """A record is recognized by its `log.record.uid`, also where it has no ids; another uid makes another record."""

    def loose(uid: str, **fields: str) -> dict[str, Any]:
        attributes = [{"key": "log.record.uid", "value": {"stringValue": uid}}]
        return record("agent.run") | {"traceId": "", "spanId": "", "attributes": attributes, **fields}

    first = loose("a", timeUnixNano=str(START + 5), eventName="")
    client.post("/v1/logs", json=logs(first, first)).raise_for_status()
    client.post("/v1/logs", json=logs(first, loose("b", timeUnixNano=str(START + 5), eventName=""))).raise_for_status()
    assert sorted(row["LogAttributes"]["log.record.uid"] for row in stored("otel_logs")) == ["a", "b"]


def test_concurrent_senders_of_the_same_spans(collector: Collector, span: Make, traces: Make, stored: Stored) -> None:
    """Eight senders at once, each with its own spans and all with the same ones: each span is stored once."""
    shared = [span("shared") for _ in range(20)]
    own = [[span("own") for _ in range(5)] for _ in range(8)]

    def send(mine: list[dict[str, Any]]) -> list[int]:
        with httpx.Client(base_url=collector.url, timeout=30, trust_env=False) as client:
            return [
                client.post("/v1/traces", json=traces(*shared, *mine)).status_code,
                client.post("/v1/traces", json=traces(*mine, *shared)).status_code,
            ]

    with ThreadPoolExecutor(8) as pool:
        assert [status for statuses in pool.map(send, own) for status in statuses] == [200] * 16
    found = [row["SpanId"] for row in stored("otel_traces")]
    assert sorted(found) == sorted(item["spanId"] for item in [*shared, *(span for mine in own for span in mine)])
