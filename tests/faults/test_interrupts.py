"""An exception that arrives in the middle of a call costs at most the event of that call, and sticks nowhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.process import many, run
from tests.faults.server import Endpoint, closed_port

Record = Callable[[str, object], None]
SEEDS = range(many(1, 10))


def interrupted(
    record_property: Record, code: str, url: str = "http://127.0.0.1:9", **variables: str
) -> dict[str, Any]:
    """Run a program of `interrupting` in a process, which checks itself, and return its output."""
    # An object that is interrupted while it is made warns when it is deleted, which is not for this test to judge.
    ended = run(url, code, "from tests.faults.interrupting import *\n", PYTHONWARNINGS="", **variables)
    assert ended.status == 0
    (line,) = ended.lines
    printed: dict[str, Any] = json.loads(line)
    if printed["points"] == 0 and sys.version_info >= (3, 13):
        pytest.skip("this Python sends no events of instructions to code that is traced for the first time")
    assert printed["points"] > 0
    record_property("interrupt points", printed["points"])
    return printed


# Each traces every instruction of a call, and fails at every one of them.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.fault(68)
@pytest.mark.parametrize("api", ["logging", "track_event", "structlog"])
@pytest.mark.parametrize("exception", ["Interrupt", "Failure"])
def test_a_logging_call_is_interrupted(record_property: Record, api: str, exception: str) -> None:
    """At each point of a call that finds the queue at work, by each way that an event comes in."""
    interrupted(record_property, f"everywhere({api!r}, {exception!r})")


@pytest.mark.fault(68)
@pytest.mark.parametrize("name", ["flush", "close", "shutdown", "metrics", "restart"])
@pytest.mark.parametrize("exception", ["Interrupt", "Failure"])
def test_a_call_of_another_kind_is_interrupted(record_property: Record, name: str, exception: str) -> None:
    """At each point of a flush, of each way to stop, of `get_metrics`, and of the call that starts the worker again."""
    interrupted(record_property, f"everywhere({name!r}, {exception!r})")


@pytest.mark.fault(68)
def test_a_call_that_completes_a_batch_is_interrupted(record_property: Record) -> None:
    """At every fourth point of seven calls in a row, with batches of three."""
    interrupted(record_property, f"everywhere('batch', stride={many(4, 1)})", AUTOMAGIK_TRACE_BATCH_SIZE="3")


@pytest.mark.fault(68)
def test_a_call_that_finds_the_segment_full_is_interrupted(record_property: Record) -> None:
    """At each point of the calls before, at and after the end of a segment."""
    interrupted(record_property, f"everywhere('segment', stride={many(8, 1)})", AUTOMAGIK_TRACE_SCHEDULE_DELAY="60")


@pytest.mark.fault(68)
def test_a_call_that_finds_the_queue_full_is_interrupted(record_property: Record) -> None:
    """At each point, while the endpoint does not answer; all that is dropped is counted."""
    interrupted(record_property, "everywhere('full')", AUTOMAGIK_TRACE_QUEUE_SIZE="8")


@pytest.mark.fault(68)
@pytest.mark.parametrize(
    ("api", "exception", "options"),
    [
        ("logging", "Interrupt", f"warm=True, stride={many(3, 1)}"),
        ("track_event", "Failure", f"warm=True, stride={many(10, 1)}"),
        ("structlog", "Interrupt", f"stride={many(30, 1)}"),
        ("logging", "Interrupt", f"bodies=True, stride={many(30, 1)}"),
    ],
)
def test_the_first_call_of_a_process_is_interrupted(
    record_property: Record, api: str, exception: str, options: str
) -> None:
    """At each point of building all that sends events and starting the worker; and, in a sample, of its imports."""
    interrupted(record_property, f"first_call({api!r}, {exception!r}, {options})")


@pytest.mark.fault(68)
@pytest.mark.parametrize("name", ["logging", "restart", "close"])
def test_between_any_two_instructions(record_property: Record, name: str) -> None:
    """At every instruction, in a sample: CPython itself lets exceptions in at fewer places."""
    interrupted(record_property, f"everywhere({name!r}, every_opcode=True, stride={many(7, 1)})")


@pytest.mark.fault(36, 68)
def test_a_fork_after_interrupts(record_property: Record) -> None:
    """A child that is forked after some logs and delivers, and so does the parent."""
    interrupted(record_property, "everywhere('restart', fork=True, stride=8)")


@pytest.mark.fault(1, 68)
@pytest.mark.parametrize("name", ["logging", "close"])
def test_interrupts_while_the_endpoint_refuses(record_property: Record, name: str) -> None:
    """Logged events wait on disk and are delivered once by a later process."""
    port = closed_port()
    url = f"http://127.0.0.1:{port}"
    printed = interrupted(record_property, f"everywhere({name!r}, is_up=False)", url)
    with Endpoint(port=port) as endpoint:
        found = run(url, "emit(tracing.flush(20))").lines
    assert found == ["True"]
    assert len(endpoint.accepted) == len(set(endpoint.accepted)) >= len(printed["returned"])


@pytest.mark.fault(68)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("source", ["alarms", "asynchronous"])
def test_interrupts_at_random_moments(record_property: Record, source: str, seed: int) -> None:
    """Of a signal handler that raises, or of `PyThreadState_SetAsyncExc`, in the standard library's code too."""
    interrupted(record_property, f"{source}({seed}, 3.0)")


@pytest.mark.fault(43, 68)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_signal_handler_that_logs(record_property: Record, seed: int) -> None:
    """In the middle of everything: each of its events is delivered, or counted as `reentrant`."""
    interrupted(record_property, f"logging_signals({seed}, 3.0)")
