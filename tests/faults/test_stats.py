"""The delivery stats are exact for all causes of drops, also after kills."""

from __future__ import annotations

import json
import mmap
import random
import signal
import struct
import subprocess
import sys
import time
from contextlib import ExitStack
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.faults.process import deliver, environ, many, run, start
from tests.faults.server import PATIENCE, Endpoint, reply

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.server import Answer, Exchange

PROCESSES = 3
MAX_EVENTS_AT_ONCE = 15
SETTINGS = {
    "AUTOMAGIK_TRACE_QUEUE_SIZE": "60",
    "AUTOMAGIK_TRACE_BATCH_SIZE": "25",
    "AUTOMAGIK_TRACE_SCHEDULE_DELAY": "0.05",
    "AUTOMAGIK_SAMPLING_RATE": "0.6",
}
LOG_FOREVER = """
import mmap, struct
with open({counter!r}, "r+b") as file:
    returned = mmap.mmap(file.fileno(), 8)
for number in range({first}, {first} + 1_000_000):
    if number % 5 == 4:
        events.info("an.event.of.nobody")
    else:
        log(number)
    returned[:] = struct.pack("q", number - {first} + 1)
    if number % 10 == 0:
        time.sleep(0.001)
"""


class Totals(NamedTuple):
    """The stats of all events of a destination, over all processes."""

    delivered: int
    dropped: dict[str, int]
    pending: int

    def logged(self) -> int:
        """Return how many events there were."""
        return self.delivered + sum(self.dropped.values()) + self.pending


def totals(url: str) -> Totals:
    """Return the totals of the only destination, as `status` has them."""
    status = subprocess.run(
        [sys.executable, "-m", "automagik_telemetry", "status", "--json"],
        env=environ(url),
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    (found,) = json.loads(status.stdout)["destinations"]
    return Totals(found["delivered"], found["dropped"], found["pending"])


def moody() -> Answer:
    """Return an answer with a low limit that in turn accepts, rejects all or one, or responds with 503."""
    moods = cycle(["reject", "accept", "reject one", "accept", "hold"])

    def answer(exchange: Exchange) -> None:
        ids = exchange.received.span_ids()
        mood = "split" if len(ids) > MAX_EVENTS_AT_ONCE else next(moods)
        if mood == "split":
            exchange.reply(413, b"")
        elif mood == "reject":
            exchange.reply(400, b'{"code":3,"message":"no"}', content_type="application/json")
        elif mood == "reject one":
            exchange.endpoint.accepted += ids[1:]
            exchange.reply(200, b'{"partialSuccess":{"rejectedSpans":"1"}}', content_type="application/json")
        elif mood == "hold":
            exchange.reply(503, b"", retry_after="0")
        else:
            reply()(exchange)

    return answer


def log_until_killed(url: str, folder: Path, round_: int, source: random.Random) -> int:
    """Let processes log at once, kill each at a random moment, and return how many of their calls returned."""
    running: list[tuple[mmap.mmap, subprocess.Popen[str]]] = []
    with ExitStack() as stack:
        for number in range(PROCESSES):
            path = folder / f"returned-{round_}-{number}"
            path.write_bytes(bytes(8))
            with path.open("r+b") as file:
                counter = stack.enter_context(mmap.mmap(file.fileno(), 8))
            first = (round_ * PROCESSES + number) * 1_000_000
            process = start(url, LOG_FOREVER.format(counter=str(path), first=first), **SETTINGS)
            stack.enter_context(process)
            stack.callback(process.kill)
            running.append((counter, process))
        for counter, process in running:
            # The first long enough for everything to happen, the others at any moment after it.
            target = 2000 + source.randrange(1000) if counter is running[0][0] else source.randrange(6000)
            while returned(counter) < target and process.poll() is None:
                time.sleep(0.001)
            process.kill()
            assert process.wait(PATIENCE) == -signal.SIGKILL
        return sum(returned(counter) for counter, _ in running)


def returned(counter: mmap.mmap) -> int:
    """Return how many logging calls have returned in the process that writes to this counter."""
    return int(struct.unpack("q", counter[:])[0])


@pytest.mark.fault(24, 85)
def test_kills_while_events_are_dropped_for_every_reason(tmp_path: Path) -> None:
    """Delivered, dropped by reason and pending events are all that was logged, up to the call that was killed."""
    source = random.Random(85)
    logged = kills = 0
    with Endpoint(moody()) as endpoint:
        for round_ in range(many(4, 40)):
            logged += log_until_killed(endpoint.url, tmp_path, round_, source)
            kills += PROCESSES
            found = totals(endpoint.url)
            assert logged <= found.logged() <= logged + kills, (round_, logged, found)
        endpoint.answers = [reply()]
        deliver(endpoint)
        found = totals(endpoint.url)
    assert found.pending == 0
    assert logged <= found.logged() <= logged + kills, (logged, found)
    assert {"queue_full", "rejected"} < found.dropped.keys()
    assert found.delivered <= len(set(endpoint.accepted))


@pytest.mark.fault(85)
def test_events_of_other_processes_are_counted_apart() -> None:
    """A process that sends what others left counts its own events only; the destination's totals have them all."""
    code = """
        log(10)
        emit(tracing.flush(20))
        tracer = tracing.telemetry.get_metrics()["tracer"]
        emit([tracer[name] for name in ("queued", "processed", "dropped", "pending")])
    """
    with Endpoint() as endpoint:
        run(endpoint.url, "for number in range(5): log(number)\nos._exit(0)")
        assert totals(endpoint.url) == (0, {}, 5)
        assert run(endpoint.url, code).lines == ["True", "[1, 1, 0, 0]"]
        assert totals(endpoint.url) == (6, {}, 0)
    assert len(endpoint.accepted) == 6
