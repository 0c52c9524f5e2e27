"""One measurement, in a process of its own: `python -m tests.bench.one SCENARIO CLIENT URL NUMBER` prints its figures.

Times are in microseconds for each event unless it says otherwise; `events` is how many the endpoint should have got.
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

from tests.bench.clients import CLIENTS, Client, Fields, events

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.plan import Figures

_RATE = 1_000
_THREADS = 4


def burst(client: Client, number: int) -> Figures:
    """Log as fast as possible: CPU of the process for each event until it is delivered; then the time of each call."""
    each = _begun(client)
    started = time.process_time()
    for index in range(number):
        client.log(each[index % 1_000])
    client.deliver()
    cpu = (time.process_time() - started) / number * 1e6
    calls = _calls(client, 20_000)
    client.deliver()
    return {"cpu": cpu, **calls, "events": number + 20_100}


def _begun(client: Client) -> list[Fields]:
    """Deliver a hundred events, for what is imported and built for the first is measured by itself; return events."""
    each = events()
    for fields in each[:100]:
        client.log(fields)
    client.deliver()
    return each


def _calls(client: Client, number: int) -> Figures:
    each, took, clock = events(), [], time.perf_counter_ns
    for index in range(number):
        fields = each[index % 1_000]
        begun = clock()
        client.log(fields)
        took.append(clock() - begun)
    took.sort()
    shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    return {name: took[int(len(took) * share)] / 1e3 for name, share in shares.items()}


def paced(client: Client, seconds: int) -> Figures:
    """Log a thousand events a second: CPU of the process for each event until it is delivered."""
    each = _begun(client)
    started, cpu = time.perf_counter(), time.process_time()
    for index in range(_RATE * seconds):
        client.log(each[index % 1_000])
        time.sleep(max(0.0, started + (index + 1) / _RATE - time.perf_counter()))
    client.deliver()
    return {"cpu": (time.process_time() - cpu) / _RATE / seconds * 1e6, "events": _RATE * seconds + 100}


def busy(client: Client, number: int) -> Figures:
    """Log beside a thread that never waits: the time of each call."""
    _begun(client)
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            sum(range(1_000))

    thread = threading.Thread(target=work)
    thread.start()
    calls = _calls(client, number)
    done.set()
    thread.join()
    client.deliver()
    return {**calls, "events": number + 100}


def threads(client: Client, number: int) -> Figures:
    """Log from one thread, then from four at once: real time and CPU for each event, as ratios."""
    each = events()

    def work(count: int) -> None:
        for index in range(count):
            client.log(each[index % 1_000])

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


def down(client: Client, number: int) -> Figures:
    """Log while the endpoint is down: what is kept, of our own client, in MiB, and events that nobody accounts for."""
    from automagik_telemetry import get_tracing_manager

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    each = events()
    for index in range(number):
        client.log(each[index % 1_000])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    telemetry = get_tracing_manager().telemetry
    assert telemetry is not None
    account = telemetry.get_metrics()["tracer"]
    files = [
        entry.stat() for folder, _, _ in os.walk(os.environ["AUTOMAGIK_STATE_DIR"]) for entry in os.scandir(folder)
    ]
    return {
        "disk": sum(file.st_blocks * 512 for file in files) / 2**20,
        "queue": account["pending_bytes"] / 2**20,
        "resident": grown / 2**10,
        "dropped": account["dropped"],
        "unaccounted": number - account["dropped"] - account["pending"] - account["processed"],
    }


def ending(client: Client, number: int) -> Figures:
    """Log, and say when (s, since the machine started) nothing is left but to end."""
    each = events()
    for index in range(number):
        client.log(each[index % 1_000])
    return {"ends": time.monotonic()}


def agents(client: Client, distinct: int) -> Figures:
    """Log a burst of events of so many agents that nobody declared."""
    each = events()
    names = [f"agent {number}" for number in range(distinct)]
    return _cpu(client, lambda index: each[index % 1_000] | {"agent_name": names[index % distinct]})


def attributes(_client: Client, number: int) -> Figures:
    """Log a burst of events with so many attributes, all of them declared."""
    from automagik_processors import Anonymize, Count, OTLPSpan, Sample, Word, merge_context
    from automagik_telemetry import ChainFormatter, telemetry_handler

    names = [f"attribute_{index}" for index in range(number)]
    catalogue = {"agent.run": {name: Word() if index % 2 else Count() for index, name in enumerate(names)}}
    handler = telemetry_handler()
    anonymize = Anonymize(catalogue, {"simple"}, key=b"none")
    handler.setFormatter(ChainFormatter([merge_context, anonymize, Sample(), OTLPSpan("event.")]))
    logger = logging.Logger("attributes", logging.INFO)
    logger.addHandler(handler)
    fields = {name: "simple" if index % 2 else index for index, name in enumerate(names)}
    client = Client(lambda given: logger.info("agent.run", extra=given), handler.force_flush)
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


def delivers(client: Client, number: int) -> Figures:
    """Log a few events."""
    each = events(number)
    for fields in each:
        client.log(fields)
    client.deliver()
    return {"events": number}


def importing(_client: None, _number: int) -> Figures:
    """Import what every structured application imports, then us: milliseconds of CPU on top."""
    import logging.config  # noqa: F401 - measured by being imported

    import structlog  # noqa: F401

    started = time.process_time()
    import automagik_telemetry  # noqa: F401

    return {"ms": (time.process_time() - started) * 1e3}


def starting(_client: None, opted_in: int) -> Figures:
    """Import what every structured application imports, then us, configure and log: milliseconds of CPU on top."""
    import logging.config

    import structlog  # noqa: F401 - see above

    enabled = "true" if opted_in else ""
    os.environ |= {"AUTOMAGIK_TELEMETRY_ENABLED": enabled, "AUTOMAGIK_ENABLE_TRACING_IN_CI": "true"}
    (fields,) = events(1)
    started = time.process_time()
    from automagik_telemetry import configure

    configure()
    logging.getLogger("automagik.agents").info("agent.run", extra=fields)
    return {"ms": (time.process_time() - started) * 1e3}


def main(scenario: str, client: str, url: str, number: str) -> None:
    """Measure and print."""
    made = CLIENTS[client](url) if client else None
    figures = globals()[scenario](made, int(number))
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
