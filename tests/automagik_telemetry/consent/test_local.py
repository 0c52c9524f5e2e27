"""`local`: everything is recorded and nothing is sent, so that users see their own data before they share it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from automagik_telemetry import configure, consent, get_tracing_manager
from automagik_telemetry.cli import main
from automagik_telemetry.consent import _application as application
from automagik_telemetry.consent import _notice as notice
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.consent._application import Scope
from automagik_telemetry.events._registry import CATALOGUE
from automagik_telemetry.settings import Settings

if TYPE_CHECKING:
    from tests.automagik_telemetry.conftest import Receiver


@pytest.fixture
def shop(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """Let test runs send; return the recipient of the bookshop."""
    monkeypatch.setenv("AUTOMAGIK_ENABLE_TRACING_IN_CI", "true")
    return receiver


def command(*arguments: str) -> Any:
    """Run a command of ours; return its output as JSON."""
    done = CliRunner().invoke(main, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def use(receiver: Receiver) -> None:
    """Start the bookshop, and use a feature."""
    configure(service_name="bookshop", endpoint=receiver.url)
    again()


def again() -> None:
    """Use a feature."""
    telemetry = get_tracing_manager().telemetry
    assert telemetry is not None
    telemetry.track_feature_usage("agents")


def recorded() -> list[tuple[str, str, int]]:
    """Return state, event and number of each row of the history."""
    rows = [(row["state"], row["event"], row["events"]) for row in command("history", "bookshop")]
    return [row for row in rows if row[1] != "telemetry.health"]


def queued() -> list[Path]:
    """Return the files of all queues."""
    return list(Path(os.environ["AUTOMAGIK_STATE_DIR"]).rglob("queue/*/*.json"))


def test_all_is_recorded_and_nothing_is_sent(shop: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is an ID, a history and no queue. A variable that opts in changes nothing; one that opts out does."""
    (state,) = command("local", "bookshop", "--endpoint", shop.url)
    assert (state["on"], state["state"]) == (False, "local")
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    use(shop)
    again()
    assert get_tracing_manager().flush(10)
    assert get_tracing_manager().shutdown()
    assert recorded() == [("recorded", "feature.used", 2)]
    state_directory = Path(os.environ["AUTOMAGIK_STATE_DIR"])
    assert len(list(state_directory.rglob("secret"))) == 1
    assert not (state_directory / "queue").exists()
    printed = CliRunner().invoke(main, ["status"]).output
    assert "bookshop: local (you ran `automagik-telemetry local bookshop`). Records what it would send" in printed
    assert consent.status().state == "local"
    assert consent.grant().state == "local"
    assert not consent.ask()
    doctor = CliRunner().invoke(main, ["doctor"]).output
    assert "telemetry is local: events are recorded, and nothing is sent. Not checked." in doctor
    flush = CliRunner().invoke(main, ["flush"]).output
    assert flush == "Telemetry is local: you ran `automagik-telemetry local bookshop`. Nothing was sent.\n"
    assert command("flush") == {"sent": [], "errors": [], "unsent": []}
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    assert consent.status().state == "off"
    use_off = configure(service_name="bookshop", endpoint=shop.url)
    assert use_off.telemetry is None
    assert shop.requests == []


def test_it_is_not_announced_as_sending(
    shop: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No notice says that usage is sent, and development mode says that it is recorded."""
    command("local", "bookshop", "--endpoint", shop.url)
    monkeypatch.setattr(notice, "is_terminal", lambda _stream: True)
    sender = application.Application(application.Given(service_name="bookshop", endpoint=shop.url))
    for catalogue in (CATALOGUE, {}):  # of which the second would be due
        assert notice.reason_to_suppress(sender, Settings.from_environ(), catalogue, {}) is None
    assert capsys.readouterr().err == ""
    configure(service_name="bookshop", endpoint=shop.url, debug="verbose")
    shown = " ".join(capsys.readouterr().err.split())
    assert shown == "telemetry: Development mode: events are printed and recorded, and nothing is sent."


def test_what_was_recorded_is_not_sent_later(shop: Receiver) -> None:
    """A running process goes on to record; only the next one sends, and only its own events."""
    command("local", "bookshop", "--endpoint", shop.url)
    use(shop)
    command("on", "bookshop")
    again()
    assert get_tracing_manager().flush(10)
    assert shop.requests == []
    use(shop)
    assert get_tracing_manager().flush(10)
    assert [span["name"] for span in shop.spans() if span["name"] != "telemetry.health"] == ["feature.used"]
    assert sorted(recorded()) == [("recorded", "feature.used", 2), ("sent", "feature.used", 1)]


def test_local_stops_a_process_that_sends(shop: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """It deletes its queue, and sends nothing more. The next process records."""
    monkeypatch.setenv("AUTOMAGIK_TRACE_SCHEDULE_DELAY", "3600")
    command("on", "bookshop", "--endpoint", shop.url)
    use(shop)
    assert queued()
    scope = Scope("bookshop", shop.url)
    preferences.change(lambda saved: saved.granted(scope, "another process", local=True))
    manager = get_tracing_manager()
    time.sleep(1.1)  # consent is read once a second
    assert manager.flush(10)
    assert not queued()
    again()
    assert manager.flush(10)
    assert shop.requests == []
    use(shop)
    assert get_tracing_manager().flush(10)
    assert recorded() == [("recorded", "feature.used", 1)]
    assert shop.requests == []


def test_local_deletes_what_is_queued(shop: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `off` does."""
    monkeypatch.setenv("AUTOMAGIK_TRACE_SCHEDULE_DELAY", "3600")
    command("on", "bookshop", "--endpoint", shop.url)
    use(shop)
    assert queued()
    command("local", "bookshop")
    assert not queued()
    assert shop.requests == []


def test_the_saved_choice() -> None:
    """`local` is saved, `on` and `off` replace it, and a value of another type opts out."""
    scope = Scope("bookshop", "https://books.example")
    preferences.change(lambda saved: saved.granted(scope, "x", local=True))
    assert preferences.load().of(scope).local
    text = preferences.path().read_text()
    preferences.change(lambda saved: saved.granted(scope, "x"))
    assert not preferences.load().of(scope).local
    preferences.path().write_text(text.replace("local = true", "local = 1"))
    assert preferences.load() is preferences.UNREADABLE
