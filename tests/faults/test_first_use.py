"""A failed first use of the package is harmless, and is retried. Exceptions of processors are harmless, too."""

from __future__ import annotations

import pytest

from tests.faults.process import run
from tests.faults.server import Endpoint

PRELUDE = """
import asyncio, builtins, importlib, logging, os, resource, signal, sys, threading, time
import automagik_telemetry
from automagik_telemetry import get_tracing_manager
from automagik_telemetry.integrations.agent import track_agent
from automagik_telemetry.integrations.asgi import TelemetryMiddleware
from automagik_telemetry.integrations.click import track_cli_command

def emit(word):
    os.write(1, f"{word}\\n".encode())

@track_agent("simple", "agno")
def agent(asked):
    return asked

@track_cli_command("agent list")
def command():
    return [1, 2]

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})

def request(app):
    passed = []
    async def send(message):
        passed.append(message)
    try:
        app({"type": "http", "path": "/", "method": "GET", "headers": []}, None, send).send(None)
    except StopIteration:
        return len(passed)

wrapped = TelemetryMiddleware(app)

def use():
    asked = object()
    assert agent(asked) is asked
    assert command() == [1, 2]
    assert request(wrapped) == 2
    logging.getLogger("automagik.agents").info("agent.run", extra={"agent_name": "simple", "success": True})

def flush(seconds=5):
    try:
        return get_tracing_manager().flush(seconds)
    except automagik_telemetry.ConfigurationError:
        return "ConfigurationError"
"""

MISSING = {
    "descriptors": (
        """
        held, limit = [], resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, limit[1]))
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        """,
        "resource.setrlimit(resource.RLIMIT_NOFILE, limit); [os.close(each) for each in held]",
    ),
    "memory": (
        """
        from automagik_telemetry.handlers.handler import BatchQueueHandler
        whole = BatchQueueHandler._start
        def failing(self):
            raise MemoryError
        BatchQueueHandler._start = failing
        """,
        "BatchQueueHandler._start = whole",
    ),
    "threads": (
        """
        whole = threading.Thread.start
        def failing(self):
            raise RuntimeError("can't start new thread")
        threading.Thread.start = failing
        """,
        "threading.Thread.start = whole",
    ),
    "httpx": (
        "sys.modules['httpx'] = sys.modules['httpcore'] = None",
        "del sys.modules['httpx'], sys.modules['httpcore']",
    ),
    "module that raises": (
        """
        class Finder:
            def find_spec(self, name, *_):
                if name in ("httpx", "httpcore", "automagik_telemetry.export._pipeline", "yaml"):
                    raise RuntimeError("broken")
        sys.meta_path.insert(0, finder := Finder())
        """,
        "sys.meta_path.remove(finder)",
    ),
    "directory": (
        """
        import shutil
        os.makedirs(os.environ["AUTOMAGIK_STATE_DIR"], exist_ok=True)
        shutil.rmtree(os.environ["AUTOMAGIK_STATE_DIR"])
        open(os.environ["AUTOMAGIK_STATE_DIR"], "w").close()
        """,
        "os.unlink(os.environ['AUTOMAGIK_STATE_DIR'])",
    ),
}  # fmt: skip


@pytest.mark.fault(67)
@pytest.mark.parametrize("configured", [False, True], ids=["first use", "configured before"])
@pytest.mark.parametrize("what", MISSING)
def test_something_is_missing(what: str, configured: bool) -> None:
    """Request, command, run and log call are unharmed; the flush reports the outcome; later events are sent."""
    missing, there = MISSING[what]
    code = f"""
{"automagik_telemetry.configure()" if configured else ""}
{missing}
use()
emit(flush(1))
use()
{there}
time.sleep(1.1)  # after which it is tried again
use()
emit(flush(10))
    """
    with Endpoint() as endpoint:
        ended = run(endpoint.url, code.replace("\n        ", "\n"), PRELUDE)
    during, after = ended.lines
    assert ended.status == 0
    assert during in ("True", "False")
    assert after == "True", (during, after)
    assert endpoint.accepted


@pytest.mark.fault(78)
@pytest.mark.parametrize("raised", ["SystemExit(3)", "ValueError('secret')", "RecursionError()", "MemoryError()"])
def test_what_a_processor_raises(raised: str) -> None:
    """The event is a counted drop: a processor can't end the process, and nothing is printed."""
    code = f"""
        automagik_telemetry.configure()
        (handler,) = [each for each in logging.getLogger("automagik").handlers if hasattr(each, "force_flush")]
        chain = handler.formatter

        def broken(*_):
            raise {raised}

        handler.setFormatter(type(chain)([broken, *chain.processors]))
        use()
        (shown := logging.StreamHandler()).setFormatter(handler.formatter)
        emit(shown.format(logging.makeLogRecord({{"msg": "agent.run"}})))
        handler.setFormatter(chain)
        use()
        emit(flush(10))
        emit(get_tracing_manager().telemetry.get_metrics()["tracer"]["dropped_by_reason"])
    """
    with Endpoint() as endpoint:
        ended = run(endpoint.url, code, PRELUDE)
    assert ended.lines == ["(not sent: processor_error)", "True", "{'processor_error': 4}"]
    assert len(endpoint.accepted) == 4


@pytest.mark.fault(68, 78)
@pytest.mark.parametrize("handler", ["lambda *_: sys.exit(7)", "lambda number, frame: sys.exit(7)", "ending"])
def test_a_signal_ends_the_process_within_a_processor(handler: str) -> None:
    """A SystemExit of a signal handler ends the process, though it arrives while a processor runs."""
    code = f"""
        automagik_telemetry.configure()
        (sink,) = [each for each in logging.getLogger("automagik").handlers if hasattr(each, "force_flush")]

        def interrupted(*given):
            signal.raise_signal(signal.SIGUSR1)
            time.sleep(0)
            return given[2]

        def ending(number, frame):
            def inner():
                raise SystemExit(7)
            inner()

        signal.signal(signal.SIGUSR1, {handler})
        sink.setFormatter(type(sink.formatter)([interrupted, *sink.formatter.processors]))
        use()
        emit("goes on")
    """
    with Endpoint() as endpoint:
        ended = run(endpoint.url, code, PRELUDE)
    assert (ended.status, ended.lines) == (7, [])
