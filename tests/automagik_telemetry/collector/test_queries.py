"""The report on known events, worked out by hand, and its tables in a terminal."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from rich.console import Console

from automagik_telemetry.collector._gate import MAX_UNDECLARED_NAMES
from automagik_telemetry.collector._queries import QUERIES
from automagik_telemetry.collector._report import render
from automagik_telemetry.collector.server import Collector
from tests.automagik_telemetry.collector.conftest import START

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from automagik_telemetry.collector._queries import Report

    Make = Callable[..., dict[str, Any]]


@pytest.fixture
def known(client: httpx.Client, span: Make, record: Make, traces: Make, logs: Make) -> None:
    """Every event that the queries use, some as spans and some as log records, and some that they ignore."""
    simple = {"agent_name": "simple", "framework": "pydantic_ai"}
    spans = [
        span("agent.run", **simple, success=True, duration_ms=10),
        span("agent.run", **simple, success=True, duration_ms=20),
        span("agent.run", **simple, success=True, duration_ms=30.0),
        span("agent.run", **simple, success=False, duration_ms=40),
        span("agent.run", agent_name="discord", framework="agno", success=True, duration_ms=7.5),
        span("cli.command", command="agent list", success=False, duration_ms=15),
        span("api.request", method="GET", endpoint="/agents/{id}", status_code=200, success=True, duration_ms=2),
        span("feature.used", feature_name="multimodal", category="agent"),
        span("agent.error", error_type="ValueError", component="agent.simple"),
        span("agent.error", error_type="TimeoutError", component="agent.discord"),
        span("workflow.started", workflow_name="import"),
        span("workflow.completed", workflow_name="import", success=False, duration_ms=1234),
        span("system.startup"),
        span("framework.selected", framework="agno", agent_name="simple"),
        span("GET /somewhere/else", duration_ms=1),
    ]
    records = [
        record("agent.run", agent_name="simple", framework="agno", success=True, duration_ms=50),
        record("cli.command", command="agent list", success=True, duration_ms=5),
        record("tool.executed", tool_name="search", success=True, duration_ms=3),
        record("feature.used", feature_name="multimodal", category="agent"),
        record("feature.used", feature_name="search"),
        record("agent.error", error_type="ValueError", component="agent.simple"),
        record("", feature_name="a plain log line"),
    ]
    client.post("/v1/traces", json=traces(*spans)).raise_for_status()
    client.post("/v1/logs", json=logs(*records)).raise_for_status()


@pytest.fixture
def report(known: None, collector: Collector) -> Report:
    """The report about the known events."""
    return collector.report()


def test_feature_usage_counts_everything_used(report: Report) -> None:
    """Features, agents, commands, endpoints, tools and workflows, most used first, from both tables."""
    assert [tuple(row.values()) for row in report["feature_usage"]] == [
        ("agent", "simple", "", 5),
        ("command", "agent list", "", 2),
        ("feature", "multimodal", "agent", 2),
        ("agent", "discord", "", 1),
        ("endpoint", "GET /agents/{id}", "", 1),
        ("feature", "search", "", 1),
        ("tool", "search", "", 1),
        ("workflow", "import", "", 1),
    ]
    assert list(report["feature_usage"][0]) == ["kind", "name", "category", "count"]


def test_performance_interpolates_percentiles(report: Report) -> None:
    """Percentiles lie between neighbours: of 10, 20, 30, 40, 50 the 95th is 4/5 of the way from 40 to 50."""
    expected = [
        ("agent.run", "simple", 5, 30, 48, 49.6),
        ("agent.run", "discord", 1, 7.5, 7.5, 7.5),
        ("api.request", "GET /agents/{id}", 1, 2, 2, 2),
        ("cli.command", "agent list", 2, 10, 14.5, 14.9),
        ("tool.executed", "search", 1, 3, 3, 3),
        ("workflow.completed", "import", 1, 1234, 1234, 1234),
    ]
    for row, (event, name, *numbers) in zip(report["performance"], expected, strict=True):
        assert (row["event"], row["name"]) == (event, name)
        assert [row["count"], row["p50_ms"], row["p95_ms"], row["p99_ms"]] == pytest.approx(numbers)


def test_errors_are_counted_by_type_and_component(report: Report) -> None:
    """Errors by type and component, the most frequent first."""
    assert report["errors"] == [
        {"error_type": "ValueError", "component": "agent.simple", "count": 2},
        {"error_type": "TimeoutError", "component": "agent.discord", "count": 1},
    ]


def test_failed_runs_have_a_rate(report: Report) -> None:
    """Runs that failed at least once have failures, total and rate; others are not listed."""
    assert [tuple(row.values()) for row in report["failures"]] == [
        ("workflow.completed", "import", 1, 1, 1.0),
        ("cli.command", "agent list", 1, 2, 0.5),
        ("agent.run", "simple", 1, 5, pytest.approx(0.2)),
    ]
    assert list(report["failures"][0]) == ["event", "name", "failures", "total", "rate"]


def test_framework_preference_has_shares(report: Report) -> None:
    """Runs by framework with their share of all runs and how many of them succeeded."""
    assert report["framework_preference"] == [
        {"framework": "pydantic_ai", "count": 4, "share": pytest.approx(4 / 6), "success_rate": 0.75},
        {"framework": "agno", "count": 2, "share": pytest.approx(2 / 6), "success_rate": 1.0},
    ]


def test_the_collector_serves_the_same_report(report: Report, client: httpx.Client, collector: Collector) -> None:
    """`GET /api/report` returns the report and the path of the store."""
    assert client.get("/api/report").json() == {"store": str(collector.store.path), "report": report}


def test_an_odd_duration_does_not_spoil_the_percentiles(
    client: httpx.Client, span: Make, traces: Make, collector: Collector
) -> None:
    """A duration that is not a number is refused, and the span's own duration is used instead."""
    spans: list[Any] = [
        span("tool.executed", tool_name="t") | {"endTimeUnixNano": str(START + 2_000_000)} for _ in range(3)
    ]
    spans[1]["attributes"].append({"key": "event.duration_ms", "value": {"doubleValue": "NaN"}})
    spans[2]["attributes"].append({"key": "event.duration_ms", "value": {"stringValue": "long"}})
    client.post("/v1/traces", json=traces(*spans)).raise_for_status()
    (row,) = collector.report()["performance"]
    assert row == {"event": "tool.executed", "name": "t", "count": 3, "p50_ms": 2, "p95_ms": 2, "p99_ms": 2}


