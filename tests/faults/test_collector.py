"""SIGKILL and a full disk in each step of a collector: nothing acknowledged is lost, and nothing is stored twice."""

from __future__ import annotations

import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import duckdb
import httpx
import pytest

from automagik_telemetry.collector._store import Store

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

pytestmark = [
    pytest.mark.fault(127),
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="there is neither SIGKILL nor a limit of file sizes"),
]

SENDERS = 4
KILLS = 5
DAY = 86_400

# A collector that maintains its store all the time, and prints a line when a step begins and when it ends.
SERVER = """
import sys
from automagik_telemetry.collector._store import Store
from automagik_telemetry.collector.server import Collector

path, step = sys.argv[1:]
method = getattr(Store, step)

def announced(store, *arguments):
    print("begins", flush=True)
    try:
        return method(store, *arguments)
    finally:
        print("ends", flush=True)

setattr(Store, step, announced)
Store.maintain = lambda store: (store.roll(), store.expire(), store.compact())
with Collector(path, keep_seconds=86_400, maintenance_interval=0.02) as collector:
    print(collector.url, file=sys.stderr, flush=True)
    collector.wait()
"""

# A store whose files may not grow while a step runs; later they may.
FULL_DISK = """
import resource, sys, time
from pathlib import Path
from automagik_telemetry.collector._catalogue import Catalogue
from automagik_telemetry.collector._errors import StoreError
from automagik_telemetry.collector._gate import Gate
from automagik_telemetry.collector._items import trace_items
from automagik_telemetry.collector._store import Store

path, step, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def items(number, days):
    start = str(time.time_ns() - days * 86_400 * 10**9)
    spans = [
        {"traceId": f"{number:032x}", "spanId": f"{number * 10_000 + i:016x}", "name": "feature.used",
            "startTimeUnixNano": start, "attributes":
            [{"key": "event.feature_name", "value": {"stringValue": f"f{i}"}}]}
        for i in range(1, 1_001)
    ]
    return trace_items({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}, Gate(Catalogue())).items

with Store(path, keep_seconds=86_400) as store:
    for number in range(1, 5):
        store.add(items(number, 3 * (number % 2)))
    if step == "expire":
        store.roll()
    steps = {
        "roll": store.roll, "expire": store.expire, "compact": store.compact,
        "export": lambda: store.export(path.with_name("events.csv")),
        "backup": lambda: store.backup(path.with_name("backup.duckdb")),
    }
    late = items(5, 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    failed = 0
    for action in (steps[step], steps[step], lambda: store.add(late)):
        try:
            action()
        except StoreError:
            failed += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.add(late)
    steps[step]()
print(failed)
"""


class _Process:
    """A running server, which announces a step."""

    def __init__(self, store: Path, step: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(store), step], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        self.url = self._process.stderr.readline().strip()
        self._begun: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._lasted = 0.0
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        begun = 0.0
        for line in self._process.stdout:
            if line == "begins\n":
                begun = time.monotonic()
                self._begun.put(None)
            else:
                self._lasted = time.monotonic() - begun

    def kill_in_step(self) -> None:
        """Kill it at a moment between the beginning of a step and its end, if it takes as long as the one before."""
        while not self._begun.empty():
            self._begun.get()
        self._begun.get(timeout=60)
        time.sleep(random.uniform(0, self._lasted))
        self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Kill it, so that its senders end too. A second call has no effect."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._thread.join()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


def _request(spans: int) -> dict[str, Any]:
    made = [
        {
            "traceId": os.urandom(16).hex(),
            "spanId": os.urandom(8).hex(),
            "name": "feature.used",
            "startTimeUnixNano": str(time.time_ns() - random.choice((0, 3)) * DAY * 10**9),
            "attributes": [{"key": "event.feature_name", "value": {"stringValue": "search"}}],
        }
        for _ in range(spans)
    ]
    return {"resourceSpans": [{"scopeSpans": [{"spans": made}]}]}


def _ids(request: dict[str, Any]) -> list[str]:
    return [span["spanId"] for span in request["resourceSpans"][0]["scopeSpans"][0]["spans"]]


def _stored(store: Path) -> tuple[list[str], int, int]:
    """Return the IDs of the spans as they came, and the numbers of events: typed (and final), and rolled up."""
    with Store(store, keep_seconds=DAY) as opened:
        opened.roll()
        opened.expire()
    with duckdb.connect(store) as database:
        spans = [str(row[0]) for row in database.execute("SELECT SpanId FROM otel_traces").fetchall()]
        count = "(SELECT count(*) FROM events) + coalesce(sum(events) FILTER (WHERE final), 0)"
        ((events, rolled),) = database.execute(f"SELECT {count}, sum(events) FROM daily").fetchall()  # noqa: S608 - above
    return spans, int(events), int(rolled)


@pytest.mark.parametrize("step", ["add", "roll", "expire", "compact"])
def test_a_killed_collector_loses_nothing_that_it_acknowledged(tmp_path: Path, step: str) -> None:
    """Four senders, one with batches, lose the collector five times in a step; then they send everything again."""
    store = tmp_path / "collector.duckdb"
    sent: list[dict[str, Any]] = []
    acknowledged: set[str] = set()

    def send(url: str, spans: int) -> None:
        with suppress(httpx.HTTPError), httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            while True:
                request = _request(spans)
                sent.append(request)
                client.post("/v1/traces", json=request).raise_for_status()
                acknowledged.update(_ids(request))

    for _ in range(KILLS):
        with _Process(store, step) as process:
            threads = [
                threading.Thread(target=send, args=(process.url, 1 if number else 200)) for number in range(SENDERS)
            ]
            before = len(acknowledged)
            for thread in threads:
                thread.start()
            until = time.monotonic() + 60
            while len(acknowledged) < before + 300 and time.monotonic() < until:
                time.sleep(0.01)
            process.kill_in_step()
        for thread in threads:
            thread.join()
        assert len(acknowledged) > before
    spans, events, rolled = _stored(store)
    assert acknowledged <= set(spans)
    assert len(spans) == len(set(spans)) == events == rolled

    with (
        _Process(store, step) as process,
        httpx.Client(base_url=process.url, trust_env=False, timeout=30) as client,
    ):
        for request in sent:
            client.post("/v1/traces", json=request).raise_for_status()
    spans, events, rolled = _stored(store)
    assert sorted(spans) == sorted(span for request in sent for span in _ids(request))
    assert len(spans) == events == rolled
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("limit", [20_000, 300_000])
@pytest.mark.parametrize("step", ["roll", "expire", "compact", "export", "backup"])
def test_a_full_disk_during_maintenance_loses_nothing(tmp_path: Path, step: str, limit: int) -> None:
    """The step fails, or is done; later the store has everything once, and no half-written file is left."""
    store = tmp_path / "collector.duckdb"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(store), step, str(limit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.stderr == ""
    assert int(done.stdout) > 0
    spans, events, rolled = _stored(store)
    assert len(spans) == len(set(spans)) == events == rolled == 5_000
    assert not list(tmp_path.glob(".*"))
