"""The store on a failing disk: accepted rows are stored, and others can be sent again."""

from __future__ import annotations

import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automagik_telemetry.collector._catalogue import Catalogue
from automagik_telemetry.collector._errors import StoreError, StoreLocked
from automagik_telemetry.collector._gate import Gate
from automagik_telemetry.collector._items import trace_items
from automagik_telemetry.collector._store import Store
from automagik_telemetry.collector._values import MAX_NANOSECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx

    from automagik_telemetry.collector.server import Collector

    Make = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.slow

FULL_DISK = """
import resource, sys
import httpx, time
from automagik_telemetry.collector.server import Collector

START = time.time_ns()

def request(number):
    spans = [
        {"traceId": f"{number:032x}", "spanId": f"{number * 1000 + i:016x}", "name": "feature.used",
            "startTimeUnixNano": START, "attributes":
            [{"key": "event.feature_name", "value": {"stringValue": "x" * 100 + str(i)}}]}
        for i in range(1, 101)
    ]
    return {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}

with Collector(sys.argv[1]) as collector, httpx.Client(base_url=collector.url, trust_env=False) as client:
    with collector.store._database.cursor() as cursor:
        cursor.execute(f"SET checkpoint_threshold = '{sys.argv[2]}'")
    client.post("/v1/traces", json=request(1)).raise_for_status()
    resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, resource.RLIM_INFINITY))
    refused = []
    for number in range(2, 60):
        reply = client.post("/v1/traces", json=request(number))
        if reply.status_code == 503 and "cannot be written" in reply.json()["message"]:
            refused.append(number)
        else:
            reply.raise_for_status()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for number in refused:
        client.post("/v1/traces", json=request(number)).raise_for_status()
print(len(refused) > 0)
"""


@pytest.mark.fault(127)
@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit on file sizes to fill the disk with")
@pytest.mark.parametrize("checkpoint", ["1GB", "100KB"])
def test_a_full_disk_loses_nothing(tmp_path: Path, checkpoint: str) -> None:
    """While writing fails, in a commit or later in a checkpoint, senders get 503; sent again, each row is there once.

    The process sends 59 requests of 100 spans while files may not grow beyond 700 kB, then may, and sends those that
    were refused again.
    """
    path = tmp_path / "collector.duckdb"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), checkpoint],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
    with Store(path, read_only=True) as store:
        rows = store.report()["feature_usage"]
    assert (len(rows), {row["count"] for row in rows}) == (100, {59})


@pytest.fixture(scope="module")
def any_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for many examples."""
    with Store(tmp_path_factory.mktemp("store") / "collector.duckdb") as store:
        yield store


@given(
    st.lists(
        st.fixed_dictionaries(
            {"name": st.text(), "attributes": st.dictionaries(st.text(), st.text(), max_size=4)},
            optional={
                "startTimeUnixNano": st.integers(0, MAX_NANOSECONDS),
                "endTimeUnixNano": st.just(MAX_NANOSECONDS),
            },
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_text_and_time_is_kept(any_store: Store, values: list[dict[str, Any]]) -> None:
    """Any text and time of a span is stored unchanged."""
    trace = uuid.uuid4().hex
    spans = [
        {
            **value,
            "traceId": trace,
            "spanId": f"{number:016x}",
            "attributes": [{"key": key, "value": {"stringValue": text}} for key, text in value["attributes"].items()],
        }
        for number, value in enumerate(values, 1)
    ]
    items = trace_items({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}, Gate(Catalogue())).items
    assert any_store.add(items) == len(values)
    assert any_store.add(items) == 0
    with any_store._database.cursor() as cursor:
        query = "SELECT SpanName, SpanAttributes, epoch_ns(Timestamp), Duration FROM otel_traces WHERE TraceId = ?"
        found = cursor.execute(f"{query} ORDER BY SpanId", [trace]).fetchall()
    starts = [value.get("startTimeUnixNano", 0) for value in values]
    durations = [
        MAX_NANOSECONDS - start if "endTimeUnixNano" in value else 0
        for value, start in zip(values, starts, strict=True)
    ]
    assert found == [
        (value["name"], value["attributes"], start, duration)
        for value, start, duration in zip(values, starts, durations, strict=True)
    ]


def test_a_store_error_is_retryable(client: httpx.Client, collector: Collector, span: Make, traces: Make) -> None:
    """If the store fails, a sender gets 503 with a sentence, which OTLP retries."""
    collector.store.close()
    for reply in (client.post("/v1/traces", json=traces(span("agent.run"))), client.get("/api/report")):
        assert reply.status_code == 503
        assert reply.json()["code"] == 14
        assert reply.json()["message"].startswith(f"The store {collector.store.path} cannot be ")
    assert client.get("/health").status_code == 200


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    """A path below a file cannot be a store."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(tmp_path / "file" / "collector.duckdb")


def test_a_store_in_use_is_reported(collector: Collector) -> None:
    """A store that is open for writing cannot be opened to read."""
    with pytest.raises(StoreLocked, match="in use"):
        Store(collector.store.path, read_only=True)


def test_other_tables_are_not_changed(tmp_path: Path) -> None:
    """A database whose tables of these names have other columns is refused, not changed."""
    import duckdb

    path = tmp_path / "other.duckdb"
    with duckdb.connect(path) as other:
        other.execute("CREATE TABLE otel_traces (mine INTEGER)")
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(path)
    with duckdb.connect(path) as other:
        assert other.execute("SHOW TABLES").fetchall() == [("otel_traces",)]
