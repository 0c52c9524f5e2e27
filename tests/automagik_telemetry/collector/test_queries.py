"""The answers on known events, worked out by hand, and how a terminal shows them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from automagik_telemetry.collector._queries import QUERIES
from automagik_telemetry.collector._report import render

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from automagik_telemetry.collector._queries import Report
    from automagik_telemetry.collector.server import Collector

    Make = Callable[..., dict[str, Any]]


@pytest.fixture
def known(client: httpx.Client, span: Make, record: Make, traces: Make, logs: Make) -> None:
    """Every event that the questions ask for, some as spans and some as log records, and some that don't count."""
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
def answers(known: None, collector: Collector) -> Report:
    """The answers about the known events."""
    return collector.report()


def test_feature_usage_counts_everything_used(answers: Report) -> None:
    """Features, agents, commands, endpoints, tools and workflows, most used first, from both tables."""
    assert [tuple(row.values()) for row in answers["feature_usage"]] == [
        ("agent", "simple", "", 5),
        ("command", "agent list", "", 2),
        ("feature", "multimodal", "agent", 2),
        ("agent", "discord", "", 1),
        ("endpoint", "GET /agents/{id}", "", 1),
        ("feature", "search", "", 1),
        ("tool", "search", "", 1),
        ("workflow", "import", "", 1),
    ]
    assert list(answers["feature_usage"][0]) == ["kind", "name", "category", "count"]


def test_performance_interpolates_percentiles(answers: Report) -> None:
    """Percentiles lie between neighbours: of 10, 20, 30, 40, 50 the 95th is 4/5 of the way from 40 to 50."""
    expected = [
        ("agent.run", "simple", 5, 30, 48, 49.6),
        ("agent.run", "discord", 1, 7.5, 7.5, 7.5),
        ("api.request", "GET /agents/{id}", 1, 2, 2, 2),
        ("cli.command", "agent list", 2, 10, 14.5, 14.9),
        ("tool.executed", "search", 1, 3, 3, 3),
        ("workflow.completed", "import", 1, 1234, 1234, 1234),
    ]
    for row, (event, name, *numbers) in zip(answers["performance"], expected, strict=True):
        assert (row["event"], row["name"]) == (event, name)
        assert [row["count"], row["p50_ms"], row["p95_ms"], row["p99_ms"]] == pytest.approx(numbers)


def test_errors_are_counted_by_type_and_component(answers: Report) -> None:
    """Errors by type and component, the most frequent first."""
    assert answers["errors"] == [
        {"error_type": "ValueError", "component": "agent.simple", "count": 2},
        {"error_type": "TimeoutError", "component": "agent.discord", "count": 1},
    ]


def test_failed_runs_have_a_rate(answers: Report) -> None:
    """What failed at least once: failures, total and rate; what never failed is not there."""
    assert [tuple(row.values()) for row in answers["failures"]] == [
        ("workflow.completed", "import", 1, 1, 1.0),
        ("cli.command", "agent list", 1, 2, 0.5),
        ("agent.run", "simple", 1, 5, pytest.approx(0.2)),
    ]
    assert list(answers["failures"][0]) == ["event", "name", "failures", "total", "rate"]


def test_framework_preference_has_shares(answers: Report) -> None:
    """Runs by framework with their share of all runs and how many of them succeeded."""
    assert answers["framework_preference"] == [
        {"framework": "pydantic_ai", "count": 4, "share": pytest.approx(4 / 6), "success_rate": 0.75},
        {"framework": "agno", "count": 2, "share": pytest.approx(2 / 6), "success_rate": 1.0},
    ]


def test_the_collector_serves_the_same_answers(answers: Report, client: httpx.Client, collector: Collector) -> None:
    """`GET /api/report` gives the answers, and which store they are from."""
    assert client.get("/api/report").json() == {"store": str(collector.store.path), "answers": answers}


