"""No event is lost under asyncio, gevent, threads, a frozen machine or a clock that jumps."""

from __future__ import annotations

import ast
import importlib.util
import signal
import subprocess
import sys
import threading

import pytest

from tests.faults.process import PRELUDE, run, sent, start
from tests.faults.server import PATIENCE, Endpoint, Exchange, accept_and, hang_up, reply

BARE = """
import logging, os, sys, threading

def emit(word):
    os.write(1, f"{word}\\n".encode())
"""


@pytest.mark.fault(50)
@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_green_threads(library: str) -> None:
    """With threads, sockets and locks replaced at its start, an application's events are delivered."""
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    patch = {
        "gevent": "from gevent import monkey, sleep, spawn; monkey.patch_all()\n",
        "eventlet": "import eventlet; from eventlet import sleep, spawn; eventlet.monkey_patch()\n",
    }[library]
    probe = subprocess.run([sys.executable, "-W", "ignore", "-c", patch], capture_output=True, text=True, check=False)
    if probe.returncode != 0 or probe.stderr:
        pytest.skip(f"{library} fails at patching an empty program: {probe.stderr.strip().splitlines()[-1]}")
    code = """
        def work(number):
            log(number)
            sleep(0)
            log(number + 100)

        tasks = [spawn(work, number) for number in range(20)]
        while tracing.telemetry.get_metrics()["tracer"]["queued"] < 40:
            sleep(0.01)
        emit(tracing.flush(15))
    """
    with Endpoint() as endpoint:
        ended = run(endpoint.url, code, patch + PRELUDE, PYTHONWARNINGS="ignore")
        assert (ended.status, ended.lines) == (0, ["True"])
    assert sorted(endpoint.accepted) == sorted(sent(*range(20), *range(100, 120)))


@pytest.mark.fault(51)
def test_an_event_loop_runs_while_the_endpoint_does_not_respond() -> None:
    """The endpoint waits for the loop to have turned and logged a thousand times, so a blocked loop would fail."""
    turned = threading.Event()

    def answer(exchange: Exchange) -> None:
        turned.wait(PATIENCE)
        reply()(exchange)

    code = """
        import asyncio

        async def turn(times):
            lags = []
            for number in range(times):
                before = time.perf_counter()
                await asyncio.sleep(0)
                log(number + 1)
                lags.append(time.perf_counter() - before)
            return lags

        log(0)
        threading.Thread(target=tracing.flush, args=(20,)).start()
        sys.stdin.readline()
        lags = sorted(asyncio.run(turn(1000)))
        emit(f"{lags[990] * 1e6:.0f}")
        emit(tracing.flush(20))
    """
    with Endpoint(answer) as endpoint, start(endpoint.url, code) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        endpoint.wait_for(lambda: endpoint.requests)
        process.stdin.write("the request is under way\n")
        process.stdin.flush()
        lag = process.stdout.readline()
        turned.set()
        output, errors = process.communicate(timeout=PATIENCE)
    assert (output, errors) == ("True\n", "")
    assert sorted(endpoint.accepted) == sorted(sent(*range(1001)))
    sys.stdout.write(f"a turn of the loop with a logging call in it, p99: {lag.strip()} us\n")


@pytest.mark.fault(54)
def test_a_process_that_is_frozen_while_it_sends() -> None:
    """Stopped with a request under way, whose connection dies meanwhile, it goes on when it is thawed."""
    frozen = threading.Event()

    def die(exchange: Exchange) -> None:
        frozen.wait(PATIENCE)
        accept_and(hang_up)(exchange)

    code = """
        log(0)
        threading.Thread(target=tracing.flush, args=(20,)).start()
        sys.stdin.readline()
        log(1)
        emit(tracing.flush(20))
    """
    with Endpoint(die, reply()) as endpoint, start(endpoint.url, code) as process:
        endpoint.wait_for(lambda: endpoint.requests)
        process.send_signal(signal.SIGSTOP)
        frozen.set()
        endpoint.wait_for(lambda: endpoint.accepted)
        process.send_signal(signal.SIGCONT)
        assert process.communicate("thawed\n", timeout=PATIENCE) == ("True\n", "")
    assert endpoint.accepted[0] == sent(0)[0]
    assert set(endpoint.accepted) == set(sent(0, 1))


