"""A destination that is down, flooded or not resolved affects neither others nor the application."""

from __future__ import annotations

import json
import resource
from typing import TYPE_CHECKING

import pytest

from automagik_telemetry.consent._application import DEFAULT_NAME, Scope
from tests.faults.bench import RETRY, SUCCESS, Bench, Sink
from tests.faults.process import PRELUDE, deliver, run, sent
from tests.faults.sending import event_id, line
from tests.faults.server import Endpoint, black_hole, closed_port

if TYPE_CHECKING:
    from pathlib import Path

# An application with two sinks of its own making, and no other.
TWO_SINKS = """
import json, logging, os, sys, threading, time
import automagik_telemetry
from automagik_telemetry import telemetry_handler

events = logging.getLogger("application")
events.setLevel(logging.INFO)
sinks = []
for url in os.environ["SINKS"].split():
    sinks.append(telemetry_handler(endpoint=url))
    sinks[-1].setFormatter(
        automagik_telemetry.ChainFormatter([automagik_telemetry.Anonymize(), automagik_telemetry.OTLP(endpoint=url)])
    )
    events.addHandler(sinks[-1])

def log(number):
    ids = {"trace_id": f"{number + 1:032x}", "span_id": f"{number + 1:016x}"}
    events.info("agent.run", extra={"agent_name": "simple", "success": True, **ids})

def emit(word):
    os.write(1, f"{word}\\n".encode())
"""


@pytest.mark.fault(23)
@pytest.mark.parametrize("down", ["refusing", "black hole"])
def test_one_of_two_sinks_is_down(down: str) -> None:
    """The other delivers all that it gets, and what the first can't send waits on disk for when it can."""
    code = """
        for number in range(500):
            log(number)
        bad, good = sinks
        first = threading.Thread(target=bad.force_flush, args=(1,))
        first.start()
        emit(good.force_flush(20))
        first.join()
        for sink in sinks:
            metrics = sink.metrics()["tracer"]
            emit(json.dumps([metrics["processed"], metrics["dropped"], metrics["pending"]]))
    """
    port = closed_port()
    with Endpoint() as good, Endpoint(black_hole) as hole:
        bad = f"http://127.0.0.1:{port}" if down == "refusing" else hole.url
        ended = run("", code, TWO_SINKS, SINKS=f"{bad} {good.url}")
        assert ended.lines == ["True", "[0, 0, 500]", "[500, 0, 0]"]
        assert good.accepted == sent(*range(500), scope=Scope(DEFAULT_NAME, good.url))
    with Endpoint(port=port if down == "refusing" else hole.server_port) as back:
        deliver(back)
    assert sorted(back.accepted) == sorted(sent(*range(500), scope=Scope(DEFAULT_NAME, bad)))


@pytest.mark.fault(23)
def test_telemetry_and_langwatch_do_not_wait_for_each_other() -> None:
    """While one of our two sinks is a black hole, the other's events arrive."""
    code = """
        from automagik_telemetry.tracing.spans import open_span
        log(0)
        open_span("run", "agent").end()
        for sink in (loggers.sinks()[os.environ["GOOD"]], loggers.sinks()[os.environ["BAD"]]):
            emit(sink.force_flush(20 if sink.sink == os.environ["GOOD"] else 0.5))
    """
    prelude = f"{PRELUDE}\nfrom automagik_telemetry.handlers import _loggers as loggers\n"
    for good, bad in (("telemetry", "langwatch"), ("langwatch", "telemetry")):
        with Endpoint() as up, Endpoint(black_hole) as down:
            urls = {good: up.url, bad: down.url}
            keys = {
                "LANGWATCH_ENDPOINT": urls["langwatch"],
                "LANGWATCH_API_KEY": "sk-lw-test",
                "GOOD": good,
                "BAD": bad,
            }
            assert run(urls["telemetry"], code, prelude, **keys).lines == ["True", "False"]
            assert len(up.accepted) == 1


