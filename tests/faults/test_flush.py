"""A flush retries until all is sent or its time is over. A shutdown sends queued events, and waits only if it helps."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from automagik_telemetry.export._contract import ExportResult, Outcome, Permission
from tests.faults.bench import RETRY, SUCCESS, Bench, Sink
from tests.faults.process import deliver, environ, run, sent, start
from tests.faults.sending import ids
from tests.faults.server import PATIENCE, Endpoint, black_hole, closed_port, hang_up, redirect, reply, reset

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.server import Answer, Exchange

pytestmark = pytest.mark.slow

FAULTS: dict[str, Answer] = {
    **{str(status): reply(status) for status in (429, 502, 503, 504)},
    "redirect": redirect,
    "login wanted": reply(511),
    "web page": reply(200, b"<html>login</html>", content_type="text/html"),
    "hangs up": hang_up,
    "reset": reset,
}


@pytest.mark.fault(82)
@pytest.mark.parametrize("fault", [*FAULTS, "refused"])
def test_flush_goes_on_until_its_time_is_over(fault: str) -> None:
    """A flush in vain returns False, the command exits with 1, and nothing is lost: later, both succeed."""
    command = [sys.executable, "-m", "automagik_telemetry", "flush", "--timeout"]
    port = closed_port()
    code = "log(0); emit(tracing.flush(1.5)); emit(tracing.telemetry.get_metrics()['circuit_breaker']['failures'] > 1)"
    endpoint = None if fault == "refused" else Endpoint(FAULTS[fault])
    url = f"http://127.0.0.1:{port}" if endpoint is None else endpoint.url
    with endpoint or contextlib.nullcontext():
        assert run(url, code).lines == ["False", "True"]
        done = subprocess.run([*command, "1"], env=environ(url), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, f"0 events sent, 0 dropped: automagik-agents to {url}.\n")
        assert "Some events could not be sent" in done.stderr
    with Endpoint(port=port if endpoint is None else endpoint.server_port) as back:
        done = subprocess.run([*command, "30"], env=environ(url), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (
            0,
            f"1 event sent, 0 dropped: automagik-agents to {url}.\n",
            "",
        )
    assert back.accepted == sent(0)


@pytest.mark.fault(82)
@pytest.mark.parametrize("fault", FAULTS)
def test_flush_succeeds_when_the_endpoint_recovers(fault: str) -> None:
    """A failed request is retried in the same call."""
    with Endpoint(*[FAULTS[fault]] * 3, reply()) as endpoint:
        ended = run(endpoint.url, "log(0); emit(tracing.flush(20))")
    assert ended.lines == ["True"]
    assert endpoint.accepted[-1:] == sent(0)


def ask(made: Bench, timeout: float, *, patient: bool = True) -> Callable[[], bool | None]:
    """Call flush on a worker without a thread; the call returns its result so far."""
    flush = made.pipeline.worker.ask(timeout, patient=patient)
    answers: list[bool] = []
    flush.answer = lambda *, settled: answers.append(settled)  # type: ignore[method-assign]
    return lambda: answers[0] if answers else None


@pytest.mark.fault(82)
def test_flush_tries_at_once_and_ever_again(tmp_path: Path) -> None:
    """A flush ends the delay of earlier failures, and its own delays stay below a second; later ones grow as before."""
    made = Bench(tmp_path / "state", Sink(RETRY))
    made.log(0)
    for _ in range(9):
        made.pass_time(300.0)
    assert made.pipeline.worker.backoff.remaining() > 200
    before = len(made.sink.attempts)
    answer = ask(made, 10.0)
    made.pass_time(0.0)
    assert len(made.sink.attempts) == before + 1
    for _ in range(90):
        made.pass_time(0.1)
    assert before + 11 <= len(made.sink.attempts) <= before + 15
    assert answer() is None
    made.pass_time(2.0)
    assert answer() is False
    made.pass_time(1.0)
    assert made.pipeline.worker.backoff.remaining() > 200


@pytest.mark.fault(82)
def test_flush_does_not_ask_before_a_server_allows(tmp_path: Path) -> None:
    """Retry-After is a minimum for a flush, too; it returns at once if that is beyond its timeout."""
    made = Bench(tmp_path / "state", Sink(ExportResult(Outcome.RETRY, retry_after=5.0)))
    made.log(0)
    made.pass_time(5.0)
    late, patient = ask(made, 4.0), ask(made, 10.0)
    made.pass_time(0.0)
    assert (late(), patient(), len(made.sink.attempts)) == (False, None, 1)
    made.sink.answer = SUCCESS
    made.pass_time(4.9)
    assert (patient(), len(made.sink.attempts)) == (None, 1)
    made.pass_time(0.2)
    assert (patient(), made.sink.accepted) == (True, ids(0))


@pytest.mark.fault(82)
def test_flush_waits_for_what_was_queued_at_its_call(tmp_path: Path) -> None:
    """A flush does not wait for events that are logged meanwhile."""
    made = Bench(tmp_path / "state", Sink(lambda _found: made.log(9) or SUCCESS))  # type: ignore[func-returns-value]
    made.log(0)
    answer = ask(made, 10.0)
    made.pass_time(0.0)
    assert answer() is True
    assert made.metrics()["pending"] == 1


@pytest.mark.fault(82)
def test_dropped_and_counted_is_settled(tmp_path: Path) -> None:
    """A flush is done when the endpoint has rejected the queued events, or consent is withdrawn."""
    given = [True]
    made = Bench(
        tmp_path / "state",
        Sink(ExportResult(Outcome.REJECTED)),
        allowed=lambda: Permission.GRANTED if given else Permission.WITHDRAWN,
    )
    made.log(0)
    answer = ask(made, 10.0)
    made.pass_time(0.0)
    assert answer() is True
    assert made.metrics()["dropped_by_reason"] == {"rejected": 1}
    given.clear()
    made.log(1)
    answer = ask(made, 10.0)
    made.tick()
    assert answer() is True
    assert made.metrics()["dropped_by_reason"] == {"rejected": 1, "consent_withdrawn": 1}


@pytest.mark.fault(82)
def test_a_replaced_sink_is_flushed_too() -> None:
    """While a replaced sink's request is in progress, a flush is not done; afterwards it is."""
    go = threading.Event()

    def answer(exchange: Exchange) -> None:
        assert go.wait(PATIENCE)
        reply()(exchange)

    code = """
        log(0)
        sys.stdin.readline()
        automagik_telemetry.configure()
        emit(automagik_telemetry.get_tracing_manager().flush(0.5))
        sys.stdin.readline()
        emit(automagik_telemetry.get_tracing_manager().flush(20))
    """
    with Endpoint(answer) as endpoint, start(endpoint.url, code, AUTOMAGIK_TRACE_SCHEDULE_DELAY="0.05") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        endpoint.wait_for(lambda: endpoint.requests)
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "False\n"
        go.set()
        assert process.communicate("\n", timeout=PATIENCE) == ("True\n", "")
        assert endpoint.accepted == sent(0)


