"""The functions with which an application shows, asks for and changes the consent of its user."""

from __future__ import annotations

import io
import logging
import os
import re
import shlex
import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from automagik_telemetry import configure, consent, get_tracing_manager
from automagik_telemetry.cli import main
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.settings import OFF
from tests.faults.server import Endpoint, black_hole, reply
from tests.terminal import on_terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.automagik_telemetry.conftest import Receiver

BOOKS = "https://books.example"


@pytest.fixture(autouse=True)
def outside_of_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let test runs send."""
    monkeypatch.setenv("AUTOMAGIK_ENABLE_TRACING_IN_CI", "true")


def is_on() -> bool:
    """Return whether usage of the bookshop may be sent."""
    return consent.status("bookshop", endpoint=BOOKS).state == "on"


def test_a_grant_and_a_withdrawal() -> None:
    """They are about this application and its recipient, and the status has state and reason."""
    configure(service_name="bookshop", endpoint=f"{BOOKS}/v1/traces")
    before = consent.status()
    assert (before.application, before.recipient, before.state, before.level) == ("bookshop", BOOKS, "off", "OFF")
    assert not preferences.path().exists()
    granted = consent.grant()
    assert (granted.state, granted.level) == ("on", "INFO")
    assert "choice.toml" in granted.reason
    assert is_on()
    assert consent.status("bakery", endpoint=BOOKS).state == "off"
    assert consent.status("bookshop", endpoint="https://bread.example").state == "off"
    assert consent.withdraw().state == "off"
    assert not is_on()


def test_the_handler_in_a_file_names_the_application(tmp_path: Path) -> None:
    """The application is the one of the telemetry sink."""
    path = tmp_path / "logging.yaml"
    text = Path(__file__).parents[3].joinpath("logging.yaml").read_text(encoding="utf-8")
    sink = "(): automagik_telemetry.telemetry_handler "
    assert sink in text
    path.write_text(text.replace(sink, f"service_name: bookshop\n    endpoint: {BOOKS}\n    {sink}"))
    configure(path)
    assert consent.status()[:2] == ("bookshop", BOOKS)


@pytest.mark.parametrize(("level", "state"), [("ERROR", "on"), ("OFF", "off")])
def test_the_level_in_a_file_counts(level: str, state: str, tmp_path: Path) -> None:
    """The status has it, as the command has, and another application has another."""
    path = tmp_path / "logging.yaml"
    text = Path(__file__).parents[3].joinpath("logging.yaml").read_text(encoding="utf-8")
    sink = "(): automagik_telemetry.telemetry_handler "
    path.write_text(text.replace(sink, f"service_name: bookshop\n    endpoint: {BOOKS}\n    {sink}"))
    path.write_text(re.sub(r"(telemetry_handler .*\n    level: )\w+", rf"\1{level}", path.read_text()))
    configure(path)
    granted = consent.grant()
    assert (granted.state, granted.level) == (state, level)
    assert consent.status().reason == granted.reason
    assert consent.grant("bakery", endpoint=BOOKS).level == "INFO"


@pytest.mark.parametrize("refusal", ["off", "off bookshop", "level off", "withdraw", "DO_NOT_TRACK", "file", "broken"])
def test_an_application_can_not_grant_what_its_user_refused(refusal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither saved refusals nor variables or files; only the user's own command changes a saved one."""
    consent.grant("bookshop", endpoint=BOOKS)
    if refusal == "withdraw":
        consent.withdraw("bookshop", endpoint=BOOKS)
    elif refusal == "DO_NOT_TRACK":
        monkeypatch.setenv("DO_NOT_TRACK", "1")
    elif refusal == "file":
        monkeypatch.setenv("HOME", os.environ["AUTOMAGIK_STATE_DIR"])
        Path(os.environ["HOME"]).mkdir()
        Path("~/.automagik-no-telemetry").expanduser().touch()
    elif refusal == "broken":
        preferences.path().write_text("enabled = ")
    else:
        assert CliRunner().invoke(main, refusal.split()).exit_code == 0
    saved = preferences.path().read_text()
    for _ in range(2):
        assert consent.grant("bookshop", endpoint=BOOKS).state == "off"
        assert not consent.ask("bookshop", endpoint=BOOKS)
    assert preferences.path().read_text() == saved
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    if refusal in {"off", "off bookshop", "level off", "withdraw"}:
        assert CliRunner().invoke(main, ["on", "bookshop", "--endpoint", BOOKS]).exit_code == 0
        assert is_on()


