"""The history of what was sent, by day and event: bounded, private, and safe with several processes."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from automagik_telemetry import configure, get_tracing_manager
from automagik_telemetry._private_files import replace_private
from automagik_telemetry.cli import main
from automagik_telemetry.consent._application import Scope
from automagik_telemetry.export import _history
from automagik_telemetry.export._body import gzip
from automagik_telemetry.export._history import DAYS, MAX_BYTES, History, Row, delete, events_in
from tests.faults.server import Endpoint, reply

if TYPE_CHECKING:
    from tests.automagik_telemetry.conftest import Receiver
    from tests.faults.server import Answer

SHOP = Scope("bookshop", "https://books.example")
TODAY = dt.datetime.now(dt.UTC).date()


@pytest.fixture(autouse=True)
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the day, which would otherwise change at midnight."""
    monkeypatch.setattr(_history, "today", lambda: TODAY)


def day(ago: int) -> str:
    """Return the UTC day some days ago."""
    return (TODAY - dt.timedelta(days=ago)).isoformat()


def shown(*arguments: str) -> list[dict[str, Any]]:
    """Return the history as JSON."""
    found: list[dict[str, Any]] = json.loads(CliRunner().invoke(main, ["history", *arguments, "--json"]).stdout)
    return found


@pytest.mark.parametrize("path", ["", "/v1/logs"])
def test_what_was_sent(opted_in: Receiver, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each accepted event is counted by its name, in a private file; `purge` deletes it."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENDPOINT", f"{opted_in.url}{path}")
    configure(service_name="bookshop")
    telemetry = get_tracing_manager().telemetry
    assert telemetry is not None
    for _ in range(3):
        telemetry.track_feature_usage('"name":"agent.error"')
    telemetry.track_error("ValueError", "cli")
    assert shown() == []
    assert get_tracing_manager().flush(10)
    row = {"application": "bookshop", "recipient": opted_in.url, "day": day(0), "state": "sent"}
    wanted = [{**row, "event": "feature.used", "events": 3}, {**row, "event": "agent.error", "events": 1}]
    found = [each for each in shown() if each["event"] != "telemetry.health"]
    assert found == wanted
    assert shown("bakery") == []
    table = CliRunner().invoke(main, ["history"]).output
    assert table.startswith(f"bookshop to {opted_in.url}:\n  {day(0)}        3 sent      feature.used\n")
    (file,) = Path(os.environ["AUTOMAGIK_STATE_DIR"]).rglob("*.history")
    assert file.stat().st_mode & 0o777 == 0o600
    CliRunner().invoke(main, ["off"])
    assert file.exists()
    assert "The history is empty." in CliRunner().invoke(main, ["purge", "bookshop"]).output
    assert not file.exists()
    assert CliRunner().invoke(main, ["history"]).output == "Nothing was sent or recorded in the last 30 days.\n"


def test_nothing_is_written_of_what_was_not_accepted(opted_in: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither without a response, nor after an opt-out."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENDPOINT", "http://127.0.0.1:9")
    configure(service_name="bookshop")
    manager = get_tracing_manager()
    assert manager.telemetry is not None
    manager.telemetry.track_feature_usage("agents")
    assert not manager.flush(0.5)
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    manager.flush(0.5)
    assert not list(Path(os.environ["AUTOMAGIK_STATE_DIR"]).rglob("*.history"))


