"""An interpreter that can't send switches telemetry and traces off, for one reason; all else works and ends cleanly."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from automagik_telemetry.consent import _environment as environment
from automagik_telemetry.consent import decision
from automagik_telemetry.settings import OFF, Settings
from tests.faults.process import environ
from tests.faults.server import Endpoint

WORK = """
import io, logging, sys
heard = io.StringIO()
own = logging.getLogger("automagik_telemetry")
own.addHandler(logging.StreamHandler(heard))
own.setLevel(logging.DEBUG)
import automagik_telemetry
from automagik_telemetry.telemetry.cli_events import FeatureUsageEvent
from automagik_telemetry.tracing.spans import open_span
for path in (None, {path!r}, None):
    tracing = automagik_telemetry.configure(path)
    logging.getLogger("automagik.agents").info("agent.run", extra={{"agent_name": "simple"}})
    open_span("chat", "llm").end()
    assert tracing.telemetry is None and tracing.observability is None
    assert tracing.flush(5)
assert "orjson" not in sys.modules
tracing.shutdown()
(line,) = heard.getvalue().splitlines()
assert line == f"nothing is recorded: {{tracing.consent.reason}}", line
print(tracing.consent.reason, flush=True)
"""
SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
kind = sys.argv[1]
made = interpreters.create(kind) if sys.version_info >= (3, 13) else interpreters.create(isolated=kind == "isolated")
failed = interpreters.run_string(made, sys.argv[2])
interpreters.destroy(made)
if failed is not None:
    sys.exit(str(failed))
"""
OWN_FILE = Path(__file__).parents[2] / "logging.yaml"


def ended(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with all opted into, and return how it ended; nothing may be sent, printed on stderr or written."""
    with Endpoint() as endpoint:
        variables = environ(endpoint.url, LANGWATCH_API_KEY="sk-lw-test", LANGWATCH_ENDPOINT=endpoint.url)
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
        assert endpoint.requests == []
    assert not Path(os.environ["AUTOMAGIK_STATE_DIR"]).exists()
    assert done.stderr == ""
    return done


@pytest.mark.fault(73)
@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_subinterpreter(kind: str) -> None:
    """One with the GIL of all, or (isolated, from Python 3.12 on) its own: off, in one line of debug."""
    # Python 3.12.1 aborts where an interpreter with its own GIL imports OpenSSL, which structlog does.
    alone = [sys.executable, "-c", SUBINTERPRETER, kind, "import hashlib"]
    if subprocess.run(alone, capture_output=True, text=True, timeout=60, check=False).stderr:
        pytest.skip("this Python aborts without us")
    done = ended("-c", SUBINTERPRETER, kind, WORK.format(path=str(OWN_FILE)))
    assert (done.returncode, done.stdout) == (0, "a subinterpreter is not supported; only the main one sends\n")


FREE = "import sys; sys._is_gil_enabled = lambda: False\n"


@pytest.mark.fault(73)
def test_free_threaded() -> None:
    """Python without the GIL, which this one only claims to be: the same."""
    done = ended("-c", FREE + WORK.format(path=str(OWN_FILE)))
    reason = "free-threaded Python is not supported; PYTHON_GIL=1 turns its lock on"
    assert (done.returncode, done.stdout) == (0, f"{reason}\n")
    for arguments, count in ((["status", "--json"], 3), (["doctor", "--json"], 2)):  # the application, and each sink
        shown = ended("-c", f"{FREE}from automagik_telemetry.cli import main; main({arguments})")
        assert shown.returncode == 0
        assert json.dumps(json.loads(shown.stdout)).count(reason) == count


def test_the_reason_goes_when_the_lock_is_on(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It is asked for anew, and reported once."""
    environment._log_once.cache_clear()
    settings = Settings(telemetry_enabled=True, enable_in_ci=True)
    assert decision.decide_telemetry(settings).level < OFF
    with caplog.at_level(logging.DEBUG, "automagik_telemetry"):
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
        for _ in range(2):
            assert decision.decide_telemetry(settings).level == OFF
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True, raising=False)
    assert decision.decide_telemetry(settings).level < OFF
    assert len(caplog.messages) == 1
