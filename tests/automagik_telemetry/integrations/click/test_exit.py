"""The end of a command is never delayed by the network, and no event is lost."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.process import environ
from tests.faults.server import Endpoint, black_hole, closed_port, reply

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

APPLICATION = """
import os, sys
import click
from automagik_telemetry.integrations.click import instrument_click

@click.group()
def cli():
    pass

@cli.command("list")
def list_agents():
    os.write(1, b"listed\\n")
    return ["a"]

if sys.argv.pop(1) == "tracked":
    instrument_click(cli)
cli()
"""
RUNS = 5
BOUND = 5.0
"""Allowed seconds beyond the twin: far more than tracking needs, and far less than a network needs to fail."""


def seconds(script: Path, kind: str, url: str) -> float:
    """Return the time from the application's last output to its end; it must succeed and print nothing else."""
    arguments = [sys.executable, str(script), kind, "list"]
    with subprocess.Popen(
        arguments, env=environ(url), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "listed\n"
        started = time.perf_counter()
        assert process.wait() == 0
        ended = time.perf_counter()
        assert (process.stdout.read(), process.stderr.read()) == ("", "")
    return ended - started


@pytest.mark.fault(26)
@pytest.mark.parametrize("network", ["accepting", "refusing", "black hole"])
def test_exit_waits_for_nobody(network: str, tmp_path: Path) -> None:
    """The command ends like its twin in any state of the network, and the next runs send its events."""
    script = tmp_path / "application.py"
    script.write_text(APPLICATION)
    port = closed_port()
    delay = 0.0
    if network == "refusing":
        url = f"http://127.0.0.1:{port}"
        delay = measure(script, url)
        endpoint = Endpoint(port=port)
    else:
        endpoint = Endpoint(black_hole if network == "black hole" else reply())
        url = endpoint.url
    with endpoint:
        if network != "refusing":
            delay = measure(script, url)
        endpoint.answers = [reply()]
        flush = [sys.executable, "-m", "automagik_telemetry", "flush"]
        done = subprocess.run(flush, env=environ(url), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert len(endpoint.accepted) == len(set(endpoint.accepted)) == RUNS
    assert delay < BOUND
    sys.stdout.write(f"{network}: {delay * 1000:.0f} ms more than the twin\n")


def measure(script: Path, url: str) -> float:
    """Return the median of the tracked application's extra seconds, compared with its twin."""
    pairs = [(seconds(script, "tracked", url), seconds(script, "twin", url)) for _ in range(RUNS)]
    return statistics.median(tracked - twin for tracked, twin in pairs)
