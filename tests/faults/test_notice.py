"""The notice before the first send: once, on a terminal, and that run sends nothing."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from automagik_telemetry.cli import main
from automagik_telemetry.consent import _application as application
from automagik_telemetry.consent import _notice as notice
from automagik_telemetry.events._registry import CATALOGUE
from automagik_telemetry.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import click
from automagik_telemetry import get_tracing_manager
from automagik_telemetry.integrations.click import track_cli_command

@click.command()
@track_cli_command("agent list")
def main():
    click.echo("done")

main(standalone_mode=False)
print(get_tracing_manager().telemetry is not None)
"""
ENABLED = {"AUTOMAGIK_TELEMETRY_ENABLED": "true", "AUTOMAGIK_TELEMETRY_ENDPOINT": "http://127.0.0.1:9"}


def run(home: Path, variables: dict[str, str], *, terminal: bool = True, program: str = PROGRAM) -> tuple[str, str]:
    """Run a command, with a real terminal as its stderr or without; return its stdout and stderr."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    mine, its = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=its if terminal else subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
        os.close(its)
        printed = done.stderr or ""
        while terminal and select.select([mine], [], [], 0)[0]:
            try:
                printed += os.read(mine, 65536).decode()
            except OSError:  # what a terminal says at its end
                break
    finally:
        os.close(mine)
    assert done.returncode == 0, printed
    return done.stdout, printed


def queued(home: Path) -> int:
    """Return how many events wait on disk."""
    return sum(segment.read_bytes().count(b'"traceId"') for segment in home.rglob("queue/*/*.json"))


def test_shown_once_and_that_run_sends_nothing(tmp_path: Path) -> None:
    """The first run on a terminal prints the notice with endpoint and opt-out, and records nothing; the next does."""
    home = tmp_path / "somebody"
    home.mkdir()
    stdout, stderr = run(home, ENABLED)
    assert stdout == "done\nFalse\n"
    for part in ("usage data with a random ID", "http://127.0.0.1:9", "automagik-telemetry off automagik-agents"):
        assert part in stderr
    assert queued(home) == 0
    assert not list(home.rglob("secret"))
    assert run(home, ENABLED) == ("done\nTrue\n", "")
    assert queued(home) == 1


def test_changed_catalogue_shows_it_again(tmp_path: Path) -> None:
    """A new event or field is news: the notice comes again."""
    home = tmp_path / "somebody"
    home.mkdir()
    run(home, ENABLED)
    news = "from automagik_telemetry.events._registry import CATALOGUE\nCATALOGUE['new.event'] = {}\n"
    changed = PROGRAM.replace("@click.command()", f"{news}@click.command()", 1)
    assert "usage data with a random ID" in run(home, ENABLED, program=changed)[1]
    assert queued(home) == 0


@pytest.mark.fault(60)
@pytest.mark.parametrize("terminal", [False, True])
def test_ci_is_silent(tmp_path: Path, terminal: bool) -> None:
    """In CI nothing is printed, and nothing sent; with explicit consent in the environment it is sent, still silent."""
    home = tmp_path / "somebody"
    home.mkdir()
    assert run(home, {**ENABLED, "CI": "true"}, terminal=terminal) == ("done\nFalse\n", "")
    assert queued(home) == 0
    both = {**ENABLED, "CI": "true", "AUTOMAGIK_ENABLE_TRACING_IN_CI": "true"}
    assert run(home, both, terminal=terminal) == ("done\nTrue\n", "")
    assert queued(home) == 1


def test_without_a_terminal_the_environment_must_opt_in(tmp_path: Path) -> None:
    """Without a terminal a saved choice without a shown notice is not enough; the variable is."""
    home = tmp_path / "somebody"
    saved = home / ".config/automagik-telemetry/choice.toml"
    saved.parent.mkdir(parents=True)
    saved.write_text("enabled = true\n", encoding="utf-8")
    endpoint = {"AUTOMAGIK_TELEMETRY_ENDPOINT": "http://127.0.0.1:9"}
    assert run(home, endpoint, terminal=False) == ("done\nFalse\n", "")
    assert queued(home) == 0
    assert run(home, ENABLED, terminal=False) == ("done\nTrue\n", "")
    assert queued(home) == 1


def test_notice_that_cannot_be_remembered_is_not_printed(tmp_path: Path) -> None:
    """If nothing can be saved, the notice is never printed, because it would be every time, and nothing is sent."""
    home = tmp_path / "somebody"
    home.mkdir()
    (home / ".config").write_text("a file in the way", encoding="utf-8")
    for _ in range(2):
        assert run(home, ENABLED) == ("done\nFalse\n", "")
    assert queued(home) == 0


def test_off_prints_no_notice(tmp_path: Path) -> None:
    """Without an opt-in no notice is printed."""
    home = tmp_path / "somebody"
    home.mkdir()
    assert run(home, {}) == ("done\nFalse\n", "")
    assert list(home.iterdir()) == []


def test_enable_counts_as_notice_shown() -> None:
    """`automagik-telemetry enable` counts as the notice, so that the next command may send."""
    assert CliRunner().invoke(main, ["enable"]).exit_code == 0
    assert notice.reason_to_suppress(application.current(), Settings.from_environ(), CATALOGUE, {}) is None