@pytest.mark.fault(82)
def test_what_others_left_is_flushed_too(tmp_path: Path) -> None:
    """A flush is not done while events of other processes wait."""
    other = Bench(tmp_path / "state", Sink())
    other.log(0)
    other.pipeline.queue.release()
    made = Bench(tmp_path / "state", Sink(RETRY))
    answer = ask(made, 10.0)
    made.pass_time(1.0)
    assert answer() is None
    made.sink.answer = SUCCESS
    made.pass_time(2.0)
    assert answer() is True
    assert made.sink.accepted == ids(0)


SHUTDOWN = """
    for number in range(2000):
        log(number)
    emit(tracing.shutdown(60))
    emit(tracing.shutdown(60))
"""


@pytest.mark.fault(83)
def test_shutdown_sends_what_is_queued() -> None:
    """A shutdown sends all events to a healthy endpoint; a second one has nothing to do."""
    with Endpoint() as endpoint:
        assert run(endpoint.url, SHUTDOWN).lines == ["True", "True"]
    assert endpoint.accepted == sent(*range(2000))


@pytest.mark.fault(83)
@pytest.mark.parametrize("fault", [*FAULTS, "400 of a proxy", "500 of a proxy", "refused"])
def test_shutdown_does_not_wait_for_an_endpoint_that_refuses(fault: str) -> None:
    """A shutdown sends one request, far below its timeout of a minute; the events stay on disk for the next process."""
    answers = FAULTS | {
        f"{status} of a proxy": reply(status, b"bad", content_type="text/plain") for status in (400, 500)
    }
    port = closed_port()
    if fault == "refused":
        assert run(f"http://127.0.0.1:{port}", SHUTDOWN).lines == ["False", "False"]
        endpoint = Endpoint(port=port)
    else:
        endpoint = Endpoint(answers[fault])
    with endpoint:
        if fault != "refused":
            assert run(endpoint.url, SHUTDOWN).lines == ["False", "False"]
            assert len(endpoint.requests) <= 2, "each asked once"
        endpoint.accepted.clear()  # as above
        endpoint.answers = [reply()]
        deliver(endpoint)
    assert sorted(endpoint.accepted) == sorted(sent(*range(2000)))


