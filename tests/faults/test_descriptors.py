"""An application may close our descriptors and reuse their numbers: its own files are never touched."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from automagik_telemetry import _descriptors as descriptors
from automagik_telemetry._private_files import open_private
from automagik_telemetry.export.http._transport import open_transport
from tests.faults.process import PRELUDE, deliver, environ, run, sent, start
from tests.faults.server import PATIENCE, Endpoint, black_hole, reply

if TYPE_CHECKING:
    from collections.abc import Callable

BEFORE = """
import sys
from tests.faults import descriptors
before = descriptors.numbers_in_use()
"""
BUFFERED = """
from automagik_telemetry.export import _spool as spool
spool._MAPPABLE = frozenset()
"""
LOGGING = Path(__file__).parents[2] / "logging.yaml"
STATES = ["logged", "flushed", "waiting", "durable", "buffered"]
CLOSINGS = ["closerange", "each", "dup2", "standard", "daemon", "daemon, detached"]
ENDS = ["normal", "sys.exit", "os._exit"]
CASES = [(state, closing, "normal") for state in STATES for closing in CLOSINGS]
# The parent of a daemon ends by os._exit, which may lose what a buffered segment has not yet written.
CASES.remove(("buffered", "daemon, detached", "normal"))
CASES += [(state, "closerange", end) for state in ("logged", "flushed") for end in ENDS[1:]]


@pytest.fixture
def durable(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Return a function that returns the variables of a durable LangWatch sink towards a URL."""
    configuration = tmp_path / "mine.yaml"
    configuration.write_text(LOGGING.read_text(encoding="utf-8"))

    def variables(url: str) -> dict[str, str]:
        return {
            "AUTOMAGIK_LOGGING_CONFIG": str(configuration),
            "LANGWATCH_API_KEY": "sk-lw-test",
            "LANGWATCH_ENDPOINT": url,
        }

    return variables


@pytest.mark.fault(69)
@pytest.mark.parametrize(("state", "closing", "end"), CASES)
def test_an_application_closes_and_reuses_our_descriptors(
    tmp_path: Path, durable: Callable[[str], dict[str, str]], state: str, closing: str, end: str
) -> None:
    """Its files and sockets stay as they were, and our events arrive, then or by the next process, once each."""
    folder = tmp_path / "own"
    folder.mkdir()
    os.mkfifo(folder / "output")
    daemon_output = os.fdopen(os.open(folder / "output", os.O_RDONLY | os.O_NONBLOCK))
    code = f"""
program = descriptors.Program(tracing, log, {str(folder)!r}, {state!r})
program.run({closing!r}, {end!r}, before)
"""
    with Endpoint(black_hole if state == "waiting" else reply()) as endpoint:
        variables = durable(endpoint.url) if state == "durable" else {}
        if closing == "daemon, detached":  # a fork may leave a thread of ours; Python 3.15 raises its warning
            variables["PYTHONWARNINGS"] = "error,ignore:This process:DeprecationWarning"
        prelude = BEFORE + (BUFFERED if state == "buffered" else "") + PRELUDE
        with start(endpoint.url, code, prelude, **variables) as process:
            if state == "waiting":
                endpoint.wait_for(lambda: endpoint.requests)
            output, errors = process.communicate("\n", timeout=2 * PATIENCE)
            assert process.returncode == 0, errors
        endpoint.answers = [reply()]
        if closing.startswith("daemon"):
            os.set_blocking(daemon_output.fileno(), True)
            output = daemon_output.read()  # until the daemon has ended
            errors += (folder / "errors").read_text()
        daemon_output.close()
        assert errors == ""
        printed = output.splitlines()
        damages = [line for line in printed if ": " in line]
        assert damages == []
        events, runs = printed
        deliver(endpoint, **variables)
    assert endpoint.malformed == []
    traces = [each for request in endpoint.requests if "/api/otel/" in request.path for each in request.span_ids()]
    assert sorted(set(endpoint.accepted) - set(traces)) == sorted(sent(*range(int(events.removeprefix("events ")))))
    assert len(set(traces)) == int(runs.removeprefix("runs "))  # a request whose socket was closed is sent again
    if state != "durable":  # a trace is sent at once, so that its socket may be closed before the response is read
        assert len(endpoint.accepted) == len(set(endpoint.accepted))


WATCH = """
import os, sys, threading
sys.setswitchinterval(1e-4)
seen, done = set(), threading.Event()

def look():
    for number in range(3):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if target.startswith(("socket:", os.environ["AUTOMAGIK_STATE_DIR"])):
            seen.add(f"{number}: {target}")

def watch():
    while not done.is_set():
        look()

threading.Thread(target=watch, daemon=True).start()
"""


