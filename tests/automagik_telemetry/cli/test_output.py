"""The output of the commands: on terminals of any width, without colours, and where it or the home can't be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from automagik_telemetry.cli import main
from automagik_telemetry.cli._output import printable
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.settings import Settings, without_credentials
from tests.terminal import on_terminal as run_on_terminal

pytestmark = pytest.mark.slow

OURS = [sys.executable, "-m", "automagik_telemetry"]
SECRETS = [
    ("https://user:hunter2@books.example/v1/traces", "hunter2"),
    ("https://user:hun/ter2@books.example/v1/traces", "ter2"),
    ("https://user:hunt@er2@books.example", "er2"),
    ("https://books.example/v1/traces?api_key=hunter2", "hunter2"),
    ("https://books.example/v1/traces#hunter2", "hunter2"),
    ("https://books.example/ingest/4f2b8a1c9d3e4f2b8a1c9d3e/v1/traces", "4f2b8a1c9d3e"),
]


def on_terminal(*arguments: str, columns: int = 80, variables: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a command on a real terminal; return its exit code and output."""
    inherited = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    return run_on_terminal([*OURS, *arguments], {**inherited, "TERM": "xterm", **(variables or {})}, columns=columns)


def test_a_narrow_terminal() -> None:
    """Lines wrap to 60 columns, words stay whole, and a bare command shows the status and exits with 0."""
    code, output = on_terminal(columns=60)
    assert code == 0
    assert output.startswith("automagik-agents: off (a test run")
    assert "https://telemetry.namastex.ai/v1/traces" in output
    assert len(output.splitlines()) == 2
    assert max(map(len, output.splitlines())) <= 60
    _, output = on_terminal("settings", columns=60)
    words = [line for line in output.splitlines() if len(line) > 60]
    assert [line for line in words if len(line.split()) > 1] == []


