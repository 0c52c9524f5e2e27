"""The commands by which a user sees and decides what is sent, each tried as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from automagik_telemetry.cli import main
from automagik_telemetry.events.catalogue import EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

Command = "Callable[..., subprocess.CompletedProcess[str]]"
LOGS_ONE_EVENT = """
from automagik_telemetry import get_tracing_manager
telemetry = get_tracing_manager().telemetry
if telemetry is not None:
    telemetry.track_feature_usage("agents", "cli")
    telemetry.track_feature_usage("undeclared name")
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home directory of somebody who has never heard of us."""
    home = tmp_path / "somebody"
    home.mkdir()
    return home


@pytest.fixture
def python(home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python as that somebody, with these variables and no others."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=home,
            env={**environment, "AUTOMAGIK_TELEMETRY_ENDPOINT": "http://127.0.0.1:9", **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


@pytest.fixture
def command(python: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `automagik-telemetry` as that somebody."""
    run: Callable[..., subprocess.CompletedProcess[str]] = lambda *arguments, **variables: python(  # noqa: E731
        "-m", "automagik_telemetry", *arguments, **variables
    )
    return run


def status(command: Any, **variables: str) -> dict[str, Any]:
    """Return what `status --json` says of the telemetry sink."""
    done = command("status", "--json", **variables)
    assert (done.returncode, done.stderr) == (0, "")
    sink: dict[str, Any] = json.loads(done.stdout)["sinks"][0]
    return sink


def files(home: Path) -> list[str]:
    """Return every file and directory below a home."""
    return sorted(str(path.relative_to(home)) for path in home.rglob("*"))


def test_looking_changes_nothing(home: Path, command: Any) -> None:
    """status, events, preview, settings and purge make no file, on or off."""
    for variables in ({}, {"AUTOMAGIK_TELEMETRY_ENABLED": "true"}):
        for arguments in (["status"], ["events", "--words"], ["preview"], ["settings"], ["purge"], ["reset-id"]):
            done = command(*arguments, **variables)
            assert (done.returncode, done.stderr) == (0, ""), arguments
            assert done.stdout
            assert files(home) == []


def test_enable_and_disable(home: Path, command: Any) -> None:
    """The saved choice decides, is one readable file, and is named as the rule."""
    assert status(command)["on"] is False
    assert command("enable").returncode == 0
    assert files(home)[-1] == ".config/automagik-telemetry/choice.toml"
    assert "enabled = true" in (home / files(home)[-1]).read_text(encoding="utf-8")
    assert status(command) == {
        "sink": "telemetry",
        "on": True,
        "level": "INFO",
        "endpoint": "http://127.0.0.1:9",
        "rule": status(command)["rule"],
    }
    assert command("disable").returncode == 0
    off = status(command, AUTOMAGIK_TELEMETRY_ENABLED="true")
    assert off["on"] is False
    assert "choice.toml" in off["rule"]


@pytest.mark.parametrize(
    ("saved", "variable", "holds", "named"),
    [
        ("error", None, "ERROR", "choice.toml says ERROR"),
        ("critical", "ERROR", "CRITICAL", "choice.toml says CRITICAL"),
        ("error", "critical", "CRITICAL", "AUTOMAGIK_TELEMETRY_LEVEL is CRITICAL"),
        ("debug", None, "INFO", "logging.yaml says INFO"),
        ("off", "DEBUG", "OFF", "choice.toml says OFF"),
    ],
)
def test_strictest_level_holds(command: Any, saved: str, variable: str | None, holds: str, named: str) -> None:
    """Of the saved level, the variable's and the file's the strictest holds, and is named."""
    command("enable")
    assert command("level", saved).returncode == 0
    sink = status(command, **({"AUTOMAGIK_TELEMETRY_LEVEL": variable} if variable else {}))
    assert (sink["level"], sink["on"]) == (holds, holds != "OFF")
    assert named in sink["rule"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("DO_NOT_TRACK", "1"), ("OTEL_SDK_DISABLED", "true"), ("AUTOMAGIK_DISABLE_ALL_TRACING", "on"), ("CI", "1")],
)
def test_status_names_the_switch(command: Any, variable: str, value: str) -> None:
    """An off switch is named by the status, for every sink, and enable says that it still holds."""
    done = command("enable", **{variable: value})
    assert variable in done.stdout
    done = command("status", **{variable: value, "LANGWATCH_API_KEY": "sk-lw-hidden"})
    assert done.stdout.count(f"{variable} is set") == 2
    assert "hidden" not in done.stdout


def test_choice_that_cannot_be_understood_is_off(home: Path, command: Any) -> None:
    """A damaged file is not guessed at: telemetry is off, and the way out is said and works."""
    command("enable")
    path = home / ".config/automagik-telemetry/choice.toml"
    for text in ("enabled = maybe", 'enabled = "true"', 'level = "LOUD"', "something = 1", "\x00"):
        path.write_text(text, encoding="utf-8")
        sink = status(command, AUTOMAGIK_TELEMETRY_ENABLED="true")
        assert sink["on"] is False
        assert "automagik-telemetry enable" in sink["rule"]
    command("enable")
    assert status(command)["on"] is True