@pytest.mark.fault(21)
def test_a_look_up_that_hangs() -> None:
    """DNS does not answer: logging, flush and the end of the process don't wait; the next process sends."""
    code = """
        import socket
        asked = threading.Event()
        def look_up(*_, **__):
            asked.set()
            threading.Event().wait(60)
        socket.getaddrinfo = look_up
        log(0)
        emit(tracing.flush(1))
        emit(asked.is_set())
        for number in range(1, 100):
            log(number)
        emit("last")
    """
    with Endpoint() as endpoint:
        ended = run(endpoint.url, code, AUTOMAGIK_TRACE_EXPORT_TIMEOUT="60")
        assert (ended.status, ended.lines) == (0, ["False", "True", "last"])
        assert ended.seconds < 10, "far below the 60 s of the look-up"
        deliver(endpoint)
    assert sorted(endpoint.accepted) == sorted(sent(*range(100)))


@pytest.mark.fault(24)
def test_a_burst_of_a_million_events(tmp_path: Path) -> None:
    """With the endpoint down, events, bytes and memory are bounded. Kept events are delivered, and others counted."""
    made = Bench(tmp_path / "state", Sink(RETRY))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    template = line(0).replace(event_id(0).encode(), b"%016x")
    append = made.pipeline.queue.append
    for number in range(1_000_000):
        append(template % (number + 1, number + 1))
        if number % 100_000 == 0:
            made.pass_time(300.0)
            account = made.metrics()
            assert account["pending"] <= 20_000
            assert account["pending_bytes"] <= 16 * 1024**2
            assert sum(path.stat().st_blocks * 512 for path in tmp_path.rglob("*.json")) <= 17 * 1024**2
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024, "KiB; a million events have 170 MiB"
    made.sink.answer = SUCCESS
    for _ in range(3):
        made.pass_time(300.0)
    account = made.metrics()
    assert account["queued"] == 1_000_000
    assert (account["pending"], set(account["dropped_by_reason"])) == (0, {"queue_full"})
    assert account["processed"] == len(made.sink.accepted) == len(set(made.sink.accepted)) == 20_000
    assert account["dropped"] == 1_000_000 - account["processed"]


HOSTILE = """
        class Angry:
            def __repr__(self): raise RuntimeError("repr")
            __str__ = __bool__ = __hash__ = __eq__ = __len__ = __iter__ = __getattr__ = __repr__

        class Liar(str):
            def __str__(self): return 5

        cycle = []
        cycle.append(cycle)
        deep = {}
        for _ in range(10_000):
            deep = {"deep": deep}
        values = [
            float("nan"), float("inf"), -float("inf"), 10**400, -(10**400), 2**63, b"bytes", "\\ud800", "\\0",
            "x" * 10**6, cycle, deep, {1: 2}, {(1, 2): 3}, object(), Angry(), Liar("liar"), lambda: None, ..., sys,
            Exception("e"), range(10**9), (each for each in [1]), memoryview(b"x"), 1j, type, None, False, 0, "",
        ]
"""


@pytest.mark.fault(47, 48)
def test_hostile_values_in_events() -> None:
    """In fields of every kind, as an undeclared one, as a name: valid JSON, or dropped and counted; nothing raised."""
    code = (
        HOSTILE
        + """
        for value in values:
            for name in ("agent_name", "success", "duration_ms", "token_count", "error_type", "nobody_declared_this"):
                events.info("agent.run", extra={"agent_name": "simple", name: value})
            events.info(value, extra={"agent_name": "simple"})
            tracing.telemetry.track_feature_usage(value)
        emit(tracing.flush(20))
        import json
        emit(json.dumps(tracing.telemetry.get_metrics()["tracer"]))
        emit(len(values))
    """
    )
    with Endpoint() as endpoint:
        flushed, metrics, count = run(endpoint.url, code).lines
    tracer = json.loads(metrics)
    assert flushed == "True"
    assert tracer["queued"] == 8 * int(count) == tracer["processed"] + tracer["dropped"]
    assert tracer["processed"] == len(endpoint.accepted) >= 5 * int(count)
    assert set(tracer["dropped_by_reason"]) <= {"unknown_event", "processor_error", "too_large"}, tracer
    for request in endpoint.requests:
        json.loads(request.body.decode(), parse_constant=pytest.fail)
    assert b'"boolValue":false' in b"".join(request.body for request in endpoint.requests)
