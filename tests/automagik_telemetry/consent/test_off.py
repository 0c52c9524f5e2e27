"""Off means off: with any switch, importing, integrating and logging touch nothing outside the process's memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

# Watches every socket, thread, and opening for writing, from before the first import of ours until the end.
WATCHED = """
import asyncio, json, logging, os, sys, threading
import structlog, click
seen = []
start = threading.Thread.start  # Python 3.11 audits no thread
threading.Thread.start = lambda thread: (seen.append(("thread", thread.name)), start(thread))[1]
def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event.startswith(("socket.", "_thread.", "os.mkdir", "os.rename", "subprocess.", "mmap.")):
        seen.append((event, str(arguments[:2])))
sys.dont_write_bytecode = True
sys.addaudithook(watch)
import automagik_telemetry
from automagik_telemetry import configure, get_tracing_manager
from automagik_telemetry.integrations.asgi import TelemetryMiddleware
from automagik_telemetry.integrations.click import track_cli_command
from automagik_telemetry.telemetry.cli_events import AgentExecutionEvent

if len(sys.argv) > 1:
    configure()
logging.getLogger().addHandler(logging.NullHandler())
tracing = get_tracing_manager()
track_cli_command("agent list")(lambda: None)()
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body"})
async def send(message): pass
# By hand, for an event loop opens sockets of its own.
serving = TelemetryMiddleware(app)({"type": "http", "method": "GET", "path": "/"}, None, send)
try:
    serving.send(None)
except StopIteration:
    pass
for level in (logging.DEBUG, logging.INFO, logging.ERROR, logging.CRITICAL):
    logging.getLogger("automagik.agents").log(level, "agent.run", extra={"agent_name": "simple"})
if structlog.is_configured():
    structlog.get_logger().info("agent.run", agent_name="simple")
if tracing.telemetry is not None:
    tracing.telemetry.track_event(AgentExecutionEvent("simple", "agno", True, 1.0))
tracing.flush(8)  # long enough for a slow machine to come as far as the network
tracing.shutdown()
is_on, reason = tracing.telemetry is not None, tracing.consent.reason
sys.stdout.write(json.dumps({"telemetry": is_on, "reason": reason, "seen": seen}))
"""
OPTED_IN = {"AUTOMAGIK_TELEMETRY_ENABLED": "true", "AUTOMAGIK_TELEMETRY_ENDPOINT": "http://127.0.0.1:9"}
OFF: dict[str, dict[str, str]] = {
    "default": {},
    "not enabled": {"AUTOMAGIK_TELEMETRY_ENABLED": "false"},
    "all": {**OPTED_IN, "AUTOMAGIK_DISABLE_ALL_TRACING": "true"},
    "do not track": {**OPTED_IN, "DO_NOT_TRACK": "1"},
    "otel": {**OPTED_IN, "OTEL_SDK_DISABLED": "true"},
    "level": {**OPTED_IN, "AUTOMAGIK_TELEMETRY_LEVEL": "off"},
    "ci": {**OPTED_IN, "GITHUB_ACTIONS": "true"},
    "tests": {**OPTED_IN, "PYTEST_CURRENT_TEST": "x"},
    "endpoint": {**OPTED_IN, "AUTOMAGIK_TELEMETRY_ENDPOINT": "nowhere"},
    "file": OPTED_IN,
}


def watch(home: Path, variables: dict[str, str], *arguments: str) -> dict[str, Any]:
    """Run the watched program with these variables alone; return the calls that it recorded."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments],
        cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # What an application logs as an error stands on the console that logging.yaml gives it; of ours there is nothing.
    its_own = "automagik.agents: agent.run" if arguments else "nothing"
    assert [line for line in done.stderr.splitlines() if not line.endswith(its_own)] == []
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.fault(25, 57, 59)
@pytest.mark.parametrize("configured", [False, True])
@pytest.mark.parametrize("switch", OFF)
def test_off_touches_nothing(tmp_path: Path, switch: str, configured: bool) -> None:
    """No socket, thread, file or directory is opened for any opt-out, also with configure()."""
    home = tmp_path / "somebody"
    home.mkdir()
    if switch == "file":
        (home / ".automagik-no-tracing").touch()
    before = sorted(home.rglob("*"))
    result = watch(home, OFF[switch], *(["configure"] if configured else []))
    assert result["telemetry"] is False
    assert result["seen"] == []
    assert sorted(home.rglob("*")) == before


def test_the_audit_hook_records(tmp_path: Path) -> None:
    """The same program, opted in, is seen to make files, a thread and a socket: the other tests can fail."""
    home = tmp_path / "somebody"
    home.mkdir()
    result = watch(home, OPTED_IN)
    assert result["telemetry"] is True
    seen = {event for event, _ in result["seen"]}
    assert seen >= {"os.mkdir", "open", "thread", "socket.connect"}
    assert list(home.rglob("secret"))
