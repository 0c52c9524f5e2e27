"""The clients that are measured deliver what they log: a speed without its loss would be no figure."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.bench.clients import CLIENTS
from tests.bench.plan import CLOSE, DELIVERS, GOALS, ONCE, OTHERS, Run
from tests.bench.sink import ROOT, counted, sink
from tests.bench.tables import clients_table, goals_table

if TYPE_CHECKING:
    from collections.abc import Iterator

NEEDS = {"logfire": "logfire", "sentry_logs": "sentry_sdk", "langwatch": "langwatch", "otel_logs": "opentelemetry.sdk"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A sink in a process of its own."""
    with sink() as url:
        yield url


@pytest.mark.parametrize("client", [run.client for run in DELIVERS])
def test_client_delivers(url: str, client: str) -> None:
    """What a client logs arrives, all of it, and is counted."""
    module = NEEDS.get(client, "structlog")
    if find_spec(module.partition(".")[0]) is None:
        pytest.skip(f"{module} is not installed")
    command = [sys.executable, "-m", "tests.bench.one", "delivers", client, url, "50"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    assert counted(url).events == 50


def test_goals_ask_for_what_is_run() -> None:
    """Every goal is about figures that some run brings, and every client is run."""
    figures = ("cpu", "p50", "p99", "p99.9", "lost", "bytes", "elapsed", "exit", "disk", "queue", "unaccounted", "ms")
    turns = [
        {run: dict.fromkeys([*figures, "events"], float(number)) for number, run in enumerate(runs, 1)}
        for runs in ((*CLOSE, *OTHERS), ONCE)
    ]
    table, _ = goals_table(GOALS, turns)
    assert table.count("\n") == len(GOALS) + 2
    assert clients_table(turns[0]).count("\n") == len(CLIENTS) + 2


def test_a_ratio_is_one_of_neighbours() -> None:
    """A machine that was slow in one turn and fast in the next changes no ratio; one event lost is one too many."""
    ours, noop = Run("burst", "ours"), Run("burst", "noop")
    turns = [{ours: {"cpu": 2.0 * speed, "lost": speed}, noop: {"cpu": speed}} for speed in (1.0, 9.0, 0.0001, 0.0)]
    del turns[-1][noop]
    measured = {goal.what: goal.measured(turns) for goal in GOALS}
    assert measured["the same of 20,000, of a no-op handler's"] == 2.0
    assert measured["lost of 20,100, at defaults"] == 9.0
    assert measured["import, on top of structlog and logging.config"] is None
    _, missed = goals_table(GOALS, turns)
    assert [goal.what for goal in missed] == ["lost of 20,100, at defaults"]
