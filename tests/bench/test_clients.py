"""The benchmark measures clients that deliver what they log, and its goals ask for what it runs."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from automagik_telemetry.events._allowlist import AGENTS
from tests.bench.clients import CLIENTS
from tests.bench.events import events
from tests.bench.plan import DELIVERS, EVERY_ROUND, EVERY_TURN, GOALS, ONCE, Run
from tests.bench.sink import ROOT, counted, sink
from tests.bench.tables import clients_table, goals_table

if TYPE_CHECKING:
    from collections.abc import Iterator

NEEDS = {"logfire": "logfire", "sentry_logs": "sentry_sdk", "langwatch": "langwatch", "otel_logs": "opentelemetry.sdk"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """URL of a sink in its own process."""
    with sink() as url:
        yield url


@pytest.mark.parametrize("client", [run.client for run in DELIVERS])
def test_client_delivers(url: str, client: str) -> None:
    """Every event that a client logs arrives and is counted."""
    module = NEEDS.get(client, "structlog")
    if find_spec(module.partition(".")[0]) is None:
        pytest.skip(f"{module} is not installed")
    command = [sys.executable, "-m", "tests.bench.one", "delivers", client, url, "50"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    assert counted(url).events == 50


def test_events_vary_as_those_of_an_application_do() -> None:
    """Some agents are on the allowlist and some are not, and no number comes twice; constant events have one agent."""
    varied = events(1_000)
    names = {fields["agent_name"] for fields in varied}
    assert len(names) == 8
    assert 0 < len(names.intersection(AGENTS)) < 8
    for number in ("duration_ms", "token_count"):
        assert len({fields[number] for fields in varied}) == 1_000
    constant = events(1_000, constant=True)
    assert {fields["agent_name"] for fields in constant} == {"simple"}
    assert [fields["duration_ms"] for fields in constant] == [fields["duration_ms"] for fields in varied]


def test_goals_ask_for_what_is_run() -> None:
    """Every goal uses figures that a run returns, and every client is run."""
    figures = ("cpu", "p50", "p99", "p99.9", "lost", "bytes", "elapsed", "exit", "disk", "queue", "unaccounted", "ms")
    turns = [
        {run: dict.fromkeys([*figures, "events"], float(number)) for number, run in enumerate(runs, 1)}
        for runs in ((*EVERY_TURN, *EVERY_ROUND), ONCE)
    ]
    table, _ = goals_table(GOALS, turns)
    assert table.count("\n") == len(GOALS) + 2
    assert clients_table(turns[0]).count("\n") == len(CLIENTS) + 2


def test_a_ratio_is_taken_within_a_turn() -> None:
    """A ratio does not change when the machine is slower in one turn; a loss in any turn misses its goal."""
    ours, noop = Run("burst", "ours"), Run("burst", "noop")
    turns = [{ours: {"cpu": 2.0 * speed, "lost": speed}, noop: {"cpu": speed}} for speed in (1.0, 9.0, 0.0001, 0.0)]
    del turns[-1][noop]
    measured = {goal.what: goal.measured(turns) for goal in GOALS}
    assert measured["CPU per event, stdlib logger, 20,000 events, vs a no-op handler"] == 2.0
    assert measured["events lost of 20,100, defaults"] == 9.0
    assert measured["import, after structlog and logging.config"] is None
    _, missed = goals_table(GOALS, turns)
    assert [goal.what for goal in missed] == ["events lost of 20,100, defaults"]