def test_an_odd_duration_does_not_spoil_the_percentiles(
    client: httpx.Client, span: Make, traces: Make, collector: Collector
) -> None:
    """A duration that is no number is left out, one in words gives way to the span's own."""
    spans: list[Any] = [
        span("tool.executed", tool_name="t") | {"endTimeUnixNano": "1700000000125456789"} for _ in range(3)
    ]
    spans[1]["attributes"].append({"key": "event.duration_ms", "value": {"doubleValue": "NaN"}})
    spans[2]["attributes"].append({"key": "event.duration_ms", "value": {"stringValue": "long"}})
    client.post("/v1/traces", json=traces(*spans)).raise_for_status()
    (row,) = collector.report()["performance"]
    assert row == {"event": "tool.executed", "name": "t", "count": 2, "p50_ms": 2, "p95_ms": 2, "p99_ms": 2}


def test_an_empty_store_has_empty_answers(collector: Collector) -> None:
    """Every question has an answer before there are events."""
    assert collector.report() == {question.name: [] for question in QUERIES}


def _shown(answers: Report, *, terminal: bool = False) -> str:
    output = io.StringIO()
    render(answers, Console(file=output, width=100, force_terminal=terminal, color_system=None))
    return output.getvalue()


def test_the_report_is_shown_as_tables(answers: Report) -> None:
    """Each question has its title and table, with numbers on the right, readable without colour."""
    shown = _shown(answers)
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


def test_a_question_without_an_answer_is_a_sentence(
    client: httpx.Client, span: Make, traces: Make, collector: Collector
) -> None:
    """Where there is nothing to show, the report says so in words."""
    client.post("/v1/traces", json=traces(span("feature.used", feature_name="search"))).raise_for_status()
    shown = _shown(collector.report())
    assert "Error patterns: failed runs\nNo run has failed.\n" in shown
    assert "Framework preference\nNo agent has run yet.\n" in shown


def test_no_events_at_all_are_one_sentence(collector: Collector) -> None:
    """An empty store makes one sentence, not five."""
    assert _shown(collector.report()) == "No events are stored yet.\n"


def test_names_cannot_steer_the_terminal(client: httpx.Client, span: Make, traces: Make, collector: Collector) -> None:
    """Escape sequences and rich's own markup in a name are shown, not obeyed."""
    name = "[red]\x1b]0;title\x07\u202eevil[/red]"
    client.post("/v1/traces", json=traces(span("feature.used", feature_name=name))).raise_for_status()
    shown = _shown(collector.report(), terminal=True)
    assert "[red]\ufffd]0;title\ufffd\ufffdevil[/red]" in shown
    assert "\x1b]0" not in shown


def test_sampled_events_count_for_those_that_were_not_kept(
    client: httpx.Client, span: Make, traces: Make, collector: Collector
) -> None:
    """An event that stands for ten counts ten times, in counts and shares alike; a rate that is none counts once."""
    kept = span("agent.run", agent_name="simple", framework="agno", success=True, duration_ms=1)
    kept["attributes"].append({"key": "sample_rate", "value": {"doubleValue": 0.1}})
    failed = span("agent.run", agent_name="simple", framework="agno", success=False, duration_ms=1)
    odd = span("agent.run", agent_name="simple", framework="pydantic_ai", success=True, duration_ms=1)
    odd["attributes"].append({"key": "sample_rate", "value": {"stringValue": "-1"}})
    client.post("/v1/traces", json=traces(kept, failed, odd)).raise_for_status()
    answers = collector.report()
    assert [row["count"] for row in answers["feature_usage"]] == [12]
    assert [(row["failures"], row["total"]) for row in answers["failures"]] == [(1, 12)]
    assert answers["failures"][0]["rate"] == pytest.approx(1 / 12)
    agno, pydantic_ai = answers["framework_preference"]
    assert (agno["count"], pydantic_ai["count"]) == (11, 1)
    assert agno["share"] == pytest.approx(11 / 12)
    assert agno["success_rate"] == pytest.approx(10 / 11)
