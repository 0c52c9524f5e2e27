"""Undeclared and forged values are refused and counted by reason, and can't spoil a report."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from automagik_telemetry.collector._catalogue import Catalogue
from automagik_telemetry.collector._flow import Flow
from automagik_telemetry.collector._gate import Gate
from automagik_telemetry.collector._items import Checked, log_items, trace_items
from automagik_telemetry.collector._protobuf import partial_traces
from automagik_telemetry.collector._stats import Stats

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from automagik_telemetry.collector.server import Collector

    Make = Callable[..., dict[str, Any]]
    Stored = Callable[[str], list[dict[str, Any]]]

DAY = 86_400 * 10**9


def check(request: dict[str, Any], *, strict: bool = True) -> Checked:
    """Pass a request through a gate of its own."""
    read = trace_items if "resourceSpans" in request else log_items
    return read(copy.deepcopy(request), Gate(Catalogue(), strict=strict))


def attribute(key: str, value: dict[str, Any]) -> dict[str, Any]:
    """An attribute of OTLP's JSON."""
    return {"key": key, "value": value}


@pytest.mark.fault(123)
@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("sample_rate", {"doubleValue": 1e-300}, "sample_rate"),
        ("sample_rate", {"doubleValue": 0.0}, "sample_rate"),
        ("sample_rate", {"doubleValue": 2.0}, "sample_rate"),
        ("sample_rate", {"stringValue": "-1"}, "sample_rate"),
        ("sample_rate", {"doubleValue": "NaN"}, "sample_rate"),
        ("event.input_tokens", {"intValue": "-1"}, "invalid_value"),
        ("event.input_tokens", {"intValue": str(10**15)}, "invalid_value"),
        ("event.input_tokens", {"doubleValue": 1e300}, "invalid_value"),
        ("event.input_tokens", {"stringValue": "\N{SUPERSCRIPT TWO}"}, "invalid_value"),
        ("event.duration_ms", {"doubleValue": "Infinity"}, "invalid_value"),
        ("event.duration_ms", {"doubleValue": -5.0}, "invalid_value"),
        ("event.agent_name", {"stringValue": "x" * 129}, "invalid_value"),
        ("event.agent_name", {"stringValue": "a\x1b[2Jb"}, "invalid_value"),
        ("event.agent_name", {"stringValue": "a\u202eb"}, "invalid_value"),
        ("event.success", {"stringValue": "yes"}, "invalid_value"),
        ("system.os", {"stringValue": "x" * 129}, "invalid_value"),
        ("event.prompt", {"stringValue": "my secret"}, "undeclared_field"),
        ("host.name", {"stringValue": "mine"}, "undeclared_field"),
    ],
)
def test_a_forged_value_is_refused(span: Make, traces: Make, key: str, value: dict[str, Any], reason: str) -> None:
    """An event without its weight is refused as a whole. Of any other, the value is removed, in both tables."""
    forged = span("agent.run", framework="agno")
    forged["attributes"].append(attribute(key, value))
    found = check(traces(forged))
    assert found.refused == Counter({reason: 1})
    assert found.rejected == (reason == "sample_rate")
    for item in found.items:
        assert item.event is not None
        assert b'"framework":"agno"' in item.event.line
        assert key.encode() not in item.line