@pytest.mark.parametrize(
    ("answer", "events"),
    [(reply(body=b'{"partialSuccess": {"rejectedSpans": 2}}'), 2), (reply(400, b"{}"), 2), (reply(503), 0)],
)
def test_what_was_rejected_was_sent(answer: Answer, events: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipient has had it, and it is not sent again. What is sent again does not count yet."""
    monkeypatch.setenv("AUTOMAGIK_ENABLE_TRACING_IN_CI", "true")
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    with Endpoint(answer) as endpoint:
        manager = configure(service_name="bookshop", endpoint=endpoint.url)
        assert manager.telemetry is not None
        for _ in range(2):
            manager.telemetry.track_feature_usage("agents")
        manager.flush(10 if events else 0.5)
        assert sum(row["events"] for row in shown() if row["event"] == "feature.used") == events


def test_names_are_those_of_events() -> None:
    """Names in strings, of scopes, of exceptions and of attributes do not count."""
    span = {"traceId": "0" * 32, "spanId": "a" * 16}
    exceptions = [{"timeUnixNano": "1", "name": "exception", "attributes": [{"key": "name"}]}]
    request = {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "name", "value": {"stringValue": '"name":"a"'}}]},
                "scopeSpans": [
                    {
                        "scope": {"name": "automagik_telemetry"},
                        "spans": [
                            {**span, "name": "agent.run", "attributes": [{"key": "name"}], "events": exceptions},
                            {**span, "parentSpanId": "b" * 16, "name": "agent.error"},
                        ],
                    }
                ],
            }
        ]
    }
    assert events_in(gzip(json.dumps(request, separators=(",", ":")).encode())) == {
        "agent.run": 1,
        "agent.error": 1,
    }


def test_old_days_and_malformed_lines(tmp_path: Path) -> None:
    """They are not shown, and are gone after the next event."""
    state = str(tmp_path / "state")
    history = History(state, SHOP)
    assert history.rows() == []
    history.add("sent", Counter({"agent.run": 2}))
    path = Path(history.path)
    path.write_text(
        f"{day(DAYS)} sent agent.run 7\n{day(DAYS - 1)} sent agent.run 5\nmalformed \x1b[2J\n{day(0)} sent x"
    )
    assert history.rows() == [Row(day(DAYS - 1), "sent", "agent.run", 5)]
    path.write_text(path.read_text() + "\n")
    history.add("recorded", Counter({"agent.run": 1}))
    assert path.read_text() == f"{day(DAYS - 1)} sent agent.run 5\n{day(0)} recorded agent.run 1\n"
    assert path.stat().st_mode & 0o777 == 0o600
    Path(f"{path}.{'0' * 16}").touch()  # of a process that was killed
    delete(state, "bakery")
    assert history.rows()
    delete(state, None)
    assert list(path.parent.iterdir()) == []


def test_a_rewrite_in_progress_does_not_restore_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is deleted after the rewrite."""
    history = History(str(tmp_path), SHOP)
    history.add("sent", Counter({"agent.run": 1}))
    path = Path(history.path)
    path.write_text(f"{day(DAYS)} sent agent.run 1\n")
    deleting = threading.Thread(target=delete, args=(str(tmp_path), None))

    def replace(path: str, text: str) -> None:
        deleting.start()
        deleting.join(0.1)
        replace_private(path, text)

    monkeypatch.setattr("automagik_telemetry.export._history.replace_private", replace)
    history.add("sent", Counter({"agent.run": 1}))
    deleting.join()
    assert list(path.parent.iterdir()) == []


def test_it_is_bounded(tmp_path: Path) -> None:
    """A file that grows is rewritten as sums, and the oldest days go first."""
    history = History(str(tmp_path / "state"), SHOP)
    history.add("sent", Counter({"agent.run": 1}))
    path = Path(history.path)
    path.write_text(f"{day(1)} sent agent.run 1\n" * 30_000)
    assert MAX_BYTES // 2 < path.stat().st_size < MAX_BYTES
    history.add("sent", Counter({"agent.run": 1}))
    assert history.rows() == [Row(day(1), "sent", "agent.run", 30_000), Row(day(0), "sent", "agent.run", 1)]
    assert path.stat().st_size < 100
    path.write_text("".join(f"{day(ago)} sent {'x' * 180}.{number} 1\n" for ago in (2, 1) for number in range(1300)))
    history.add("sent", Counter({"agent.run": 1}))
    rows = history.rows()
    assert path.stat().st_size <= MAX_BYTES // 4
    assert rows[-1] == Row(day(0), "sent", "agent.run", 1)
    assert {row.day for row in rows} == {day(1), day(0)}


def test_the_end_of_a_process_waits_briefly_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 0.1 s under another's lock, the counts are given up."""
    history = History(str(tmp_path), SHOP)
    history.add("sent", Counter({"agent.run": 1}))
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    with Path(history.path).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        history.add("sent", Counter({"agent.run": 1}))
    assert sum(waits) == pytest.approx(0.1)
    assert [row.events for row in history.rows()] == [1]


ADDS = """
import datetime as dt
import sys
from collections import Counter
from automagik_telemetry.consent._application import Scope
from automagik_telemetry.export import _history
from automagik_telemetry.export._history import History
_history._ATTEMPTS = 2000  # on a machine with other work
_history.today = lambda: dt.date.fromisoformat(sys.argv[2])
history = History(sys.argv[1], Scope("bookshop", "https://books.example"))
for _ in range(300):
    history.add("sent", Counter({"agent.run": 1, "agent.error": 2}))
"""


@pytest.mark.slow
def test_several_processes(tmp_path: Path) -> None:
    """No count is lost, while the file is rewritten meanwhile."""
    history = History(str(tmp_path), SHOP)
    history.add("sent", Counter({"agent.run": 1}))
    before = f"{day(1)} sent agent.run 1\n" * 20_960  # just below the size from which it is rewritten
    Path(history.path).write_text(before)
    run = [sys.executable, "-c", ADDS, str(tmp_path), day(0)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [subprocess.Popen(run, env=environment) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert {(row.day, row.event): row.events for row in history.rows()} == {
        (day(1), "agent.run"): 20_960,
        (day(0), "agent.run"): 1200,
        (day(0), "agent.error"): 2400,
    }
    assert Path(history.path).stat().st_size < len(before)