@pytest.mark.fault(83)
def test_shutdown_is_bounded() -> None:
    """A shutdown with a hanging endpoint waits for its timeout, and no longer; then the next process sends."""
    with Endpoint(black_hole) as endpoint:
        ended = run(endpoint.url, "log(0); emit(tracing.shutdown(0.5))", AUTOMAGIK_TRACE_EXPORT_TIMEOUT="60")
        assert ended.lines == ["False"]
        assert len(endpoint.requests) == 1
        endpoint.answers = [reply()]
        deliver(endpoint)
    assert endpoint.accepted == sent(0)


@pytest.mark.fault(83)
def test_sinks_are_shut_down_at_the_same_time() -> None:
    """A sink that hangs takes no time from the other."""
    code = """
        from automagik_telemetry.tracing.spans import open_span
        log(0)
        open_span("run", "agent").end()
        emit(tracing.shutdown(1.5))
    """
    with Endpoint(black_hole) as down, Endpoint() as up:
        keys = {"LANGWATCH_ENDPOINT": up.url, "LANGWATCH_API_KEY": "sk-lw-test"}
        assert run(down.url, code, AUTOMAGIK_TRACE_EXPORT_TIMEOUT="60", **keys).lines == ["False"]
        up.wait_for(lambda: up.accepted)


SHORT = """
import functools, logging, os
import automagik_telemetry
from automagik_telemetry.export import _contract
if "BACKLOG_TIMEOUT" in os.environ:
    _contract.Limits = functools.partial(_contract.Limits, backlog_timeout=float(os.environ["BACKLOG_TIMEOUT"]))
automagik_telemetry.configure()
ids = {"trace_id": "%032x", "span_id": "%016x"}
logging.getLogger("automagik.agents").info("agent.run", extra={"agent_name": "simple", "success": True, **ids})
"""


def short(url: str, number: int, **variables: str) -> None:
    """Run a command that ends as soon as it has logged an event."""
    ended = run(url, SHORT % (number + 1, number + 1), prelude="", **variables)
    assert (ended.status, ended.lines) == (0, [])


@pytest.mark.fault(26)
def test_short_commands_deliver_in_the_end() -> None:
    """Each eighth command sends the events of the others, or a later one because a busy machine is slow."""
    with Endpoint() as endpoint:
        for number in range(16):
            short(endpoint.url, number, BACKLOG_TIMEOUT="20")
        assert set(endpoint.accepted) >= set(sent(*range(8)))
        assert list(Path(os.environ["AUTOMAGIK_STATE_DIR"]).rglob("exit")) == []
        deliver(endpoint)
    assert set(endpoint.accepted) == set(sent(*range(16)))


@pytest.mark.fault(26)
def test_one_short_command_in_a_minute_waits_in_vain() -> None:
    """The end of one command waits for a hanging endpoint, and the next ones send no request."""
    with Endpoint(black_hole) as endpoint:
        for number in range(12):
            short(endpoint.url, number)
        assert len(list(Path(os.environ["AUTOMAGIK_STATE_DIR"]).rglob("exit"))) == 1
        endpoint.answers = [reply()]
        deliver(endpoint)
    assert sorted(endpoint.accepted) == sorted(sent(*range(12)))


@pytest.mark.fault(26)
def test_what_is_left_is_much_by_count_or_age(tmp_path: Path) -> None:
    """Eight segments, or one an hour old, are many. No wait begins within a minute of a vain one, or too early."""

    def leave(number: int) -> None:
        other = Bench(tmp_path / "state", Sink())
        other.log(number)
        other.pipeline.queue.release()

    def begin() -> Any:
        return Bench(tmp_path / "state", Sink()).pipeline.begin_exit()

    for number in range(7):
        leave(number)
    assert begin() is None
    leave(7)
    assert begin() is not None
    assert begin() is None, "the one before has not succeeded"
    (marked,) = (tmp_path / "state").rglob("exit")
    os.utime(marked, (1, 1))
    assert begin() is not None
    marked.unlink()
    files = sorted((tmp_path / "state").rglob("*.json"))
    for path in files[1:]:
        path.unlink()
    assert begin() is None
    old = files[0].with_name(f"{int(files[0].name[:13]) - 3_600_000:013d}{files[0].name[13:]}")
    files[0].rename(old)
    assert begin() is not None
    marked.unlink()
    os.utime(old, (2**31, 2**31))
    assert begin() is None


def test_a_flush_in_a_thread_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    """A caller that gave up is forgotten when its time is over."""
    made = Bench(tmp_path / "state", Sink(RETRY))
    made.log(0)
    asking = threading.Thread(target=lambda: made.pipeline.worker.ask(0.0).wait())
    asking.start()
    asking.join()
    made.pass_time(0.0)
    made.pass_time(1.0)
    assert made.pipeline.worker._flushing == []
