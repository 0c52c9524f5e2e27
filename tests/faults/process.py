"""Real processes that log events with the package as an application does."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import settings

from automagik_processors._hashing import KeyedHash
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.consent import _records as records
from automagik_telemetry.settings import Settings
from tests.faults.sending import ids
from tests.faults.server import PATIENCE

if TYPE_CHECKING:
    from automagik_telemetry.consent._application import Scope
    from tests.faults.server import Endpoint

PRELUDE = """
import logging, os, signal, sys, threading, time
import automagik_telemetry

tracing = automagik_telemetry.configure()
events = logging.getLogger("automagik.agents")

def log(number):
    ids = {"trace_id": f"{number + 1:032x}", "span_id": f"{number + 1:016x}"}
    events.info("agent.run", extra={"agent_name": "simple", "success": True, **ids})

def emit(word):
    os.write(1, f"{word}\\n".encode())
"""


def many(usual: int, long: int) -> int:
    """Return how often a test repeats what may go wrong at any moment: more often in `make test-long`."""
    return long if settings.default is not None and settings.default.max_examples > 1000 else usual


def sent(*numbers: int, scope: Scope | None = None) -> list[str]:
    """Return the span ids that events have on the wire: hashes with the key that the processes share.

    By default they are those of the one application that was configured.
    """
    if scope is None:
        (scope,) = [record.scope for record in records.read(Settings.from_environ())]
    hashed = KeyedHash(identity.Identity(scope, os.environ["AUTOMAGIK_STATE_DIR"]).hash_key)
    return [hashed.span_id(each) for each in ids(*numbers)]


class Ended(NamedTuple):
    """The end of a process: its status, its lines, and the seconds from its last line to its end."""

    status: int
    lines: list[str]
    seconds: float


def environ(url: str, **variables: str) -> dict[str, str]:
    """Return this process's environment, with telemetry to `url`."""
    return os.environ | {
        "AUTOMAGIK_TELEMETRY_ENABLED": "true",
        "AUTOMAGIK_ENABLE_TRACING_IN_CI": "true",
        "AUTOMAGIK_TELEMETRY_ENDPOINT": url,
        "PYTHONWARNINGS": "error",
        **variables,
    }


def start(url: str, code: str, prelude: str = PRELUDE, **variables: str) -> subprocess.Popen[str]:
    """Start a process that runs `code` after the prelude."""
    return subprocess.Popen(
        [sys.executable, "-c", prelude + textwrap.dedent(code)],
        env=environ(url, **variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(url: str, code: str, prelude: str = PRELUDE, **variables: str) -> Ended:
    """Run `code` after the prelude to its end, and check that it printed nothing on stderr."""
    with start(url, code, prelude, **variables) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines, last = [], time.monotonic()
        try:
            for line in process.stdout:
                lines.append(line.strip())
                last = time.monotonic()
            status = process.wait(PATIENCE)
            seconds = time.monotonic() - last
            errors = process.stderr.read()
        finally:
            process.kill()
    assert errors == "", errors
    return Ended(status, lines, seconds)


def deliver(endpoint: Endpoint, **variables: str) -> None:
    """Send all events of earlier processes, in a new process."""
    ended = run(endpoint.url, "emit(tracing.flush(20))", **variables)
    assert ended.lines == ["True"]