def test_an_empty_store_has_an_empty_report(collector: Collector) -> None:
    """Every query has a result before there are events."""
    assert collector.report() == {query.name: [] for query in QUERIES}


def _shown(report: Report, *, terminal: bool = False) -> str:
    output = io.StringIO()
    render(report, Console(file=output, width=100, force_terminal=terminal, color_system=None))
    return output.getvalue()


def test_the_report_is_shown_as_tables(report: Report) -> None:
    """Each query has its title and table, with numbers on the right, readable without colour."""
    shown = _shown(report)
    assert "\x1b" not in shown
    lines = [line.rstrip() for line in shown.splitlines() if not line or set(line) != {"─"}]
    assert "\n".join(lines) == REPORT


REPORT = """
Feature usage
kind       name               category   count
agent      simple                            5
command    agent list                        2
feature    multimodal         agent          2
agent      discord                           1
endpoint   GET /agents/{id}                  1
feature    search                            1
tool       search                            1
workflow   import                            1

Performance
event                name               count    p50 ms    p95 ms    p99 ms
agent.run            simple                 5      30.0      48.0      49.6
agent.run            discord                1       7.5       7.5       7.5
api.request          GET /agents/{id}       1       2.0       2.0       2.0
cli.command          agent list             2      10.0      14.5      14.9
tool.executed        search                 1       3.0       3.0       3.0
workflow.completed   import                 1   1,234.0   1,234.0   1,234.0

Error patterns: errors
error type     component       count
ValueError     agent.simple        2
TimeoutError   agent.discord       1

Error patterns: failed runs
event                name         failures   total     rate
workflow.completed   import              1       1   100.0%
cli.command          agent list          1       2    50.0%
agent.run            simple              1       5    20.0%

Framework preference
framework     count   share   success rate
pydantic_ai       4   66.7%          75.0%
agno              2   33.3%         100.0%"""


def test_a_query_without_rows_is_a_sentence(
    client: httpx.Client, span: Make, traces: Make, collector: Collector
) -> None:
    """A query without rows is a sentence in the report."""
    client.post("/v1/traces", json=traces(span("feature.used", feature_name="search"))).raise_for_status()
    shown = _shown(collector.report())
    assert "Error patterns: failed runs\nNo run has failed.\n" in shown
    assert "Framework preference\nNo agent has run yet.\n" in shown


def test_no_events_at_all_are_one_sentence(collector: Collector) -> None:
    """An empty store makes one sentence, not five."""
    assert _shown(collector.report()) == "No events are stored yet.\n"


def test_names_cannot_steer_the_terminal(collector: Collector) -> None:
    """Escape sequences and rich's own markup in a name are shown, not obeyed. A store may have some from before."""
    name = "[red]\x1b]0;title\x07\u202eevil[/red]"
    with collector.store._database.cursor() as cursor:
        cursor.execute("INSERT INTO events (event, name, declared, weight) VALUES ('feature.used', ?, true, 1)", [name])
    shown = _shown(collector.report(), terminal=True)
    assert "[red]\ufffd]0;title\ufffd\ufffdevil[/red]" in shown
    assert "\x1b]0" not in shown


