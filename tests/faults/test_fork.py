"""After a fork both processes work: no deadlock, no event twice, and a separate session for the child."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.process import deliver, many, run, sent, start
from tests.faults.server import Endpoint, black_hole, closed_port, reply

FORKS = many(200, 1000)
ENDS = many(20, 200)


@pytest.mark.fault(36)
def test_forks_at_any_moment() -> None:
    """While threads log and the worker sends, each child logs too: every event arrives once."""
    code = f"""
        def busy(thread):
            number = 1_000_000 * thread
            while not done.is_set():
                log(number)
                number += 1
                done.wait(0.005)  # to log no more than a queue may hold
            counts[thread] = number

        done, counts, children = threading.Event(), dict(), []
        threads = [threading.Thread(target=busy, args=(thread,), daemon=True) for thread in (1, 2)]
        for thread in threads:
            thread.start()
        for child in range({FORKS}):
            if (pid := os.fork()) == 0:
                signal.alarm(25)
                log(2 * child)
                log(2 * child + 1)
                if child % 20 == 0:
                    tracing.flush(20)
                os._exit(0)
            log(100_000 + child)
            children.append(pid)
            if len(children) > 4:  # at any moment a few are alive
                assert os.waitpid(children.pop(0), 0)[1] == 0
        for pid in children:
            assert os.waitpid(pid, 0)[1] == 0
        done.set()
        for thread in threads:
            thread.join()
        for number in counts.values():
            emit(number)
        emit(tracing.flush(20))
    """
    variables = {"AUTOMAGIK_TRACE_BATCH_SIZE": "100", "AUTOMAGIK_TRACE_SCHEDULE_DELAY": "0.005"}
    with Endpoint() as endpoint:
        ended = run(endpoint.url, code, PYTHONWARNINGS="ignore", **variables)
        assert (ended.status, ended.lines[-1]) == (0, "True")
        deliver(endpoint)
    logged = [number for end in map(int, ended.lines[:-1]) for number in range(end - end % 1_000_000, end)]
    expected = {*sent(*range(2 * FORKS)), *sent(*range(100_000, 100_000 + FORKS)), *sent(*logged)}
    assert set(endpoint.accepted) == expected
    # A child that ends while its batch is on the way leaves it to be sent once more; the others have no reason.
    twice = {each for each, count in Counter(endpoint.accepted).items() if count > 1}
    hasty = {each for child in range(FORKS) if child % 20 for each in sent(2 * child, 2 * child + 1)}
    assert twice <= hasty


@pytest.mark.fault(39, 40)
def test_ends_of_the_interpreter() -> None:
    """Each child ends as Python does and logs after that has begun, when no thread may start; so does the parent."""
    code = f"""
        import atexit

        class Last:
            def __del__(self):
                log(number + 300_000)
                emit(number)

        def late():
            log(number + 200_000)

        from automagik_telemetry.export import _pipeline as pipeline
        atexit.unregister(pipeline._at_exit)
        atexit.register(late)
        atexit.register(pipeline._at_exit)  # the last that is registered runs first
        last = Last()
        log(number := 0)
        pids = []
        for number in range(1, {ENDS} + 1):
            if (pid := os.fork()) == 0:
                if number % 2:
                    log(number)
                sys.exit()
            pids.append(pid)
            if len(pids) > 4:
                assert os.waitpid(pids.pop(0), 0)[1] == 0
        for pid in pids:
            assert os.waitpid(pid, 0)[1] == 0
        number = 0
    """
    port = closed_port()
    ended = run(f"http://127.0.0.1:{port}", code, PYTHONWARNINGS="ignore")
    assert ended.status == 0
    assert ended.lines  # Python calls most finalizers at its end, and does not promise to call each
    with Endpoint(port=port) as endpoint:
        deliver(endpoint)
    runs = range(ENDS + 1)
    finalized = [int(line) + 300_000 for line in ended.lines]
    expected = [0, *runs[1::2], *(run + 200_000 for run in runs), *finalized]
    assert sorted(endpoint.accepted) == sorted(sent(*expected))


@pytest.mark.fault(74)
@pytest.mark.parametrize("serves", [True, False])
def test_no_fork_is_warned_of(serves: bool) -> None:
    """Python 3.12 and later warn of threads; ours has ended whenever it idles: waiting for events, or to try again."""
    code = """
        threads = []
        for number in range(50):
            log(number)
            if number % 10 == 9:
                tracing.flush(20)
            if (pid := os.fork()) == 0:
                threads = [thread.name for thread in threading.enumerate()]
                os._exit(0 if threads == ["MainThread"] else 1)
            assert os.waitpid(pid, 0)[1] == 0
        emit(tracing.telemetry.get_metrics()["tracer"]["queued"])
    """
    with Endpoint(reply() if serves else reply(503, retry_after="600")) as endpoint:
        # A warning is an error; only a flush sends, so that none is on its way when the process forks.
        ended = run(endpoint.url, code, AUTOMAGIK_TRACE_SCHEDULE_DELAY="600")
        assert (ended.status, ended.lines) == (0, ["50"])
        if serves:
            deliver(endpoint)
            assert sorted(endpoint.accepted) == sorted(sent(*range(50)))


@pytest.mark.fault(74)
def test_a_fork_does_not_wait_for_an_answer() -> None:
    """It begins while a request hangs, and does so again; what was queued is sent once the endpoint answers."""
    code = """
        log(0)
        waiting = threading.Thread(target=tracing.flush, args=(1,), daemon=True)
        waiting.start()
        while not automagik_telemetry.handlers._loggers.sinks()["telemetry"]._pipeline.worker.exporter.under_way:
            time.sleep(0.01)
        for number in range(1, 101):
            if os.fork() == 0:
                os._exit(0)
        while True:
            try:
                os.wait()
            except ChildProcessError:
                break
        emit([thread.name for thread in threading.enumerate()].count("automagik-telemetry"))
        waiting.join()
    """
    with Endpoint(black_hole) as hole:
        ended = run(hole.url, code, PYTHONWARNINGS="ignore")
    assert (ended.status, ended.lines) == (0, ["1"])


@pytest.mark.fault(36)
def test_a_child_has_a_session_of_its_own() -> None:
    """Its events have its own session ID, and its metrics don't include the parent's."""
    code = """
        log(0)
        if (pid := os.fork()) == 0:
            log(1)
            emit(tracing.telemetry.get_metrics()["tracer"]["queued"])
            emit(tracing.telemetry.session_id)
            emit(tracing.flush(15))
            os._exit(0)
        os.waitpid(pid, 0)
        emit(tracing.telemetry.session_id)
        emit(tracing.flush(15))
    """
    with Endpoint() as endpoint:
        ended = run(endpoint.url, code)
    queued, child, sent_all, parent, sent_too = ended.lines
    assert (queued, sent_all, sent_too) == ("1", "True", "True")
    sessions = {request.span_ids()[0]: session(request.body) for request in endpoint.requests}
    assert sessions == {sent(0)[0]: parent, sent(1)[0]: child}
    assert parent != child


def session(body: bytes) -> str:
    """Return the session id that a request is from."""
    attributes = json.loads(body)["resourceSpans"][0]["resource"]["attributes"]
    (found,) = (each["value"]["stringValue"] for each in attributes if each["key"] == "session.id")
    return str(found)


@pytest.mark.fault(38)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: str, tmp_path: Path) -> None:
    """A child's events are delivered although nothing is called at its end."""
    script = tmp_path / "work.py"
    script.write_text(
        "import logging, multiprocessing, automagik_telemetry\n"
        "def work(number):\n"
        "    automagik_telemetry.configure()\n"
        "    ids = {'trace_id': f'{number + 1:032x}', 'span_id': f'{number + 1:016x}'}\n"
        "    logging.getLogger('automagik.agents').info('agent.run', extra={'success': True, **ids})\n"
        "if __name__ == '__main__':\n"
        "    work(0)\n"
        f"    context = multiprocessing.get_context({method!r})\n"
        "    children = [context.Process(target=work, args=(number,)) for number in (1, 2)]\n"
        "    [child.start() for child in children]\n"
        "    [child.join() for child in children]\n"
    )
    with Endpoint() as endpoint:
        code = f"os.execv(sys.executable, [sys.executable, '-W', 'ignore', {str(script)!r}])"
        assert run(endpoint.url, code, PYTHONWARNINGS="ignore").status == 0
        deliver(endpoint)
    # A child ends at once also while it ships what another has left, which is then sent once more.
    assert sorted(set(endpoint.accepted)) == sorted(sent(0, 1, 2))


@pytest.mark.fault(32)
def test_many_processes_share_orphaned_segments() -> None:
    """Several that start at the same time send every segment once."""
    with Endpoint(reply(503)) as unavailable:
        for number in range(8):
            run(unavailable.url, f"log({number})")
    with Endpoint(port=unavailable.server_port) as endpoint:
        code = """
            sys.stdin.read()
            emit(tracing.flush(20))
        """
        processes = [start(endpoint.url, code) for _ in range(4)]
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        for process in processes:
            assert process.communicate() == ("True\n", "")
    assert sorted(endpoint.accepted) == sorted(sent(*range(8)))
    assert list(Path(os.environ["AUTOMAGIK_STATE_DIR"]).rglob("queue/*/*.json")) == []
