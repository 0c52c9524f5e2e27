"""Interoperability with rotel, a receiver of another project: it accepts our requests and forwards the same values."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from automagik_telemetry.collector.server import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

# Logs each kind of event twice, with the values that break naive encoders, and prints the account.
APPLICATION = """
import json, logging
from automagik_telemetry import configure, declare
from automagik_telemetry.telemetry import cli_events as events

declare("agent zero")
manager = configure()
telemetry = manager.telemetry
for success in (True, False):
    telemetry.track_event(events.AgentExecutionEvent("agent zero", "agno", success, 0.0, False, 0))
    telemetry.track_event(events.CLICommandEvent("agent list", success, 12.5, item_count=0, exit_code=int(not success)))
    telemetry.track_event(events.APIRequestEvent("unmatched", "GET", 200 if success else 500, 86_400_000.0))
    telemetry.track_event(events.FeatureUsageEvent("agents", "cli"))
    telemetry.track_event(events.ErrorEvent("ValueError", "agent.simple"))
    telemetry.track_event(events.StartupEvent())
    telemetry.track_event(events.FrameworkSelectedEvent("agno", "simple"))
    telemetry.track_event(events.WorkflowStartedEvent("workflow"))
    telemetry.track_event(events.WorkflowCompletedEvent("workflow", success, 3.25, 10**11))
    name = "nobody declared me \\u2603"
    telemetry.track_event(events.AgentExecutionEvent(name, "agno", success, 1e-9, True, 10**12))
settled = manager.flush(20)
print(json.dumps({"settled": settled, **telemetry.get_metrics()}))
"""


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def rotel(exports_to: str) -> Iterator[str]:
    """Run rotel's agent, which forwards requests as protobuf; yield its URL."""
    spec = importlib.util.find_spec("rotel")
    if spec is None:
        pytest.skip("rotel has no wheel for this Python")
    assert spec.origin is not None
    port = free_port()
    arguments = [
        str(Path(spec.origin).parent / "rotel-agent"), "start",
        "--otlp-http-endpoint", f"127.0.0.1:{port}", "--otlp-grpc-endpoint", f"127.0.0.1:{free_port()}",
        "--exporter", "otlp", "--otlp-exporter-endpoint", exports_to, "--otlp-exporter-protocol", "http",
        "--batch-timeout", "50ms",
    ]  # fmt: skip
    # Its binary looks for this Python's shared library where the system keeps its own.
    libraries = sysconfig.get_config_var("LIBDIR")
    if not list(Path(libraries).glob(f"**/libpython{sys.version_info[0]}.{sys.version_info[1]}.so*")):
        pytest.skip("rotel's agent needs Python's shared library, which this Python was built without")
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
    agent = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert agent.poll() is None, "rotel ended"
                assert time.monotonic() < deadline, "rotel does not listen"
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        agent.terminate()
        agent.wait(10)


def arrived(collector: Collector, runs: int) -> None:
    """Wait until the collector has stored that many runs of agents."""
    deadline = time.monotonic() + 30
    while sum(row["count"] for row in collector.report()["framework_preference"]) < runs:
        assert time.monotonic() < deadline, "the events did not arrive"
        time.sleep(0.05)


@pytest.mark.parametrize("signal", ["traces", "logs"])
def test_rotel_takes_all_and_changes_nothing(tmp_path: Path, signal: str) -> None:
    """Nothing is rejected, and what comes out of rotel equals, value by value, what goes straight into our store."""
    traces, logs = ("otel_traces", "SpanName", "SpanAttributes"), ("otel_logs", "EventName", "LogAttributes")
    table, name, attributes = traces if signal == "traces" else logs
    sql = f"SELECT {name}, {attributes}, ResourceAttributes, ServiceName FROM {table} ORDER BY Timestamp, SpanId"  # noqa: S608 - our own words
    results, received = [], []
    for through_rotel in (False, True):
        store = tmp_path / f"{through_rotel}.duckdb"
        with Collector(store) as collector:
            between = rotel(collector.url) if through_rotel else nullcontext(collector.url)
            with between as url:
                results.append(send(tmp_path, f"{url}/v1/{signal}"))
                arrived(collector, runs=4)
        with duckdb.connect(str(store), read_only=True) as connection:
            received.append(connection.execute(sql).fetchall())
    for result in results:
        assert result["settled"]
        assert result["tracer"]["processed"] == result["tracer"]["queued"] == 20
        assert result["last_error"] is None
    assert [len(found) for found in received] == [20, 20]
    straight, handed_on = [sorted(map(normal, found)) for found in received]
    assert straight == handed_on


def normal(row: tuple[Any, ...]) -> str:
    """Return a row as text, without what differs from one process or recipient to the next."""
    event, attributes, resource, service = row
    resource = {key: value for key, value in resource.items() if key not in {"session.id", "user.id"}}
    attributes = {key: value for key, value in attributes.items() if key != "log.record.uid"}
    text = json.dumps([event, attributes, resource, service], sort_keys=True)
    return re.sub("custom-[0-9a-f]{16}", "custom-", text)


def send(folder: Path, endpoint: str) -> dict[str, Any]:
    """Run the application in a process that is opted in to `endpoint`; return its metrics."""
    environment = {
        **os.environ,
        "AUTOMAGIK_TELEMETRY_ENABLED": "true",
        "AUTOMAGIK_ENABLE_TRACING_IN_CI": "true",
        "AUTOMAGIK_TELEMETRY_ENDPOINT": endpoint,
        "AUTOMAGIK_STATE_DIR": str(folder / "state"),
    }
    done = subprocess.run(
        [sys.executable, "-c", APPLICATION], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