def test_sampled_events_count_for_those_that_were_not_kept(
    client: httpx.Client, span: Make, traces: Make, collector: Collector
) -> None:
    """An event with rate 0.1 counts ten times, in counts and shares."""
    kept = span("agent.run", agent_name="simple", framework="agno", success=True, duration_ms=1)
    kept["attributes"].append({"key": "sample_rate", "value": {"doubleValue": 0.1}})
    failed = span("agent.run", agent_name="simple", framework="agno", success=False, duration_ms=1)
    other = span("agent.run", agent_name="simple", framework="pydantic_ai", success=True, duration_ms=1)
    client.post("/v1/traces", json=traces(kept, failed, other)).raise_for_status()
    report = collector.report()
    assert [row["count"] for row in report["feature_usage"]] == [12]
    assert [(row["failures"], row["total"]) for row in report["failures"]] == [(1, 12)]
    assert report["failures"][0]["rate"] == pytest.approx(1 / 12)
    agno, pydantic_ai = report["framework_preference"]
    assert (agno["count"], pydantic_ai["count"]) == (11, 1)
    assert agno["share"] == pytest.approx(11 / 12)
    assert agno["success_rate"] == pytest.approx(10 / 11)


def test_an_applications_own_events_are_in_the_report(
    tmp_path: Path, span: Make, record: Make, traces: Make, logs: Make
) -> None:
    """Events of an application's catalogue are counted, with durations and failures, and their fields get columns."""
    catalogue = tmp_path / "catalogue.json"
    fields = [
        {"field": "items", "kind": "count"},
        {"field": "plan", "kind": "word", "allowed": ["free", "pro"]},
        {"field": "version", "kind": "word"},  # the name of a column that every event has
        {"field": "component", "kind": "flag"},  # which is a word elsewhere
        {"field": "success", "kind": "flag"},
        {"field": "duration_ms", "kind": "duration"},
    ]
    declared = [{"event": "checkout.finished", "fields": fields}, {"event": "basket.emptied", "fields": []}]
    catalogue.write_text(json.dumps({"events": declared}))
    own = span("checkout.finished", items=3, plan="pro", version="b", component=True, success=False, duration_ms=30)
    foreign = span("db.query", duration_ms=1)
    foreign["attributes"] = []
    records = [record("checkout.finished", items=1, plan="gold", success=True, duration_ms=10)]
    with Collector(tmp_path / "store.duckdb", events=[catalogue]) as running:
        for path, body in (
            ("traces", traces(own, foreign, span("system.startup"))),
            ("logs", logs(*records, record("basket.emptied"))),
        ):
            httpx.post(f"{running.url}/v1/{path}", json=body, trust_env=False).raise_for_status()
        report = running.report()
        with running.store._database.cursor() as cursor:
            query = "SELECT items, plan, version, version_word, component, component_flag FROM events ORDER BY items"
            found = cursor.execute(f"{query} NULLS LAST LIMIT 2").fetchall()
    assert [tuple(row.values()) for row in report["feature_usage"]] == [
        ("event", "checkout.finished", "", 2),
        ("event", "basket.emptied", "", 1),
    ]
    assert [tuple(row.values())[:4] for row in report["performance"]] == [("checkout.finished", "", 2, 20)]
    assert [tuple(row.values()) for row in report["failures"]] == [("checkout.finished", "", 1, 2, 0.5)]
    assert found == [(1, None, "", None, None, None), (3, "pro", "", "b", None, True)]


@pytest.mark.fault(128)
def test_undeclared_events_are_listed_apart(
    client: httpx.Client, collector: Collector, span: Make, traces: Make
) -> None:
    """On this machine a developer sees events that are not declared yet, apart from those that are, up to a limit."""
    basket = [span("basket.emptied", success=success, duration_ms=5) for success in (True, False)]
    client.post("/v1/traces", json=traces(*basket)).raise_for_status()
    many = [span(f"invented.event_{number}") for number in range(MAX_UNDECLARED_NAMES + 50)]
    client.post("/v1/traces", json=traces(*many[:100])).raise_for_status()
    client.post("/v1/traces", json=traces(*many[100:])).raise_for_status()
    report = collector.report()
    assert report["feature_usage"] == report["performance"] == report["failures"] == []
    first = {"event": "basket.emptied", "service": "automagik-agents", "count": 2, "failures": 1, "p50_ms": 5}
    assert report["undeclared"][0] == first
    assert len(report["undeclared"]) == 100
    with collector.store._database.cursor() as cursor:
        names = cursor.execute("SELECT count(DISTINCT event) FROM events").fetchall()
    assert names == [(MAX_UNDECLARED_NAMES,)]
    assert "Undeclared events: declare them with --events\nevent" in _shown(report)