def test_what_can_not_be_granted() -> None:
    """An application without an endpoint has no recipient, and arguments are checked."""
    with pytest.raises(ValueError, match="has no telemetry endpoint"):
        consent.grant("bookshop")
    assert consent.status("bookshop").recipient is None
    with pytest.raises(ValueError, match="endpoint must be"):
        consent.status(endpoint="ftp://books.example")
    with pytest.raises(TypeError, match="service_name must be a str"):
        consent.ask(1)  # type: ignore[arg-type]  # what is tested


def test_a_variable_is_not_granted_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that names another recipient than the argument is an error. A withdrawal covers all of them."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENDPOINT", "https://bread.example")
    for function in (consent.grant, consent.ask):
        with pytest.raises(ValueError, match="AUTOMAGIK_TELEMETRY_ENDPOINT is set and comes before endpoint"):
            function("bookshop", endpoint=BOOKS)
    assert not preferences.path().exists()
    assert consent.grant("bookshop", endpoint="https://bread.example/v1/traces").state == "on"
    assert consent.withdraw("bookshop", endpoint=BOOKS).state == "off"


@pytest.mark.fault(103)
def test_a_withdrawal_deletes_what_is_queued(opted_in: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never sent, and this process records nothing more."""
    monkeypatch.setenv("AUTOMAGIK_TRACE_SCHEDULE_DELAY", "3600")
    configure(service_name="bookshop", endpoint=opted_in.url)
    telemetry = get_tracing_manager().telemetry
    assert telemetry is not None
    telemetry.track_feature_usage("agents")
    queue = Path(os.environ["AUTOMAGIK_STATE_DIR"], "queue")
    assert list(queue.rglob("*.json"))
    consent.withdraw()
    assert not list(queue.rglob("*.json"))
    telemetry.track_feature_usage("agents")
    assert get_tracing_manager().telemetry is None
    get_tracing_manager().flush(1)
    assert not list(queue.rglob("*.json"))
    assert opted_in.requests == []


@pytest.mark.slow
@pytest.mark.fault(103)
def test_a_request_in_progress_is_not_sent_again_after_a_later_grant() -> None:
    """A batch that waits for its response is deleted too, so that no later process sends it."""
    with Endpoint(black_hole, reply()) as endpoint:
        assert CliRunner().invoke(main, ["on", "bookshop", "--endpoint", endpoint.url]).exit_code == 0
        telemetry = configure(service_name="bookshop", endpoint=endpoint.url).telemetry
        assert telemetry is not None
        telemetry.track_feature_usage("agents")
        endpoint.wait_for(lambda: endpoint.requests)
        consent.withdraw()
        assert not list(Path(os.environ["AUTOMAGIK_STATE_DIR"], "queue").rglob("*.json"))
        assert CliRunner().invoke(main, ["on", "bookshop"]).exit_code == 0
        assert configure(service_name="bookshop", endpoint=endpoint.url).flush(10)
        assert endpoint.accepted == []


def test_configure_prints_nothing_and_notes_the_recipient(
    opted_in: Receiver, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Recipient and opt-out are logged once at INFO on our own logger, and nothing is printed."""
    configure(service_name="bookshop", endpoint=opted_in.url)
    assert capfd.readouterr() == ("", "")
    with caplog.at_level(logging.INFO, "automagik_telemetry"):
        for _ in range(2):
            configure(service_name="bookshop", endpoint=opted_in.url)
    (note,) = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert note.startswith("telemetry of bookshop is on (AUTOMAGIK_TELEMETRY_ENABLED is true): ")
    assert f"sent to {opted_in.url}. To opt out: automagik-telemetry off bookshop, or DO_NOT_TRACK=1" in note


def test_nothing_is_asked_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is printed, read or saved."""
    for stdin in (None, io.StringIO("y\n")):
        monkeypatch.setattr("sys.stdin", stdin)
        assert not consent.ask("bookshop", endpoint=BOOKS)
    assert capfd.readouterr() == ("", "")
    assert not preferences.path().exists()


ASKS = f"""
import sys
from automagik_telemetry import configure, consent
configure(service_name="bookshop", endpoint="{BOOKS}", privacy_url="{BOOKS}/privacy")
print(consent.ask(), consent.status().reason)
"""


def ask(answer: str, variables: Mapping[str, str] = MappingProxyType({}), columns: int = 80) -> tuple[str, str]:
    """Run an application that asks, on a terminal; return what it asked, and what it printed itself."""
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), **variables}
    for name in ("PATH", "HOME", "AUTOMAGIK_STATE_DIR", "XDG_CONFIG_HOME"):
        environment.setdefault(name, os.environ[name])
    code, output = on_terminal([sys.executable, "-c", ASKS], environment, columns=columns, answer=answer)
    assert code == 0, output
    question, mark, rest = output.rpartition("[y/N] ")
    return question + mark, rest.strip()


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "is_yes"), [("y\n", True), ("YES\n", True), ("\n", False), ("no\n", False)])
def test_the_user_is_asked_once(answer: str, is_yes: bool) -> None:
    """The answer is saved, and the question has application, recipient, opt-outs and page in lines that wrap."""
    question, printed = ask(answer, columns=60)
    assert question == (
        "bookshop would like to send usage data with a random ID to\n  https://books.example.\n"
        "Never your texts, arguments or paths. Nothing has been sent\n  yet.\n"
        "To opt out: automagik-telemetry off bookshop, or\n  DO_NOT_TRACK=1\n"
        "To read more: https://books.example/privacy\n"
        "Send it? [y/N] "
    )
    assert printed == f"{is_yes} you answered when it asked"
    assert ask("y\n") == ("", f"{is_yes} you answered when it asked")


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {"DO_NOT_TRACK": "1"},
        {"AUTOMAGIK_TELEMETRY_LEVEL": "OFF"},
        {"CI": "true"},
        {"XDG_CONFIG_HOME": "/dev/null"},
    ],
)
def test_the_user_is_not_asked(variables: dict[str, str]) -> None:
    """An opt-out holds, CI is not asked, and an answer that can't be saved would be asked for again."""
    question, printed = ask("y\n", variables)
    assert question == ""
    assert printed.startswith("False ")
    assert not preferences.path().exists()


@pytest.mark.slow
def test_a_saved_level_is_an_answer() -> None:
    """Nobody is asked whether to send at a level that sends nothing."""
    CliRunner().invoke(main, ["level", "off"])
    question, printed = ask("y\n")
    assert question == ""
    assert printed.startswith("False ")
    assert preferences.load().everything.level == OFF


@pytest.mark.slow
def test_a_process_in_the_background_does_not_ask() -> None:
    """The terminal would stop it."""
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    environment |= {name: os.environ[name] for name in ("PATH", "HOME", "AUTOMAGIK_STATE_DIR", "XDG_CONFIG_HOME")}
    script = f"set -m; {shlex.join([sys.executable, '-c', ASKS])} & wait $!; echo $?"
    code, output = on_terminal(["sh", "-c", script], environment)
    assert code == 0
    assert "Send it?" not in output
    assert "False not opted in" in output
    assert output.endswith("0\n")


@pytest.mark.slow
def test_a_closed_terminal_is_no_answer() -> None:
    """Ctrl-D saves nothing."""
    question, printed = ask("\x04")
    assert question
    assert printed.startswith("False not opted in")
    assert not preferences.path().exists()
