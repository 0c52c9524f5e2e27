"""The event that reports the client's health, once a day."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from automagik_telemetry import configure
from automagik_telemetry.events.catalogue import HealthEvent
from automagik_telemetry.export._health import REASONS, changes
from automagik_telemetry.export._stats import DeliveryStats, Totals

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = 86_400
FIELDS = {"agent_name": "simple", "framework": "agno", "success": True, "duration_ms": 5.0}


@pytest.fixture(autouse=True)
def every_event_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the worker scan for work soon after each event."""
    monkeypatch.setenv("AUTOMAGIK_TRACE_SCHEDULE_DELAY", "0.05")


def log(**fields: Any) -> None:
    """Log a run of an agent."""
    logging.getLogger("automagik.agents").info("agent.run", extra={**FIELDS, **fields})


def application(state: str) -> Path:
    """Return the file whose time is that of the latest report."""
    (file,) = Path(state, "queue").glob("*/application")
    return file


def make_due() -> None:
    """Let the latest report be more than a day ago."""
    file = application(os.environ["AUTOMAGIK_STATE_DIR"])
    earlier = time.time() - DAY - 1
    os.utime(file, (earlier, earlier))


def test_it_reports_once_a_day(opted_in: Any, fields: Any, flush: Callable[[], None]) -> None:
    """A day after the first event, and after each report, the counts since then are sent, in a request with others."""

    def health() -> list[dict[str, Any]]:
        spans = [span for span in opted_in.spans() if span["name"] == "telemetry.health"]
        return [{name[6:]: value for name, value in fields(span).items() if name[:6] == "event."} for span in spans]

    configure()
    log(agent_name="undeclared")
    log(agent_name="undeclared", token_count="many")  # noqa: S106 - a count
    logging.getLogger("automagik.agents").info("a message")
    flush()
    assert health() == []  # the folder is new
    make_due()
    log(framework="undeclared, too")
    flush()
    flush()
    reported = {"sent": 2, "hashed": 3, "pending": 1, "dropped_fields": 1, "dropped_unknown_event": 1}
    assert health() == [reported]
    log()
    flush()
    assert health() == [reported]
    make_due()
    flush()
    flush()
    assert health() == [reported, {"sent": 3, "hashed": 0, "pending": 0}]


def test_it_follows_the_level(opted_in: Any, monkeypatch: pytest.MonkeyPatch, flush: Callable[[], None]) -> None:
    """At the level ERROR it is not sent. What was not reported is reported later."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_LEVEL", "ERROR")
    configure()
    log(success=False)
    logging.getLogger("automagik.agents").error("agent.run", extra=FIELDS)
    flush()
    make_due()
    flush()
    flush()
    assert {span["name"] for span in opted_in.spans()} == {"agent.run"}
    assert abs(time.time() - application(os.environ["AUTOMAGIK_STATE_DIR"]).stat().st_mtime) < DAY


PROGRAM = """
import logging, time
from automagik_telemetry import configure
tracing = configure()
while time.time() < {start}: pass
logging.getLogger("automagik.agents").info("agent.run", extra={fields})
print(tracing.flush(20))
"""


@pytest.mark.slow
def test_processes_report_together_once(opted_in: Any, flush: Callable[[], None]) -> None:
    """Of many processes that start when a report is due, one reports, and no thread or file is added for it."""
    configure()
    log()
    flush()
    before = sorted(path.name for path in application(os.environ["AUTOMAGIK_STATE_DIR"]).parent.iterdir())
    make_due()
    code = PROGRAM.format(start=time.time() + 2, fields=FIELDS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    programs = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    assert [program.communicate(timeout=60)[0] for program in programs] == ["True\n"] * 6
    names = [span["name"] for span in opted_in.spans()]
    assert names.count("telemetry.health") == 1
    assert names.count("agent.run") == 7
    after = {path.suffix for path in application(os.environ["AUTOMAGIK_STATE_DIR"]).parent.iterdir()}
    assert after == {Path(name).suffix for name in before}


def totals(**counts: Any) -> Totals:
    """Return totals with some counts."""
    empty: Any = {"at": 0.0, "endpoint": "", "last_success": None, "last_error": None, "failures": 0, "retry_at": 0.0}
    given = {"delivered": 0, "dropped": {}, "recorded": {}, "state": empty, "dropped_fields": {}, "reported": {}}
    return Totals(**{**given, **counts})


def test_counts_are_changes() -> None:
    """Each reason has its count, the others share one, and a count that became smaller is 0."""
    dropped = dict.fromkeys((*REASONS, "purged", "reentrant"), 2)
    found = changes(
        totals(delivered=5, dropped=dropped, reported={"sent": 7, "dropped_expired": 1, "dropped_sampled": 2})
    )
    assert found["sent"] == 0
    assert found["dropped_expired"] == 1
    assert "dropped_sampled" not in found
    assert found["dropped_other"] == 4
    assert found.keys() <= HealthEvent.kinds().keys()
    assert {f"dropped_{reason}" for reason in REASONS} <= HealthEvent.kinds().keys()


def test_reported_counts_are_kept_on_the_page() -> None:
    """Reported counts are not drops of the process."""
    stats = DeliveryStats()
    stats.report({"sent": 5})
    stats.report({"sent": 2, "hashed": 1})
    assert stats.own().dropped == {}
