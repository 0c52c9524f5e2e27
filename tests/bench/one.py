"""One measurement in its own process: `python -m tests.bench.one SCENARIO CLIENT URL NUMBER [--constant]`.

It prints its figures as JSON. Times are in microseconds per event unless the scenario says otherwise.
`events` is the number of events that the endpoint should have received.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import threading
import time
from typing import TYPE_CHECKING

from tests.bench.clients import CLIENTS, Client
from tests.bench.events import NAME, Fields, events

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.plan import Figures

_DISTINCT = 1_000
"""Number of distinct events; a longer scenario repeats them."""
_WARM_UP = 100
_CALLS = 20_000
_RATE = 1_000
_THREADS = 4


def burst(client: Client, number: int, each: list[Fields]) -> Figures:
    """Log as fast as possible: process CPU per event until all are delivered, then the time of single calls."""
    _warm_up(client, each)
    started = time.process_time()
    for index in range(number):
        client.log(each[index % _DISTINCT])
    client.deliver()
    cpu = (time.process_time() - started) / number * 1e6
    calls = _calls(client, _CALLS, each)
    client.deliver()
    return {"cpu": cpu, **calls, "events": _WARM_UP + number + _CALLS}


def _warm_up(client: Client, each: list[Fields]) -> None:
    """Deliver a hundred events, because `starting` measures imports and first-event work separately."""
    for fields in each[:_WARM_UP]:
        client.log(fields)
    client.deliver()


def _calls(client: Client, number: int, each: list[Fields]) -> Figures:
    took, clock = [], time.perf_counter_ns
    for index in range(number):
        fields = each[index % _DISTINCT]
        begun = clock()
        client.log(fields)
        took.append(clock() - begun)
    took.sort()
    shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    return {name: took[int(len(took) * share)] / 1e3 for name, share in shares.items()}


def paced(client: Client, seconds: int, each: list[Fields]) -> Figures:
    """Log 1,000 events a second: process CPU per event until all are delivered."""
    _warm_up(client, each)
    started, cpu = time.perf_counter(), time.process_time()
    for index in range(_RATE * seconds):
        client.log(each[index % _DISTINCT])
        time.sleep(max(0.0, started + (index + 1) / _RATE - time.perf_counter()))
    client.deliver()
    return {"cpu": (time.process_time() - cpu) / _RATE / seconds * 1e6, "events": _WARM_UP + _RATE * seconds}


def busy(client: Client, number: int, each: list[Fields]) -> Figures:
    """Log beside a CPU-bound thread: the time of single calls."""
    _warm_up(client, each)
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            sum(range(1_000))

    thread = threading.Thread(target=work)
    thread.start()
    calls = _calls(client, number, each)
    done.set()
    thread.join()
    client.deliver()
    return {**calls, "events": _WARM_UP + number}


def threads(client: Client, number: int, each: list[Fields]) -> Figures:
    """Log from one thread, then from four at once: elapsed time and CPU of four as multiples of one."""

    def work(count: int) -> None:
        for index in range(count):
            client.log(each[index % _DISTINCT])

    def timed(count: int) -> tuple[float, float]:
        started, cpu = time.perf_counter(), time.process_time()
        workers = [threading.Thread(target=work, args=(number // count,)) for _ in range(count)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        elapsed = time.perf_counter() - started
        client.deliver()
        return elapsed, time.process_time() - cpu

    timed(1)
    one, four = timed(1), timed(_THREADS)
    return {"elapsed": four[0] / one[0], "cpu": four[1] / one[1], "events": 2 * number + number // _THREADS * _THREADS}


def down(client: Client, number: int, each: list[Fields]) -> Figures:
    """Log with this package while the endpoint is down: MiB kept, and events missing from the delivery stats."""
    from automagik_telemetry import get_tracing_manager

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index in range(number):
        client.log(each[index % _DISTINCT])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    telemetry = get_tracing_manager().telemetry
    assert telemetry is not None
    stats = telemetry.get_metrics()["tracer"]
    files = [
        entry.stat() for folder, _, _ in os.walk(os.environ["AUTOMAGIK_STATE_DIR"]) for entry in os.scandir(folder)
    ]
    return {
        "disk": sum(file.st_blocks * 512 for file in files) / 2**20,
        "queue": stats["pending_bytes"] / 2**20,
        "resident": grown / 2**10,
        "dropped": stats["dropped"],
        "unaccounted": number - stats["dropped"] - stats["pending"] - stats["processed"],
    }


def ending(client: Client, number: int, each: list[Fields]) -> Figures:
    """Log, then report the monotonic time in seconds at which only process exit remains."""
    for index in range(number):
        client.log(each[index % _DISTINCT])
    return {"ends": time.monotonic()}


def agents(client: Client, distinct: int, each: list[Fields]) -> Figures:
    """Log a burst with `distinct` agent names that are not on the allowlist."""
    names = [f"agent {number}" for number in range(distinct)]
    return _cpu(client, lambda index: each[index % _DISTINCT] | {"agent_name": names[index % distinct]})


def attributes(_client: Client, number: int, _each: list[Fields]) -> Figures:
    """Log a burst of events with `number` attributes, all of them declared."""
    from automagik_processors import Anonymize, Count, OTLPSpan, Sample, Word, merge_context
    from automagik_telemetry import ChainFormatter, telemetry_handler

    names = [f"attribute_{index}" for index in range(number)]
    catalogue = {NAME: {name: Word() if index % 2 else Count() for index, name in enumerate(names)}}
    handler = telemetry_handler()
    anonymize = Anonymize(catalogue, {"simple"}, key=b"none")
    handler.setFormatter(ChainFormatter([merge_context, anonymize, Sample(), OTLPSpan("event.")]))
    logger = logging.Logger("attributes", logging.INFO)
    logger.addHandler(handler)
    fields = {name: "simple" if index % 2 else index for index, name in enumerate(names)}
    client = Client(lambda given: logger.info(NAME, extra=given), handler.force_flush)
    return _cpu(client, lambda _index: fields)


def _cpu(client: Client, fields: Callable[[int], Fields], number: int = 10_000) -> Figures:
    for index in range(1_000):
        client.log(fields(index))
    client.deliver()
    started = time.process_time()
    for index in range(number):
        client.log(fields(index))
    client.deliver()
    return {"cpu": (time.process_time() - started) / number * 1e6, "events": number + 1_000}


def delivers(client: Client, number: int, each: list[Fields]) -> Figures:
    """Log a few events."""
    for fields in each[:number]:
        client.log(fields)
    client.deliver()
    return {"events": number}


def importing(_client: None, _number: int, _each: list[Fields]) -> Figures:
    """Import what every structured application imports, then this package: milliseconds of CPU for the latter."""
    import logging.config  # noqa: F401 - not measured

    import structlog  # noqa: F401 - not measured

    started = time.process_time()
    import automagik_telemetry  # noqa: F401 - measured

    return {"ms": (time.process_time() - started) * 1e3}


def starting(_client: None, opted_in: int, each: list[Fields]) -> Figures:
    """Import this package, configure it and log one event: milliseconds of CPU."""
    import logging.config

    import structlog  # noqa: F401 - not measured

    enabled = "true" if opted_in else ""
    os.environ |= {"AUTOMAGIK_TELEMETRY_ENABLED": enabled, "AUTOMAGIK_ENABLE_TRACING_IN_CI": "true"}
    started = time.process_time()
    from automagik_telemetry import configure

    configure()
    logging.getLogger("automagik.agents").info(NAME, extra=each[0])
    return {"ms": (time.process_time() - started) * 1e3}


def main(scenario: str, client: str, url: str, number: str, *options: str) -> None:
    """Measure and print."""
    output = sys.stdout  # a client may replace it
    made = CLIENTS[client](url) if client else None
    each = events(_DISTINCT, constant="--constant" in options)
    figures = globals()[scenario](made, int(number), each)
    output.write(json.dumps(figures) + "\n")
    output.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