@pytest.mark.fault(49)
def test_the_time_of_day_jumps_at_every_look() -> None:
    """Ten years ahead and back: nothing expires, nothing is held back, nothing is lost."""
    code = """
        import itertools
        real, jumps = time.time, itertools.cycle([0.0, 3e8, -3e8])
        time.time = lambda: real() + next(jumps)
        time.time_ns = lambda: int(time.time() * 1e9)
        for number in range(300):
            log(number)
        emit(tracing.flush(20))
        emit(tracing.telemetry.get_metrics()["tracer"]["dropped_by_reason"])
    """
    with Endpoint(reply(503), reply()) as endpoint:
        assert run(endpoint.url, code, AUTOMAGIK_TRACE_BATCH_SIZE="50").lines == ["True", "{}"]
    assert sorted(endpoint.accepted) == sorted(sent(*range(300)))


@pytest.mark.fault(55, 58)
def test_first_use_off_the_main_thread() -> None:
    """Imported early, configured by an environment that is set later, used first by a thread; and silent."""
    with Endpoint() as endpoint:
        code = f"""
            import automagik_telemetry
            os.environ["AUTOMAGIK_TELEMETRY_ENDPOINT"] = {endpoint.url!r}
            os.environ["AUTOMAGIK_TELEMETRY_ENABLED"] = "true"

            def use():
                tracing = automagik_telemetry.get_tracing_manager()
                tracing.telemetry.track_feature_usage("agents")
                emit(tracing.flush(15))

            thread = threading.Thread(target=use)
            thread.start()
            thread.join()
        """
        ended = run("http://127.0.0.1:9", code, prelude=BARE, AUTOMAGIK_TELEMETRY_ENABLED="false")
        assert (ended.status, ended.lines) == (0, ["True"])
    assert len(endpoint.accepted) == 1


@pytest.mark.fault(56)
def test_a_logging_call_makes_no_system_call() -> None:
    """Beside busy threads, none of the C functions that it calls makes a system call."""
    code = """
        def compute():
            while not done.is_set():
                sum(range(1000))

        mapped = "automagik_telemetry.export._file_map"
        done = threading.Event()
        threads = [threading.Thread(target=compute) for _ in range(2)]
        for thread in threads:
            thread.start()
        called, times = set(), []

        def profile(frame, event, function):
            if event == "c_call":
                called.add((function.__module__ or type(function.__self__).__module__, function.__qualname__))

        log(0)
        sys.setprofile(profile)
        for number in range(1, 200):
            log(number)
        sys.setprofile(None)
        for number in range(200, 400):
            time.sleep(0.0001)  # else the threads' turn, which is 5 ms, would fall into every hundredth call
            before = time.perf_counter()
            log(number)
            times.append(time.perf_counter() - before)
        done.set()
        for thread in threads:
            thread.join()
        emit(sorted({module for module, _ in called}))
        emit(sorted(name for module, name in called if module in ("posix", "mmap", mapped)))
        emit(f"{sorted(times)[198] * 1e6:.0f}")
        emit(tracing.flush(20))
    """
    with Endpoint() as endpoint:
        modules, kernel, p99, flushed = run(endpoint.url, code, AUTOMAGIK_TRACE_SCHEDULE_DELAY="60").lines
    assert flushed == "True"
    assert {"fcntl", "_io", "_socket", "select"}.isdisjoint(ast.literal_eval(modules)), modules
    assert "FileMap.write" in ast.literal_eval(kernel), "the append was seen"
    assert set(ast.literal_eval(kernel)) <= {"FileMap.write", "fspath", "getpid"}, (
        "and what logging does for every record"
    )
    assert sorted(endpoint.accepted) == sorted(sent(*range(400)))
    sys.stdout.write(f"a logging call beside threads that compute, p99: {p99} us\n")
