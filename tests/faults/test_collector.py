"""SIGKILL of a collector while many send: nothing that was acknowledged is lost, and nothing is stored twice."""

from __future__ import annotations

import os
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

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = (sys.executable, "-c", "from automagik_telemetry.cli import main; main()", "collector", "--port", "0")
SENDERS = 8
KILLS = 2


def _start(store: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen([*COMMAND, "--store", str(store)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    return process, process.stderr.readline().split()[3].rstrip(",")


def _request(spans: int) -> dict[str, Any]:
    made = [
        {
            "traceId": os.urandom(16).hex(),
            "spanId": os.urandom(8).hex(),
            "name": "feature.used",
            "startTimeUnixNano": str(time.time_ns()),
            "attributes": [{"key": "event.feature_name", "value": {"stringValue": "search"}}],
        }
        for _ in range(spans)
    ]
    return {"resourceSpans": [{"scopeSpans": [{"spans": made}]}]}


def _ids(request: dict[str, Any]) -> list[str]:
    return [span["spanId"] for span in request["resourceSpans"][0]["scopeSpans"][0]["spans"]]


def _stored(store: Path) -> tuple[list[str], int]:
    with duckdb.connect(store) as database:
        spans = [str(row[0]) for row in database.execute("SELECT SpanId FROM otel_traces").fetchall()]
        (events,) = database.execute("SELECT count(*) FROM events").fetchall()[0]
    return spans, int(events)


@pytest.mark.fault(127)
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_collector_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """Eight senders, some with batches, lose the collector twice; then they send everything again."""
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
        process, url = _start(store)
        before = len(acknowledged)
        threads = [threading.Thread(target=send, args=(url, 1 if number else 200)) for number in range(SENDERS)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 60
        while len(acknowledged) < before + random.randrange(50, 500) and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for thread in threads:
            thread.join()
    spans, events = _stored(store)
    assert acknowledged
    assert acknowledged <= set(spans)
    assert len(spans) == len(set(spans)) == events

    process, url = _start(store)
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        for request in sent:
            client.post("/v1/traces", json=request).raise_for_status()
    process.terminate()
    process.communicate()
    spans, events = _stored(store)
    assert sorted(spans) == sorted(span for request in sent for span in _ids(request))
    assert events == len(spans)
