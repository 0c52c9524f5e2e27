"""Withdrawing consent purges what is queued, in every running process, at its next shipment at the latest."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# Logs an event, waits until it is told that consent was withdrawn, then logs and flushes once more.
RUNNING = """
import json, sys
from automagik_telemetry import get_tracing_manager
telemetry = get_tracing_manager().telemetry
telemetry.track_feature_usage("agents")
print("ready", flush=True)
sys.stdin.readline()
telemetry.track_feature_usage("agents")
telemetry.flush(10)
telemetry.track_feature_usage("agents")
telemetry.flush(10)
print(json.dumps(telemetry.get_metrics()["tracer"]), flush=True)
"""


def environment(home: Path, endpoint: str) -> dict[str, str]:
    """Return the variables of a user who is opted in, with a long time between shipments."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "AUTOMAGIK_TELEMETRY_ENDPOINT": endpoint,
        "AUTOMAGIK_TELEMETRY_ENABLED": "true",
        "AUTOMAGIK_TRACE_SCHEDULE_DELAY": "60",
    }


def start(home: Path, variables: dict[str, str]) -> subprocess.Popen[str]:
    """Start the running program as the user."""
    arguments = [sys.executable, "-c", RUNNING]
    return subprocess.Popen(
        arguments, cwd=home, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def withdraw(home: Path, variables: dict[str, str], *command: str) -> None:
    """Run one of our commands as the user."""
    arguments = [sys.executable, "-m", "automagik_telemetry", *command]
    subprocess.run(arguments, cwd=home, env=variables, check=True, capture_output=True, timeout=60)


@pytest.mark.fault(35)
def test_disable_reaches_running_processes(tmp_path: Path, receiver: Any) -> None:
    """Three processes with queued events: after `disable` none sends anything, and nothing stays on disk."""
    home = tmp_path / "somebody"
    home.mkdir()
    variables = environment(home, receiver.url)
    processes = [start(home, variables) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    assert len(list(home.rglob("queue/*/*.json"))) == 3
    withdraw(home, variables, "disable")
    for process in processes:
        out, _ = process.communicate("go\n", timeout=30)
        assert '"processed": 0' in out
        assert '"consent_withdrawn": 2' in out
        assert process.returncode == 0
    assert receiver.requests == []
    assert list(home.rglob("queue/*/*.json")) == []


@pytest.mark.fault(35)
def test_stricter_level_reaches_running_processes(tmp_path: Path, receiver: Any) -> None:
    """After `level error` usage that was already queued is purged, and no more is taken."""
    home = tmp_path / "somebody"
    home.mkdir()
    variables = environment(home, receiver.url)
    with start(home, variables) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        withdraw(home, variables, "level", "error")
        out, _ = process.communicate("go\n", timeout=30)
    assert '"consent_withdrawn": 2' in out
    assert receiver.requests == []
