"""An event whose logging call has returned outlives its process, however that ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.process import deliver, run, sent, start
from tests.faults.server import Endpoint, black_hole, closed_port, reply

KILLS = 10
Record = Callable[[str, object], None]


@pytest.mark.fault(28)
def test_sigkill_in_a_loop_of_logging_calls() -> None:
    """Killed at ten moments while the endpoint is down: what had returned is delivered by the next process, once."""
    returned: set[str] = set()
    with Endpoint(reply(503)) as endpoint:
        for kill in range(KILLS):
            first = kill * 1_000_000
            code = f"""
                for number in range({first}, {first + 1_000_000}):
                    log(number)
                    emit(number)
            """
            with start(endpoint.url, code, AUTOMAGIK_TRACE_BATCH_SIZE="500") as process:
                assert process.stdout is not None
                output = [process.stdout.readline() for _ in range(1 + kill * 150)]
                process.send_signal(signal.SIGKILL)
                output += [line for line in process.stdout if line.endswith("\n")]
            assert process.returncode == -signal.SIGKILL
            returned |= set(sent(*map(int, output)))
        endpoint.answers = [reply()]
        deliver(endpoint)
    assert len(returned) >= sum(1 + kill * 150 for kill in range(KILLS))
    assert returned <= set(endpoint.accepted)
    assert len(endpoint.accepted) == len(set(endpoint.accepted)) <= len(returned) + KILLS


@pytest.mark.fault(27, 28)
@pytest.mark.parametrize(
    "end",
    [
        "os._exit(3)",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "os.abort()",
        "os.execv('/bin/true', ['true'])",
    ],
)
def test_a_sudden_end(end: str) -> None:
    """No handler of ours runs at the end or delays it, and no event is lost."""
    with Endpoint() as endpoint:
        ended = run(endpoint.url, f"log(0); log(1); {end}; emit('alive')")
        assert ended.lines == []
        deliver(endpoint)
    assert endpoint.accepted == sent(0, 1)


@pytest.mark.fault(27)
def test_ctrl_c() -> None:
    """SIGINT ends the process as Python does, and nothing is lost."""
    # A job in the background of a shell is born with SIGINT ignored.
    code = "signal.signal(signal.SIGINT, signal.default_int_handler); log(0); os.kill(os.getpid(), signal.SIGINT)"
    with Endpoint() as endpoint:
        with start(endpoint.url, code) as process:
            errors = process.communicate()[1]
        assert errors.endswith("KeyboardInterrupt\n")
        deliver(endpoint)
    assert endpoint.accepted == sent(0)


@pytest.mark.fault(26)
def test_a_process_that_ends_at_once_waits_for_nothing(record_property: Record) -> None:
    """Its one event is the next process's to send."""
    with Endpoint() as endpoint:
        ended = run(endpoint.url, "log(0); emit('last')")
        record_property("exit at once", f"{ended.seconds:.2f} s")
        assert ended.status == 0
        assert ended.seconds < 5, "no schedule_delay, no request"
        assert endpoint.requests == []
        deliver(endpoint)
    assert endpoint.accepted == sent(0)


@pytest.mark.fault(2)
@pytest.mark.parametrize("busy", [True, False])
def test_exit_while_the_endpoint_is_a_black_hole(record_property: Record, *, busy: bool) -> None:
    """With or without a request under way, the end waits a moment for an answer and not for its timeout."""
    with Endpoint(black_hole) as endpoint:
        wait = "tracing.flush(1.0); " if busy else ""
        ended = run(endpoint.url, f"log(0); {wait}emit('last')", AUTOMAGIK_TRACE_EXPORT_TIMEOUT="60")
        assert bool(endpoint.requests) == busy
        endpoint.answers = [reply()]
        deliver(endpoint)
    assert (ended.status, ended.lines) == (0, ["last"])
    record_property(f"exit black hole{', asked' * busy}", f"{ended.seconds:.2f} s")
    assert ended.seconds < 10, "far below the timeout of 60 s"
    assert endpoint.accepted == sent(0)


@pytest.mark.fault(1)
@pytest.mark.parametrize("busy", [True, False])
def test_exit_while_the_endpoint_refuses(record_property: Record, *, busy: bool) -> None:
    """The event is delivered once the endpoint is up, after a refused attempt or none."""
    port = closed_port()
    wait = "emit(tracing.flush(0.5)); " if busy else ""
    ended = run(f"http://127.0.0.1:{port}", f"log(0); {wait}emit('last')")
    assert (ended.status, ended.lines) == (0, ["False", "last"] if busy else ["last"])
    record_property(f"exit refused{', asked' * busy}", f"{ended.seconds:.2f} s")
    assert ended.seconds < 10, "far below any timeout"
    with Endpoint(port=port) as endpoint:
        deliver(endpoint)
    assert endpoint.accepted == sent(0)


@pytest.mark.fault(9)
def test_retry_after_outlives_the_process() -> None:
    """The delay that a server set outlives the process: the next one sends no request before."""
    with Endpoint(reply(429, b"", retry_after="3600")) as endpoint:
        ended = run(endpoint.url, "log(0); emit(tracing.flush(20)); emit('last')")
        assert ended.lines == ["False", "last"]
        ended = run(endpoint.url, "log(1); emit(tracing.flush(20)); emit('last')")
        assert ended.lines == ["False", "last"]
        assert len(endpoint.requests) == 1
        endpoint.answers = [reply()]
        for path in Path(os.environ["AUTOMAGIK_STATE_DIR"]).rglob("*.json"):
            os.utime(path, (1, 1))
        deliver(endpoint)
    assert endpoint.accepted == sent(0, 1)
