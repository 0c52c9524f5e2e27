"""Withdrawn consent purges queued events in every running process, before its next request at the latest."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.automagik_telemetry.conftest import fields

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
    """Return the variables of an opted-in user, with a long interval between requests."""
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


LEAVE = """
import os
from automagik_telemetry import get_tracing_manager
get_tracing_manager().telemetry.track_feature_usage("agents")
os._exit(0)
"""
CHANGING = """
import os, resource, subprocess, sys, time
from pathlib import Path
from automagik_telemetry import get_tracing_manager
from automagik_telemetry.consent._preferences import path
telemetry = get_tracing_manager().telemetry
telemetry.track_feature_usage("agents")
choice = path()
choice.parent.mkdir(parents=True, exist_ok=True)
before = dict(os.environ)
subprocess.run([sys.executable, "-c", {leave!r}], check=True)
queued = lambda: len(list(Path(before["AUTOMAGIK_STATE_DIR"]).rglob("queue/*/*.json")))
assert queued() == 2
{change}
telemetry.track_feature_usage("agents")
flushed = telemetry.flush(1.5)
telemetry.track_feature_usage("agents")
{undo}
print(flushed, queued(), telemetry.flush(20), flush=True)
"""
RESTORE = "os.environ.clear(); os.environ.update(before)"
UNKNOWN = [
    ('del os.environ["AUTOMAGIK_TELEMETRY_ENABLED"]', RESTORE),
    ('os.environ["AUTOMAGIK_TELEMETRY_ENABLED"] = "perhaps"', RESTORE),
    ('os.environ["OTEL_SDK_DISABLED"] = "2"', RESTORE),
    ('os.environ["AUTOMAGIK_TELEMETRY_LEVEL"] = "LOUD"', RESTORE),
    ('os.environ["AUTOMAGIK_TELEMETRY_ENDPOINT"] = "nowhere"', RESTORE),
    ('os.environ["CI"] = "1"', RESTORE),
    ('os.environ["ENVIRONMENT"] = "test"; del os.environ["AUTOMAGIK_TELEMETRY_ENABLED"]', RESTORE),
    ('choice.write_text("enabled = per")', "choice.unlink()"),
    ("os.mkfifo(choice)", "choice.unlink()"),
    ('choice.symlink_to("nowhere")', "choice.unlink()"),
    (
        "old = resource.getrlimit(resource.RLIMIT_NOFILE); resource.setrlimit(resource.RLIMIT_NOFILE, (0, old[1]))",
        "resource.setrlimit(resource.RLIMIT_NOFILE, old)",
    ),
]
HERE = [
    'os.environ["AUTOMAGIK_TELEMETRY_ENABLED"] = "false"',
    'os.environ["DO_NOT_TRACK"] = "1"',
    'os.environ["OTEL_SDK_DISABLED"] = "true"',
    'os.environ["AUTOMAGIK_DISABLE_ALL_TRACING"] = "1"',
    'os.environ["AUTOMAGIK_TRACING_ENABLED"] = "0"',
    'os.environ["AUTOMAGIK_TELEMETRY_LEVEL"] = "OFF"',
]
EVERYWHERE = [
    'choice.write_text("enabled = false")',
    """choice.write_text("level = 'OFF'")""",
    'Path("~/.automagik-no-tracing").expanduser().touch()',
    'Path("~/.automagik-no-telemetry").expanduser().touch()',
]


def changed(tmp_path: Path, url: str, change: str, undo: str = "") -> str:
    """Change consent in a process after another one has left an event, and return the output."""
    home = tmp_path / "somebody"
    home.mkdir()
    variables = {**environment(home, url), "AUTOMAGIK_STATE_DIR": str(tmp_path / "states")}
    ended = subprocess.run(
        [sys.executable, "-c", CHANGING.format(leave=LEAVE, change=change, undo=undo)],
        cwd=home,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.mark.fault(92)
@pytest.mark.parametrize(("change", "undo"), UNKNOWN)
def test_consent_that_is_unknown_for_a_while(tmp_path: Path, receiver: Any, change: str, undo: str) -> None:
    """Nothing is sent or deleted meanwhile, events are recorded, and all are sent when consent is known again."""
    flushed, files, flushed_again = changed(tmp_path, receiver.url, change, undo).split()
    assert (flushed, int(files) >= 2, flushed_again) == ("False", True, "True")
    assert len(receiver.spans()) == 4


@pytest.mark.fault(92, 93)
@pytest.mark.parametrize("change", HERE)
def test_a_variable_that_withdraws_consent(tmp_path: Path, receiver: Any, change: str) -> None:
    """This process's own events are deleted; those of others wait, because they may still have consent."""
    assert changed(tmp_path, receiver.url, change) == "True 1 True"
    assert receiver.requests == []


@pytest.mark.fault(92)
@pytest.mark.parametrize("change", EVERYWHERE)
def test_a_choice_that_withdraws_consent(tmp_path: Path, receiver: Any, change: str) -> None:
    """The queued events of all processes are deleted."""
    assert changed(tmp_path, receiver.url, change) == "True 0 True"
    assert receiver.requests == []


@pytest.mark.fault(93)
@pytest.mark.parametrize("end", ["", "os._exit(0)", "os.kill(os.getpid(), 9)"])
@pytest.mark.parametrize("change", HERE)
def test_a_process_that_ends_right_after_an_opt_out(tmp_path: Path, receiver: Any, change: str, end: str) -> None:
    """No process ever sends an event that was logged after it."""
    home = tmp_path / "somebody"
    home.mkdir()
    variables = environment(home, receiver.url)
    code = f"""
import logging, os
import automagik_telemetry
manager = automagik_telemetry.configure()
manager.telemetry.track_feature_usage("agents")
{change}
manager.telemetry.track_feature_usage("cli")
logging.getLogger("automagik").error("feature.used", extra={{"feature_name": "api"}})
{end}
"""
    subprocess.run([sys.executable, "-c", code], cwd=home, env=variables, check=False, capture_output=True, timeout=60)
    withdraw(home, variables, "flush")
    sent = [fields(span)["event.feature_name"] for span in receiver.spans()]
    assert sent == ([] if not end else ["agents"])  # at an ordinary end the earlier event is deleted, too
