"""The exit code of a command is that of its process, for each way in which a command line ends."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.process import environ

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

FUNCTION = """
import argparse, sys
from automagik_telemetry.integrations.click import track_cli_command

@track_cli_command("{name}")
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--version", action="version", version="1.2.3")
    parser.parse_args({arguments})
    {end}

sys.exit(main())
"""
CLICK = """
import sys
import click
from automagik_telemetry import instrument

@click.command("{name}")
def command():
    {end}

sys.exit(instrument(command).main([], "{name}", None, {arguments}))
"""
DECORATED = """
import sys
import click
from automagik_telemetry.integrations.click import track_cli_command

@click.command()
@track_cli_command("{name}")
def command():
    {end}

sys.exit(command())
"""
TYPER = """
import sys
import typer
from automagik_telemetry import instrument

app = typer.Typer(add_completion=False)

@app.callback(invoke_without_command=True)
def outer():
    pass

@app.command("{name}")
def command():
    {end}

sys.exit(instrument(app)(["{name}"], standalone_mode={arguments}))
"""
INTERRUPT = "import os, signal; signal.signal(2, signal.default_int_handler); os.kill(os.getpid(), 2); input()"
COMMANDS: dict[str, tuple[str, str, str, int]] = {
    # name: script, its arguments or standalone mode, the end of the command, and the code of the process
    "function-returns-nothing": (FUNCTION, "[]", "return", 0),
    "function-returns-a-code": (FUNCTION, "[]", "return 3", 3),
    "function-returns-a-large-code": (FUNCTION, "[]", "return 256 + 4", 4),
    "function-exits": (FUNCTION, "[]", "raise SystemExit(5)", 5),
    "function-is-interrupted": (FUNCTION, "[]", INTERRUPT, 130),
    "function-has-wrong-arguments": (FUNCTION, "['--wrong']", "return", 2),
    "function-prints-its-help": (FUNCTION, "['--help']", "return", 0),
    "function-prints-its-version": (FUNCTION, "['--version']", "return", 0),
    "click-returns-a-number": (CLICK, "True", "return 3", 0),
    "click-returns-a-code": (CLICK, "False", "return 3", 3),
    "click-is-interrupted": (CLICK, "True", INTERRUPT, 1),
    "click-is-interrupted-inside": (CLICK, "False", INTERRUPT, 1),
    "click-exits": (CLICK, "False", "raise click.exceptions.Exit(6)", 6),
    "decorated-returns-a-number": (DECORATED, "", "return 3", 0),
    "decorated-is-interrupted": (DECORATED, "", INTERRUPT, 1),
    "typer-returns-a-number": (TYPER, "True", "return 3", 0),
    "typer-returns-a-code": (TYPER, "False", "return 3", 3),
    "typer-is-interrupted": (TYPER, "True", INTERRUPT, 130),
}
UNCOUNTED = {"function-prints-its-help", "function-prints-its-version"}


def test_the_exit_code_of_each_ending_is_that_of_its_process(opted_in: Any, fields: Any, tmp_path: Path) -> None:
    """Results are exit codes where the caller makes them such; help and version are no runs."""
    script, ended = tmp_path / "application.py", {}
    for name, (code, arguments, end, _) in COMMANDS.items():
        script.write_text(textwrap.dedent(code.format(name=name, arguments=arguments, end=end)))
        done = subprocess.run([sys.executable, script], env=environ(opted_in.url), capture_output=True, check=False)
        ended[name] = 130 if done.returncode == -2 else done.returncode  # as a shell reports the signal
    assert ended == {name: code for name, (*_, code) in COMMANDS.items()}
    flush = [sys.executable, "-m", "automagik_telemetry", "flush"]
    subprocess.run(flush, env=environ(opted_in.url), capture_output=True, check=True)
    events = [fields(span) for span in opted_in.spans() if span["name"] == "cli.command"]
    sent = {event["event.command"]: event["event.exit_code"] for event in events}
    assert sent == {name: code for name, code in ended.items() if name not in UNCOUNTED}