@pytest.mark.parametrize(("variables", "coloured"), [({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({}, True)])
def test_colours(variables: dict[str, str], coloured: bool) -> None:
    """There are colours on a terminal, unless it has none, or the user wants none."""
    code, output = on_terminal("events", variables=variables)
    assert (code, "\x1b" in output) == (0, coloured)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [[], ["status", "--json"], ["settings"], ["events"], ["preview"], ["--help"]])
def test_a_full_disk(arguments: list[str]) -> None:
    """An output that can't be written is one line, without a traceback."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*OURS, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr == "Error: The output can't be written: No space left on device.\n"


def test_a_home_that_can_not_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """`disable` names a variable, and `status` reports that commands send nothing."""
    Path(os.environ["XDG_CONFIG_HOME"]).write_text("a file in the way")
    for arguments in (["disable"], ["off", "bookshop"], ["level", "off"]):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 2
        assert "DO_NOT_TRACK=1" in done.output
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    monkeypatch.setenv("AUTOMAGIK_ENABLE_TRACING_IN_CI", "true")
    assert "Commands on a terminal send nothing: the notice can't be saved." in CliRunner().invoke(main, []).output


@pytest.mark.parametrize("command", ["status", "settings", "level error", "on", "off", "purge", "reset-id", "flush"])
def test_json(command: str) -> None:
    """Each of the user's commands prints JSON alone."""
    done = CliRunner().invoke(main, [*command.split(), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) is not None


def test_settings_have_values_and_their_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment and the saved choice are named; a value that is not valid is marked."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_LEVEL", "ERROR")
    monkeypatch.setenv("AUTOMAGIK_TRACE_BATCH_SIZE", "many")
    CliRunner().invoke(main, ["level", "critical"])
    found = json.loads(CliRunner().invoke(main, ["settings", "--json"]).stdout)
    rows = {row["variable"]: row for row in found["settings"]}
    assert rows["AUTOMAGIK_TELEMETRY_LEVEL"] == {
        "variable": "AUTOMAGIK_TELEMETRY_LEVEL",
        "value": "ERROR",
        "source": "environment",
        "valid": True,
    }
    assert (rows["AUTOMAGIK_TRACE_BATCH_SIZE"]["value"], rows["AUTOMAGIK_TRACE_BATCH_SIZE"]["valid"]) == ("many", False)
    assert rows["AUTOMAGIK_TELEMETRY_ENDPOINT"]["source"] == "default"
    assert found["saved"] == [
        {"application": None, "recipient": None, "enabled": None, "level": "CRITICAL", "by": None}
    ]


@pytest.mark.fault(100)
@pytest.mark.parametrize(("url", "secret"), SECRETS)
def test_credentials_in_urls_are_not_shown(
    url: str, secret: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No command and no warning shows them."""
    assert secret not in without_credentials(url)
    for variable in ("AUTOMAGIK_TELEMETRY_ENDPOINT", "LANGWATCH_ENDPOINT"):
        monkeypatch.setenv(variable, url)
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    monkeypatch.setenv("AUTOMAGIK_ENABLE_TRACING_IN_CI", "true")
    monkeypatch.setenv("LANGWATCH_API_KEY", "sk-lw-hunter3")
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_LEVEL", "sk-lw-0123456789abcdefghijkl")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "token=hunter4 hunter4")
    shown = ""
    for arguments in (
        "",
        "status -v",
        "status --json",
        "settings",
        "on",
        "level info",
        "preview",
        "doctor --timeout 1",
    ):
        shown += CliRunner().invoke(main, arguments.split()).output
    shown += caplog.text
    assert "AUTOMAGIK_TELEMETRY_LEVEL" in shown
    assert not [each for each in (secret, "hunter3", "hunter4", "0123456789abcdef") if each in shown]


@pytest.mark.fault(99)
def test_texts_of_others_do_nothing_to_a_terminal() -> None:
    """Control, bidirectional and invisible characters are replaced, others are not."""
    text = "a\x1b[31mb\x07c\r\nd\u202ee\u2066f\x9bg\u200bh\ufeffi\u2028j\U000e0041"
    assert [each for each in printable(text) if not each.isprintable()] == []
    assert printable("søk 本 \U0001f4da `on`") == "søk 本 \U0001f4da `on`"


@pytest.mark.fault(101)
@pytest.mark.parametrize("name", ["logging.yaml", "./logging.yaml", "conf/../logging.yaml"])
def test_a_relative_path_of_a_configuration(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file in the directory of the process is not read, because it may be anyone's; telemetry is off."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logging.yaml").write_text("version: 1\n")
    monkeypatch.setenv("AUTOMAGIK_LOGGING_CONFIG", name)
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    monkeypatch.setenv("AUTOMAGIK_ENABLE_TRACING_IN_CI", "true")
    (state,) = json.loads(CliRunner().invoke(main, ["status", "--json"]).stdout)["applications"]
    assert (state["on"], "a relative path is not allowed" in state["reason"]) == (False, True)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root")
def test_sudo_with_the_home_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The choice that root saves there belongs to the user, and counts; root's state is in its own home."""
    home = tmp_path / "user"
    home.mkdir()
    os.chown(home, 12_345, -1)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("AUTOMAGIK_STATE_DIR")
    for name in ("CONFIG", "STATE"):
        monkeypatch.delenv(f"XDG_{name}_HOME")
    assert CliRunner().invoke(main, ["off"]).exit_code == 0
    made = [preferences.path(), preferences.path().parent, home / ".config"]
    assert {path.stat().st_uid for path in made} == {12_345}
    assert preferences.load().everything.enabled is False
    assert not identity.state_directory(Settings.from_environ().state_dir).startswith(str(home))
    assert sorted(path.name for path in home.iterdir()) == [".config"]


def test_on_and_off_are_the_same_commands() -> None:
    """They do what `enable` and `disable` do, and have their options."""
    for alias, name in (("on", "enable"), ("off", "disable")):
        helps: list[Any] = [CliRunner().invoke(main, [each, "--help"]).output for each in (alias, name)]
        assert f"Do the same as `{name}`." in helps[0]
        assert helps[0].partition("Options:")[2] == helps[1].partition("Options:")[2]