@pytest.mark.fault(70)
@pytest.mark.parametrize(
    ("storage", "closed"),
    [("mapped", numbers) for size in (1, 2, 3) for numbers in combinations(range(3), size)]
    + [("buffered", (0,)), ("buffered", (0, 1, 2))],
)
def test_standard_descriptors_that_are_closed_at_the_start(
    tmp_path: Path, storage: str, closed: tuple[int, ...]
) -> None:
    """No file or socket of ours takes their numbers, at any moment that a thread looks; and events arrive."""
    report = tmp_path / "report"
    code = f"""
for number in range(5):
    log(number)
    look()
flushed = tracing.flush(20)
log(5)
look()
tracing.shutdown()
log(6)
look()
flushed &= tracing.flush(20)
look()
done.set()
with open({str(report)!r}, "w") as file:
    print(flushed, *sorted(seen), sep="\\n", file=file)
"""
    program = WATCH + (BUFFERED if storage == "buffered" else "") + PRELUDE + code
    redirections = " ".join(f"{number}>&-" for number in closed)
    with Endpoint() as endpoint:
        subprocess.run(
            ["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-c", program],
            env=environ(endpoint.url),
            check=True,
            timeout=2 * PATIENCE,
        )
    assert report.read_text().splitlines() == ["True"]
    assert sorted(endpoint.accepted) == sorted(sent(*range(7)))


@pytest.mark.fault(69)
@pytest.mark.parametrize("target", [os.devnull, "own"])
def test_an_application_takes_over_a_standard_descriptor_that_is_kept_free(tmp_path: Path, target: str) -> None:
    """Files that it opens as 0 to 2 while we open a file stay open, the null device too."""
    target = str(tmp_path / target)  # an absolute path stays as it is
    report = tmp_path / "report"
    code = f"""
import os
from automagik_telemetry._descriptors import standard_descriptors_kept
os.closerange(0, 3)
with standard_descriptors_kept():
    own = os.open({target!r}, os.O_RDWR | os.O_CREAT)
    for number in range(3):
        os.dup2(own, number)
same = [os.path.samestat(os.fstat(number), os.stat({target!r})) for number in range(3)]
with open({str(report)!r}, "w") as file:
    print(same, own > 2, file=file)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)
    assert report.read_text() == "[True, True, True] True\n"


def _open_file(folder: Path) -> None:
    with pytest.raises(OSError, match="closed by the application"):
        open_private(str(folder / "of ours"), os.O_RDWR | os.O_CREAT)


def _open_placeholder(_folder: Path) -> None:
    descriptors._open_placeholder().close()


def _connect(_folder: Path) -> None:
    transport = open_transport("http://127.0.0.1:9")
    transport.deadline = time.monotonic() + PATIENCE
    with pytest.raises(httpx.ConnectError, match="closed by the application"):
        transport.handle_request(httpx.Request("GET", "http://127.0.0.1:9"))
    transport.close()


@pytest.mark.fault(69)
@pytest.mark.parametrize("own", ["file", "socket"])
@pytest.mark.parametrize(
    "opens", [(os, "open", _open_file), (os, "memfd_create", _open_placeholder), (socket.socket, "__init__", _connect)]
)
def test_an_application_takes_over_a_number_the_moment_that_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, opens: tuple[Any, str, Callable[[Path], None]]
) -> None:
    """A file that it opens there before our check stays open."""
    module, function, open_ours = opens
    original = getattr(module, function)
    numbers: list[int] = []

    def take_over(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        numbers.append(arguments[0].fileno() if result is None else result)
        os.dup2(held.fileno(), numbers[-1])
        return result

    with contextlib.ExitStack() as stack:
        pair = [stack.enter_context(side) for side in socket.socketpair()]
        held = pair[0] if own == "socket" else stack.enter_context((tmp_path / "own").open("w"))
        with monkeypatch.context() as patch:
            patch.setattr(module, function, take_over)
            open_ours(tmp_path)
        assert len(numbers) == 1
        assert os.path.sameopenfile(numbers[0], held.fileno())
        os.close(numbers[0])


@pytest.mark.fault(71)
@pytest.mark.parametrize("size", [0, 100])
def test_a_buffered_queue_file_is_truncated(size: int) -> None:
    """Queued events are sent from memory, even if their file was changed."""
    code = f"""
from pathlib import Path
for number in range(3):
    log(number)
(file,) = Path(os.environ["AUTOMAGIK_STATE_DIR"]).rglob("*.json")
while file.stat().st_size == 0:
    time.sleep(0.01)
os.truncate(file, {size})
log(3)
emit(tracing.telemetry.get_metrics()["tracer"]["storage"])
emit(tracing.flush(20))
log(4)
emit(tracing.flush(20))
"""
    with Endpoint() as endpoint:
        ended = run(endpoint.url, code, BUFFERED + PRELUDE)
    assert (ended.status, ended.lines) == (0, ["buffered", "True", "True"])
    assert sorted(endpoint.accepted) == sorted(sent(*range(5)))
