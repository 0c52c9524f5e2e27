"""`make soak`: minutes of processes that log and are killed, and of an endpoint that fails in every way, at random.

It ends with the account of every event whose logging call has returned, and fails if one is missing:

    python -m tests.faults.soak --seconds 120 --processes 3 --threads 2 --rate 100
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import httpx

from automagik_telemetry.collector.server import Collector
from tests.faults.process import deliver, sent, start
from tests.faults.server import (
    Endpoint,
    Exchange,
    accept_and,
    black_hole,
    drip,
    hang_up,
    reply,
    reset,
)

if TYPE_CHECKING:
    from tests.faults.server import Answer, Request

WORKER = """
    def work(thread):
        number = {worker} * 10_000_000 + thread * 1_000_000
        while not done.is_set():
            log(number)
            emit(number)
            number += 1
            done.wait(random.random() * 2 / {rate})

    import random
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    threads = [threading.Thread(target=work, args=(thread,)) for thread in range({threads})]
    for thread in threads:
        thread.start()
    done.wait()
    for thread in threads:
        thread.join()
"""


def web_page(exchange: Exchange) -> None:
    """Answer as a captive portal does."""
    exchange.reply(200, b"<html>Log in</html>", content_type="text/html")


FAULTS: dict[str, Answer] = {
    "503": reply(503),
    "429, Retry-After": reply(429, b"", retry_after="1"),
    "black hole": black_hole,
    "dripping reply": drip(b"HTTP/1.1 200 OK\r\nX-Drip: "),
    "reset": reset,
    "hang up": hang_up,
    "accepted, then reset": accept_and(reset),
    "web page": web_page,
    "redirect": reply(302, b"", location="/elsewhere"),
    "413": reply(413),
    "400": reply(400),
}
VARIABLES = {
    "AUTOMAGIK_TRACE_SCHEDULE_DELAY": "0.2",
    "AUTOMAGIK_TRACE_EXPORT_TIMEOUT": "0.5",
    "AUTOMAGIK_TRACE_BATCH_SIZE": "200",
}


class Unreliable(Endpoint):
    """An endpoint that fails every third request at random, and forwards accepted events to a collector."""

    def __init__(self, drawn: random.Random, collector: str) -> None:
        super().__init__()
        self.client = httpx.Client(base_url=collector, trust_env=False)
        self.drawn = drawn
        self.reliable = False
        self.asked = 0
        self.faults: Counter[str] = Counter()
        self.rejected: set[str] = set()

    def next_answer(self, request: Request) -> Answer:
        """Draw an answer, and record permanently rejected events."""
        self.asked += 1
        if self.reliable or self.drawn.random() > 1 / 3:
            return reply()
        fault = self.drawn.choice(list(FAULTS))
        self.faults[fault] += 1
        ids = request.span_ids()
        if fault == "400" or (fault == "413" and len(ids) == 1):
            self.rejected |= set(ids)
        return FAULTS[fault]

    def accept(self, request: Request) -> None:
        """Hand the events on to the collector."""
        handed = self.client.post("/v1/traces", content=request.body, headers={"content-type": "application/json"})
        handed.raise_for_status()
        super().accept(request)

    def server_close(self) -> None:
        """Close the connection to the collector, too."""
        super().server_close()
        self.client.close()


class Worker:
    """A process that logs, and prints the number of each logging call that has returned."""

    def __init__(self, number: int, url: str, options: argparse.Namespace) -> None:
        code = WORKER.format(worker=number, rate=options.rate, threads=options.threads)
        self.process = start(url, code, **VARIABLES)
        self.returned: list[int] = []
        self.thread = threading.Thread(target=self.listen)
        self.thread.start()

    def listen(self) -> None:
        """Store the lines of the process, except one that its death has truncated."""
        assert self.process.stdout is not None
        self.returned += [int(line) for line in self.process.stdout if line.endswith("\n")]

    def end(self, number: int) -> str:
        """Send a signal, wait for the end, and return the stderr."""
        assert self.process.stderr is not None
        with self.process:
            self.process.send_signal(number)
            self.thread.join()
            return self.process.stderr.read()

    def memory(self) -> int:
        """Return the resident memory in KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0])


def soak(options: argparse.Namespace, database: Path) -> dict[str, object]:
    """Run, and return the result. The first worker lives to the end, the others are killed in turn."""
    drawn = random.Random(options.seed)
    deadline = time.monotonic() + options.seconds
    ended: list[Worker] = []
    errors = ""
    memory: list[int] = []
    with Collector(database) as collector, Unreliable(drawn, collector.url) as endpoint:
        workers = [Worker(number, endpoint.url, options) for number in range(options.processes)]
        while time.monotonic() < deadline:
            time.sleep(min(drawn.uniform(0.5, 2.0), options.seconds / 4))
            memory.append(workers[0].memory())
            victim = workers.pop()
            errors += victim.end(drawn.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            ended.append(victim)
            workers.append(Worker(len(ended) + options.processes, endpoint.url, options))
        for worker in workers:
            errors += worker.end(signal.SIGTERM)
        endpoint.reliable = True
        deliver(endpoint)
        left = len(list(Path(os.environ["AUTOMAGIK_STATE_DIR"]).rglob("*.json")))
    returned = set(sent(*(number for worker in (*workers, *ended) for number in worker.returned)))
    with duckdb.connect(str(database)) as connection:
        stored = [span for (span,) in connection.execute("SELECT SpanId FROM otel_traces").fetchall()]
    store = set(stored)
    return {
        "events whose logging call returned": len(returned),
        "delivered": len(returned & store),
        "rejected by the endpoint": len(returned & endpoint.rejected - store),
        "lost": len(returned - store - endpoint.rejected),
        "left on disk": left,
        "sent again, and kept once": len(endpoint.accepted) - len(store),
        "duplicated in the store": len(stored) - len(store),
        "unknown to their processes": len(store - returned),
        "processes ended": len(ended),
        "of them by SIGKILL": sum(worker.process.returncode == -signal.SIGKILL for worker in ended),
        "requests": endpoint.asked,
        "faults": dict(endpoint.faults),
        "memory in KiB, first and last third of the run": [
            sum(part) // max(len(part), 1) for part in (memory[: len(memory) // 3], memory[-len(memory) // 3 :])
        ],
        "on stderr": errors,
    }


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments, run and print the result; return 1 if an event is missing or stderr is not empty."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="in each process")
    parser.add_argument("--rate", type=float, default=100.0, help="events a second in each thread")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AUTOMAGIK_STATE_DIR"] = f"{folder}/state"
        result = soak(options, Path(folder, "store.duckdb"))
    for name, value in {"seed": options.seed, **result}.items():
        sys.stdout.write(f"{name}: {value}\n")
    return int(any(result[name] for name in ("lost", "left on disk", "duplicated in the store", "on stderr")))


if __name__ == "__main__":
    sys.exit(main())