@pytest.mark.fault(123)
@pytest.mark.parametrize(
    ("offset", "refused"), [(-9 * DAY, 1), (-7 * DAY, 0), (0, 0), (DAY // 2, 0), (2 * DAY, 1), (2**62, 1)]
)
def test_an_event_of_another_time_is_refused(  # noqa: PLR0913, PLR0917 - fixtures
    span: Make, record: Make, traces: Make, logs: Make, offset: int, refused: int
) -> None:
    """An event lies between eight days ago and tomorrow."""
    when = str(min(time.time_ns() + offset, 2**63 - 2))
    for request in (
        traces(span("agent.run") | {"startTimeUnixNano": when, "endTimeUnixNano": when}),
        logs(record("agent.run") | {"timeUnixNano": when}),
    ):
        for strict in (True, False):
            found = check(request, strict=strict)
            assert (found.rejected, found.refused["time"], len(found.items)) == (refused, refused, 1 - refused)


@pytest.mark.fault(123)
def test_off_this_machine_only_declared_events_are_stored(span: Make, record: Make, traces: Make, logs: Make) -> None:
    """Events of other names, and spans of other products, are refused. What no event has is removed from the rest."""
    event = {"timeUnixNano": "1", "name": "exception", "attributes": [attribute("m", {"stringValue": "secret"})]}
    chatty = span("agent.run") | {"status": {"code": 2, "message": "secret"}, "events": [event], "traceState": "secret"}
    request = traces(chatty, span("basket.emptied"), span("GET /secret"))
    request["resourceSpans"][0]["resource"]["attributes"].append(attribute("host.name", {"stringValue": "secret"}))
    found = check(request)
    assert found.refused == {"undeclared_event": 1, "not_an_event": 1, "undeclared_field": 4}
    assert (found.rejected, len(found.items)) == (2, 1)
    assert b"secret" not in found.items[0].line
    assert b'"Events.Timestamp":[]' in found.items[0].line
    lines = [record("agent.run"), record("agent.run") | {"body": {"stringValue": "secret " * 30}}, record("")]
    found = check(logs(*lines))
    assert found.refused == {"not_an_event": 1, "undeclared_field": 1}
    assert [b"secret" in item.line for item in found.items] == [False, False]
    assert b'"Body":"agent.run"' in found.items[0].line


def test_a_word_with_allowed_values_takes_hashes_too(span: Make, traces: Make, tmp_path: Any) -> None:
    """A value that is not allowed comes as a hash from a client of ours. Any other text is refused."""
    file = tmp_path / "catalogue.json"
    file.write_text(
        '{"events": [{"event": "a.b", "fields": [{"field": "plan", "kind": "word", "allowed": ["free"]}]}]}'
    )
    spans = [span("a.b", plan=plan) for plan in ("free", "custom-0123456789abcdef", "gold", "custom-x")]
    found = trace_items(traces(*spans), Gate(Catalogue([file]), strict=True))
    assert found.refused == {"invalid_value": 2}
    assert [b"plan" in (item.event.line if item.event else b"") for item in found.items] == [True, True, False, False]


@pytest.mark.fault(129)
def test_older_clients_are_accepted(client: httpx.Client, collector: Collector, traces: Make, stored: Stored) -> None:
    """They send trace IDs of 64 digits, plain keys, and all numbers as doubles."""
    old = {
        "traceId": "ab" * 32,
        "spanId": "cd" * 8,
        "name": "agent.run",
        "kind": "SPAN_KIND_INTERNAL",
        "startTimeUnixNano": time.time_ns(),
        "attributes": [
            attribute("agent_name", {"stringValue": "simple"}),
            attribute("input_tokens", {"doubleValue": 12.0}),
            attribute("system.os", {"stringValue": "Linux"}),
        ],
    }
    for _ in range(2):
        client.post("/v1/traces", json=traces(old)).raise_for_status()
    assert [row["TraceId"] for row in stored("otel_traces")] == ["ab" * 16]
    with collector.store._database.cursor() as cursor:
        assert cursor.execute("SELECT name, input_tokens FROM events").fetchall() == [("simple", 12)]
    health = client.get("/health").json()
    assert (health["long_trace_ids"], health["refused"]) == (2, {})
    wrong = client.post("/v1/traces", json=traces(old | {"traceId": "xy" * 32}))
    assert wrong.json()["message"].startswith("resourceSpans[0].scopeSpans[0].spans[0].traceId must be 64 hexadecimal")


def test_the_sender_learns_what_is_not_stored(client: httpx.Client, span: Make, traces: Make) -> None:
    """A 200 has the number of rejected spans and the reasons, which no sender retries."""
    forged = span("agent.run")
    forged["attributes"].append(attribute("sample_rate", {"doubleValue": 1e-300}))
    reply = client.post("/v1/traces", json=traces(forged, span("agent.run")))
    message = "Not stored: 1 sample_rate."
    assert reply.json() == {"partialSuccess": {"rejectedSpans": "1", "errorMessage": message}}
    parsed = ExportTraceServiceResponse.FromString(partial_traces(1, message)).partial_success
    assert (parsed.rejected_spans, parsed.error_message) == (1, message)


@pytest.mark.fault(129)
def test_health_and_metrics_have_the_counts(client: httpx.Client, span: Make, traces: Make) -> None:
    """Accepted, stored and refused, by reason and by status."""
    old = span("agent.run") | {"startTimeUnixNano": "5"}
    sent = span("agent.run")
    for request in (traces(sent, old), traces(sent)):
        client.post("/v1/traces", json=request).raise_for_status()
    client.post("/v1/traces", content=b"{", headers={"content-type": "application/json"})
    client.post("/v1/metrics", json={})
    assert client.get("/health").json() == {
        "status": "ok",
        "accepted": 2,
        "stored": 1,
        "long_trace_ids": 0,
        "refused": {"time": 1},
        "responses": {"200": 2, "400": 1, "404": 1},
    }
    reply = client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = reply.text.splitlines()
    assert "automagik_collector_items_stored_total 1" in lines
    assert 'automagik_collector_refused_total{reason="time"} 1' in lines
    assert 'automagik_collector_responses_total{status="400"} 1' in lines
    assert "# TYPE automagik_collector_refused_total counter" in lines


def test_the_log_has_sums(caplog: pytest.LogCaptureFixture) -> None:
    """The log has one sentence for any number of refusals, and none if nothing was refused since."""

    class Stored:
        stored = 0

    stats = Stats(Flow(), Stored())  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING, "automagik_telemetry"):
        for _ in range(1_200):
            stats.refuse({"time": 1})
        stats.respond(413)
        stats.log()
        stats.log()
        stats.refuse({"sample_rate": 2})
        stats.log()
    assert caplog.messages == [
        "The collector refused: 1 HTTP 413, 1,200 time.",
        "The collector refused: 2 sample_rate.",
    ]


@pytest.mark.fault(123)
def test_no_request_spoils_the_report(client: httpx.Client, collector: Collector, span: Make, traces: Make) -> None:
    """Forged numbers of every kind, one after the other, leave finite sums beside those of honest events."""
    honest = span("agent.run", agent_name="simple", framework="agno", success=True, duration_ms=5)
    client.post("/v1/traces", json=traces(honest)).raise_for_status()
    for key in ("sample_rate", "event.duration_ms", "event.input_tokens", "event.success"):
        for value in ("1e-300", "1e300", "-1", "NaN", "Infinity", "9" * 300, ""):
            forged = span("agent.run", agent_name="simple", framework="agno")
            forged["attributes"].append(attribute(key, {"stringValue": value}))
            client.post("/v1/traces", json=traces(forged)).raise_for_status()
    numbers = [
        value
        for rows in collector.report().values()
        for row in rows
        for value in row.values()
        if isinstance(value, int | float)
    ]
    assert numbers
    assert all(math.isfinite(value) and value <= 86_400_000 for value in numbers)
    assert collector.report()["framework_preference"][0]["count"] <= 1 + 4 * 7