def test_preview_shows_the_very_bytes(home: Path, python: Any, command: Any) -> None:
    """What waits on disk is shown byte for byte and decoded, and stays where it is."""
    python("-c", LOGS_ONE_EVENT, AUTOMAGIK_TELEMETRY_ENABLED="true")
    (segment,) = home.rglob("queue/*/*.json")
    before = segment.read_bytes()
    shown = command("preview", "--raw").stdout
    request = json.loads(shown)
    (scope,) = request["resourceSpans"][0]["scopeSpans"]
    assert len(scope["spans"]) == 2
    for line in before.splitlines()[:3]:
        assert line.removesuffix(b",").decode() in shown
    explained = command("preview").stdout
    assert "event.feature_name       agents" in explained
    assert "custom-" in explained
    assert "undeclared" not in explained
    assert segment.read_bytes() == before


def test_purge_and_disable_delete_what_is_queued(home: Path, python: Any, command: Any) -> None:
    """Purge deletes the batches; so does disable."""
    for arguments in ("purge", "disable"):
        python("-c", LOGS_ONE_EVENT, AUTOMAGIK_TELEMETRY_ENABLED="true")
        assert len(list(home.rglob("queue/*/*.json"))) == 1
        assert "Queued batches deleted: 1." in command(arguments).stdout
        assert list(home.rglob("queue/*/*.json")) == []


def test_reset_id_gives_a_new_id_and_new_hashes(home: Path, python: Any, command: Any) -> None:
    """After reset-id neither the id nor the hash of a name is the old one; both files are the user's alone."""

    def sent() -> tuple[str, str]:
        python("-c", LOGS_ONE_EVENT, AUTOMAGIK_TELEMETRY_ENABLED="true")
        (anonymous_id,) = home.rglob("anonymous_id")
        (salt,) = home.rglob("salt")
        assert {path.stat().st_mode & 0o777 for path in (anonymous_id, salt)} == {0o600}
        body = command("preview", "--raw").stdout
        command("purge")
        assert anonymous_id.read_text(encoding="utf-8") in body
        assert salt.read_text(encoding="utf-8") not in body
        return anonymous_id.read_text(encoding="utf-8"), body.partition("custom-")[2][:16]

    first, same = sent(), sent()
    assert first == same
    assert command("reset-id").returncode == 0
    second = sent()
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_flush_says_what_it_could_not_send(python: Any, command: Any, home: Path) -> None:
    """Flush ends with 1 and the reason when the endpoint is down, and the batch stays."""
    python("-c", LOGS_ONE_EVENT, AUTOMAGIK_TELEMETRY_ENABLED="true")
    done = command("flush", "--timeout", "1", AUTOMAGIK_TELEMETRY_ENABLED="true")
    assert done.returncode == 1
    assert "ConnectError" in done.stderr
    assert len(list(home.rglob("queue/*/*.json"))) == 1


def test_events_lists_the_whole_catalogue(command: Any) -> None:
    """Every event with its levels, fields and kinds, for people and for programs."""
    text, data = command("events").stdout, json.loads(command("events", "--json", "--words").stdout)
    assert [event["event"] for event in data["events"]] == [event.name for event in EVENTS]
    assert "ValueError" in data["vocabulary"]
    for event in EVENTS:
        assert event.name in text
        for field in event.kinds():
            assert field in text


def test_no_colour_when_not_on_a_terminal(command: Any) -> None:
    """Output that goes to a file or pipe holds no escape codes."""
    for arguments in (["status"], ["events"], ["preview"], ["--help"]):
        assert "\x1b" not in command(*arguments).stdout


def test_wrong_use_is_one_line(command: Any) -> None:
    """A wrong level or command ends with 2 and says what is allowed."""
    done = command("level", "loud")
    assert done.returncode == 2
    assert "critical" in done.stderr
    assert command("nonsense").returncode == 2


def test_broken_configuration_is_one_line(command: Any, home: Path) -> None:
    """Status says what is wrong with a logging.yaml, and ends with 2."""
    (home / "mine.yaml").write_text("version: 3", encoding="utf-8")
    done = command("status", AUTOMAGIK_LOGGING_CONFIG=str(home / "mine.yaml"))
    assert done.returncode == 2
    assert "version: 3 is not allowed" in done.stderr
    assert "Traceback" not in done.stderr


def test_choice_that_cannot_be_saved_is_one_line(command: Any, home: Path) -> None:
    """A configuration directory that can't be written to is said, with exit code 2."""
    (home / ".config").write_text("a file in the way", encoding="utf-8")
    done = command("enable")
    assert done.returncode == 2
    assert "can't be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_command_helps_itself(command: Any) -> None:
    """Each command has a sentence in the list and a page of its own."""
    listed = command("--help").stdout
    for name in main.list_commands(None):  # type: ignore[arg-type]
        assert name in listed
        done = CliRunner().invoke(main, [name, "--help"])
        assert done.exit_code == 0
        assert "Usage:" in done.output
