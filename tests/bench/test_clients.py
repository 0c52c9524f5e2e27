"""The clients that are measured deliver what they log: a speed without its loss would be no figure."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.bench.clients import CLIENTS
from tests.bench.plan import EVERY_ROUND, GOALS, ONCE, Run
from tests.bench.sink import ROOT, counted, sink
from tests.bench.tables import clients_table, goals_table

if TYPE_CHECKING:
    from collections.abc import Iterator

NEEDS = {"logfire": "logfire", "sentry_logs": "sentry_sdk", "langwatch": "langwatch", "otel_logs": "opentelemetry.sdk"}
SENDING = [
    "ours",
    "ours_structlog",
    "ours_track_event",
    "ours_langwatch",
    "otel_logs",
    "otel_spans",
    "logfire",
    "sentry_logs",
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A sink in a process of its own."""
    with sink() as url:
        yield url


@pytest.mark.parametrize("client", SENDING)
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
    found = {
        run: dict.fromkeys([*figures, "events"], float(number)) for number, run in enumerate([*EVERY_ROUND, *ONCE], 1)
    }
    table, _ = goals_table(GOALS, found)
    assert table.count("\n") == len(GOALS) + 2
    assert clients_table(found).count("\n") == len(CLIENTS) + 2
    _, missed = goals_table(GOALS, {Run("burst", "ours"): {"lost": 1.0}, Run("burst", "ours", 100_000): {"lost": 0.0}})
    assert [goal.what for goal in missed] == ["lost of 20,100, at defaults"]
