"""The commands of consent and inspection, each run as a process."""

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
    """An empty home directory."""
    home = tmp_path / "somebody"
    home.mkdir()
    return home


@pytest.fixture
def python(home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python with this home directory and these variables alone."""

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
    """Run `automagik-telemetry` with this home directory."""
    run: Callable[..., subprocess.CompletedProcess[str]] = lambda *arguments, **variables: python(  # noqa: E731 - typed by its annotation
        "-m", "automagik_telemetry", *arguments, **variables
    )
    return run


def status(command: Any, **variables: str) -> dict[str, Any]:
    """Return the telemetry sink in the output of `status --json`."""
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
        for arguments in (["status"], ["events", "--allowlist"], ["preview"], ["settings"], ["purge"], ["reset-id"]):
            done = command(*arguments, **variables)
            assert (done.returncode, done.stderr) == (0, ""), arguments
            assert done.stdout
            assert files(home) == []


def test_enable_and_disable(home: Path, command: Any) -> None:
    """The saved choice decides, is one readable file, and is named as the reason."""
    assert status(command)["on"] is False
    assert command("enable").returncode == 0
    assert files(home)[-1] == ".config/automagik-telemetry/choice.toml"
    assert "enabled = true" in (home / files(home)[-1]).read_text(encoding="utf-8")
    assert status(command) == {
        "sink": "telemetry",
        "on": True,
        "level": "INFO",
        "endpoint": "http://127.0.0.1:9",
        "reason": "you ran `automagik-telemetry enable`",
        "level_reason": None,
    }
    assert status(command, AUTOMAGIK_TELEMETRY_ENDPOINT="http://127.0.0.1:8")["on"] is False
    assert status(command, AUTOMAGIK_SERVICE_NAME="shop")["on"] is False
    assert command("disable").returncode == 0
    off = status(command, AUTOMAGIK_TELEMETRY_ENABLED="true")
    assert (off["on"], off["reason"]) == (False, "you ran `automagik-telemetry disable`")


@pytest.mark.parametrize(
    ("saved", "variable", "holds", "named"),
    [
        ("error", None, "ERROR", "choice.toml is ERROR"),
        ("critical", "ERROR", "CRITICAL", "choice.toml is CRITICAL"),
        ("error", "critical", "CRITICAL", "AUTOMAGIK_TELEMETRY_LEVEL is CRITICAL"),
        ("debug", None, "DEBUG", "choice.toml is DEBUG"),
        ("off", "DEBUG", "OFF", "choice.toml is OFF"),
    ],
)
def test_strictest_level_holds(command: Any, saved: str, variable: str | None, holds: str, named: str) -> None:
    """Of the saved level, the variable's and the file's the strictest holds, and is named."""
    command("enable")
    assert command("level", saved).returncode == 0
    sink = status(command, **({"AUTOMAGIK_TELEMETRY_LEVEL": variable} if variable else {}))
    assert (sink["level"], sink["on"]) == (holds, holds != "OFF")
    assert named in (sink["level_reason"] or sink["reason"])


@pytest.mark.parametrize(
    ("variable", "value"),
    [("DO_NOT_TRACK", "1"), ("OTEL_SDK_DISABLED", "true"), ("AUTOMAGIK_DISABLE_ALL_TRACING", "on"), ("CI", "1")],
)
def test_status_names_the_switch(command: Any, variable: str, value: str) -> None:
    """An opt-out is the reason in the status of each sink that it turns off, and `enable` reports it."""
    done = command("enable", **{variable: value})
    assert variable in done.stdout
    done = command("status", **{variable: value, "LANGWATCH_API_KEY": "sk-lw-hidden"})
    assert done.stdout.count(f"{variable} is set") == (1 if variable == "CI" else 2)
    assert "hidden" not in done.stdout


def test_choice_that_cannot_be_understood_is_off(home: Path, command: Any) -> None:
    """A malformed file turns telemetry off, and the remedy in the reason works."""
    command("enable")
    path = home / ".config/automagik-telemetry/choice.toml"
    for text in ("enabled = maybe", 'enabled = "true"', 'level = "LOUD"', "something = 1", "\x00"):
        path.write_text(text, encoding="utf-8")
        sink = status(command, AUTOMAGIK_TELEMETRY_ENABLED="true")
        assert sink["on"] is False
        assert "automagik-telemetry enable" in sink["reason"]
    command("enable")
    assert status(command)["on"] is True


def test_preview_shows_the_very_bytes(home: Path, python: Any, command: Any) -> None:
    """Queued events are shown byte for byte and decoded, and stay queued."""
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
        assert "Deleted 1 queued batch." in command(arguments).stdout
        assert list(home.rglob("queue/*/*.json")) == []


def test_reset_id_gives_a_new_id_and_new_hashes(home: Path, python: Any, command: Any) -> None:
    """After reset-id neither the id nor the hash of a name is the old one; the secret is the user's alone."""

    def sent() -> tuple[str, str]:
        python("-c", LOGS_ONE_EVENT, AUTOMAGIK_TELEMETRY_ENABLED="true")
        (secret,) = home.rglob("secret")
        assert secret.stat().st_mode & 0o777 == 0o600
        body = command("preview", "--raw").stdout
        command("purge")
        assert secret.read_text(encoding="utf-8") not in body
        attributes = json.loads(body)["resourceSpans"][0]["resource"]["attributes"]
        (user,) = [each["value"]["stringValue"] for each in attributes if each["key"] == "user.id"]
        return user, body.partition("custom-")[2][:16]

    first, same = sent(), sent()
    assert first == same
    assert command("reset-id").returncode == 0
    second = sent()
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_flush_reports_what_it_could_not_send(python: Any, command: Any, home: Path) -> None:
    """Flush ends with 1 and the reason when the endpoint is down, and the batch stays."""
    python("-c", LOGS_ONE_EVENT, AUTOMAGIK_TELEMETRY_ENABLED="true")
    done = command("flush", "--timeout", "1", AUTOMAGIK_TELEMETRY_ENABLED="true")
    assert done.returncode == 1
    assert "ConnectError" in done.stderr
    assert len(list(home.rglob("queue/*/*.json"))) == 1


def test_events_lists_the_whole_catalogue(command: Any) -> None:
    """Every event is listed with its levels, fields and kinds, as text and as JSON."""
    text, data = command("events").stdout, json.loads(command("events", "--json", "--allowlist").stdout)
    assert [event["event"] for event in data["events"]] == [event.name for event in EVENTS]
    assert "ValueError" in data["allowlist"]
    for event in EVENTS:
        assert event.name in text
        for field in event.kinds():
            assert field in text


def test_no_colour_when_not_on_a_terminal(command: Any) -> None:
    """Output that goes to a file or pipe holds no escape codes."""
    for arguments in (["status"], ["events"], ["preview"], ["--help"]):
        assert "\x1b" not in command(*arguments).stdout


def test_wrong_use_is_one_line(command: Any) -> None:
    """A wrong level or command exits with 2 and shows the allowed ones."""
    done = command("level", "loud")
    assert done.returncode == 2
    assert "critical" in done.stderr
    assert command("nonsense").returncode == 2


def test_broken_configuration_is_one_line(command: Any, home: Path) -> None:
    """`status` shows an error in a logging.yaml, as the reason why nothing is sent."""
    (home / "mine.yaml").write_text("version: 3", encoding="utf-8")
    done = command("status", AUTOMAGIK_LOGGING_CONFIG=str(home / "mine.yaml"))
    assert done.returncode == 0
    assert "version: 3 is not allowed" in done.stdout
    assert done.stderr == ""


def test_choice_that_cannot_be_saved_is_one_line(command: Any, home: Path) -> None:
    """A configuration directory that can't be written is reported, with exit code 2."""
    (home / ".config").write_text("a file in the way", encoding="utf-8")
    done = command("enable")
    assert done.returncode == 2
    assert "can't be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_command_helps_itself(command: Any) -> None:
    """Each command has a sentence in the list, and its own help."""
    listed = command("--help").stdout
    for name in main.list_commands(None):  # type: ignore[arg-type]
        assert name in listed
        done = CliRunner().invoke(main, [name, "--help"])
        assert done.exit_code == 0
        assert "Usage:" in done.output
