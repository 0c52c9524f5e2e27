"""Requests are committed together, within bounds of memory, and each is stored once."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import time
from typing import TYPE_CHECKING, Any

import duckdb
import httpx
import orjson
import pytest

from automagik_telemetry.collector import _body, _installs, _items, _protobuf
from automagik_telemetry.collector._catalogue import Catalogue
from automagik_telemetry.collector._errors import BadRequest, CatalogueError, StoreError
from automagik_telemetry.collector._gate import Gate
from automagik_telemetry.collector._items import log_items, trace_items
from automagik_telemetry.collector._schema import TRACES
from automagik_telemetry.collector._store import Store
from automagik_telemetry.collector._writer import Writer
from automagik_telemetry.collector.server import Collector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., dict[str, Any]]
    Stored = Callable[[str], list[dict[str, Any]]]

pytestmark = pytest.mark.slow


@pytest.mark.fault(122)
def test_waiting_requests_share_a_commit(tmp_path: Path, span: Make, traces: Make) -> None:
    """Requests that arrive during a commit are stored by the next one; a bad one among them fails alone."""
    adds: list[int] = []
    loops: list[asyncio.AbstractEventLoop] = []
    started = asyncio.Event()

    class Counted(Store):
        def add(self, items: Any) -> int:
            adds.append(len(items))
            loops[0].call_soon_threadsafe(started.set)
            return super().add(items)

    async def send(store: Store, writer: Writer) -> list[object]:
        loops.append(asyncio.get_running_loop())
        requests = [trace_items(traces(span("agent.run")), Gate(Catalogue())) for _ in range(6)]
        requests[3] = requests[3]._replace(items=[requests[3].items[0]._replace(line=b"{")])
        with store._lock:  # the first one waits here, the others behind it
            tasks = [asyncio.create_task(writer.add(found)) for found in requests]
            await started.wait()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with Counted(tmp_path / "store.duckdb") as store:
        writer = Writer(store)
        results = asyncio.run(send(store, writer))
        writer.close()
        with store._database.cursor() as cursor:
            assert cursor.execute("SELECT count(*) FROM otel_traces").fetchall() == [(5,)]
    assert [isinstance(result, StoreError) for result in results] == [False, False, False, True, False, False]
    groups = [size for size in adds if size > 1]
    assert sum(adds) == 6 + sum(groups)  # each group was refused as a whole, and then its requests came one by one
    assert max(groups) >= 2


def test_what_is_waiting_is_stored_at_the_end(tmp_path: Path, span: Make, traces: Make) -> None:
    """A writer that is closed stores what it has, and then refuses more."""

    async def send(store: Store, writer: Writer) -> None:
        with store._lock:
            task = asyncio.create_task(writer.add(trace_items(traces(span("agent.run")), Gate(Catalogue()))))
            await asyncio.sleep(0)
        await asyncio.to_thread(writer.close)
        await task
        with pytest.raises(StoreError, match="stopping"):
            await writer.add(trace_items(traces(span("agent.run")), Gate(Catalogue())))

    with Store(tmp_path / "store.duckdb") as store:
        asyncio.run(send(store, Writer(store)))
        with store._database.cursor() as cursor:
            assert cursor.execute("SELECT count(*) FROM otel_traces").fetchall() == [(1,)]


@pytest.mark.parametrize("age", [-7200, 0, 7200, 600_000])
def test_a_resent_span_of_any_age_is_stored_once(  # noqa: PLR0913, PLR0917 - fixtures
    collector: Collector, client: httpx.Client, span: Make, traces: Make, stored: Stored, age: int
) -> None:
    """A span is recognized by its own time, however late or early it comes, and after the collector has ended."""
    late = span("agent.run") | {"startTimeUnixNano": str(time.time_ns() - age * 10**9)}
    other = span("agent.run")
    for request in (traces(late), traces(other), traces(other, late)):
        client.post("/v1/traces", json=request).raise_for_status()
    assert len(stored("otel_traces")) == 2
    collector.__exit__(None, None, None)
    with Store(collector.store.path) as store:
        assert store.add(trace_items(traces(late, other), Gate(Catalogue())).items) == 0


@pytest.mark.parametrize("days", [8.5, 20, 60, 100])
def test_an_old_span_is_stored_once(tmp_path: Path, span: Make, traces: Make, days: float) -> None:
    """A span that is not an event may come at any age, and come again after the identities of others are deleted."""
    request = traces(span("not an event") | {"startTimeUnixNano": str(time.time_ns() - int(days * 86_400) * 10**9)})
    with Store(tmp_path / "store.duckdb") as store:
        assert store.add(trace_items(request, Gate(Catalogue())).items) == 1
        store.expire()
        assert store.add(trace_items(request, Gate(Catalogue())).items) == 0


def _earlier(path: Path) -> None:
    """Turn a file into one of an earlier version, which had the exporter's tables and a view."""
    with duckdb.connect(path) as database:
        for table in ("identities", "late_identities", "old_identities", "installs", "events"):
            database.execute(f"DROP TABLE {table}")
        database.execute("CREATE VIEW events AS SELECT 1 AS Declared")


def test_a_store_of_an_earlier_version_is_migrated(
    tmp_path: Path, record: Make, span: Make, traces: Make, logs: Make
) -> None:
    """Its events, of any time, are in the report, and recognized when they are sent again."""
    path = tmp_path / "store.duckdb"
    old = {"startTimeUnixNano": "1600000000000000000", "endTimeUnixNano": "1600000000005000000"}
    spans = [span("agent.run", agent_name="simple", success=True) | old for _ in range(3)]
    gate = Gate(Catalogue(), clock=lambda: 1.6e9)
    with Store(path) as store:
        store.add(trace_items(traces(*spans, span("other product")), gate).items)
        store.add(log_items(logs(record("feature.used", feature_name="search")), Gate(Catalogue())).items)
    _earlier(path)
    with duckdb.connect(path) as database:
        forged = "UPDATE otel_traces SET SpanAttributes = map_concat(SpanAttributes, MAP {'sample_rate': '1e-300'})"
        database.execute(f"{forged} WHERE SpanName = 'agent.run'")
    with pytest.raises(StoreError, match=r"earlier version\. Start `automagik-telemetry collector"):
        Store(path, read_only=True)
    with Store(path) as store:
        assert store.add(trace_items(traces(*spans), gate).items) == 0
    with Store(path) as store:
        assert store.add(trace_items(traces(*spans), gate).items) == 0
        report = store.report()
    assert [tuple(row.values()) for row in report["feature_usage"]] == [
        ("agent", "simple", "", 3),
        ("feature", "search", "", 1),
    ]
    assert [(row["count"], row["p50_ms"]) for row in report["performance"]] == [(3, 5)]


def test_new_fields_get_columns_in_a_store_that_exists(tmp_path: Path, span: Make, traces: Make) -> None:
    """Another catalogue adds columns, and leaves earlier events as they are."""
    path, catalogue = tmp_path / "store.duckdb", tmp_path / "catalogue.json"
    for number, kind in enumerate(["count", "word", "count"]):
        declared = {"event": "basket.filled", "fields": [{"field": "items", "kind": kind}]}
        catalogue.write_text(json.dumps({"events": [declared]}))
        with Store(path, Catalogue([catalogue])) as store:
            items = trace_items(traces(span("basket.filled", items=number)), Gate(store.catalogue)).items
            assert store.add(items) == 1
    with duckdb.connect(path) as database:
        found = database.execute("SELECT items, items_word FROM events ORDER BY rowid").fetchall()
    assert found == [(0, None), (None, "1"), (2, None)]


def test_installs_keep_their_numbers(tmp_path: Path, span: Make, traces: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each install has one number, whether it is remembered, was forgotten, or its first transaction has failed."""

    def add(store: Store, install: str, name: str = "agent.run") -> None:
        request = traces(span(name))
        request["resourceSpans"][0]["resource"]["attributes"] = [{"key": "user.id", "value": {"stringValue": install}}]
        store.add(trace_items(request, Gate(Catalogue())).items)

    monkeypatch.setattr(_installs, "_MAX_REMEMBERED", 2)
    with Store(tmp_path / "store.duckdb") as store:
        for install in ("a", "it's", "c", "d", "a", "it's"):
            add(store, install)
        broken = trace_items(traces(span("agent.run")), Gate(Catalogue())).items[0]
        with pytest.raises(StoreError):
            store.add([broken, broken._replace(identity=None, line=b"{")])
        add(store, "")
    with Store(tmp_path / "store.duckdb") as store:
        add(store, "d")
        add(store, "anonymous")
        with store._database.cursor() as cursor:
            query = "SELECT id FROM events LEFT JOIN installs ON install = number ORDER BY events.rowid"
            found = [row[0] for row in cursor.execute(query).fetchall()]
            assert cursor.execute("SELECT count(*), count(DISTINCT number) FROM installs").fetchall() == [(5, 5)]
    assert found == ["a", "it's", "c", "d", "a", "it's", None, "d", "anonymous"]


@pytest.mark.parametrize(("raw_seconds", "kept"), [(None, 2), (3600.0 * 24, 1), (0.0, 0)])
def test_the_exporters_tables_are_kept_as_long_as_told(
    tmp_path: Path, span: Make, traces: Make, raw_seconds: float | None, kept: int
) -> None:
    """Raw rows go with their age, or are not stored at all. Events stay, and are stored once in any case."""
    old = span("agent.run") | {"startTimeUnixNano": str(time.time_ns() - 2 * 86_400 * 10**9)}
    request = traces(old, span("agent.run"))
    with Collector(tmp_path / "store.duckdb", raw_seconds=raw_seconds) as running:
        for _ in range(2):
            httpx.post(f"{running.url}/v1/traces", json=request, trust_env=False).raise_for_status()
        running.store.expire()
        httpx.post(f"{running.url}/v1/traces", json=request, trust_env=False).raise_for_status()
        with running.store._database.cursor() as cursor:
            assert cursor.execute("SELECT count(*) FROM otel_traces").fetchall() == [(kept,)]
            assert cursor.execute("SELECT count(*) FROM events").fetchall() == [(2,)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read: No such file"),
        ("{", "is not a catalogue of events"),
        ('{"events": [{"event": "Bad Name", "fields": []}]}', "is not a catalogue of events"),
        (
            '{"events": [{"event": "a.b", "fields": [{"field": "x", "kind": "blob"}]}]}',
            "the kind of a.b.x must be one of flag, count, duration, measure, word, got 'blob'",
        ),
        (
            '{"events": [{"event": "agent.run", "fields": [{"field": "success", "kind": "word"}]}]}',
            "agent.run.success is a word, but is declared already as a flag. Rename one",
        ),
    ],
)
def test_a_wrong_catalogue_is_one_sentence(tmp_path: Path, content: str | None, message: str) -> None:
    """A catalogue that can't be used is reported with its file and the way out, before the collector listens."""
    file = tmp_path / "catalogue.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CatalogueError, match=re.escape(message)), Collector(tmp_path / "c.duckdb", events=[file]):
        pass
    assert not (tmp_path / "c.duckdb").exists()


@pytest.mark.fault(125)
def test_a_request_of_too_many_spans_is_refused(
    client: httpx.Client, traces: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small body can have many spans. They are counted before they are stored."""
    monkeypatch.setattr(_items, "MAX_ITEMS", 3)
    least = [{"traceId": f"{number:032x}", "spanId": f"{number:016x}"} for number in range(1, 5)]
    assert client.post("/v1/traces", json=traces(*least[:3])).status_code == 200
    reply = client.post("/v1/traces", json=traces(*least))
    message = "A request must have at most 3 items. Send smaller batches."
    assert (reply.status_code, reply.json()["message"]) == (413, message)


@pytest.mark.fault(125)
def test_rows_that_grow_are_refused(client: httpx.Client, monkeypatch: pytest.MonkeyPatch, stored: Stored) -> None:
    """Each row repeats the attributes of its resource, so that a body can be small and its rows large."""
    monkeypatch.setattr(_items, "MAX_ROW_BYTES", 100_000)
    resource = {"attributes": [{"key": "large", "value": {"stringValue": "x" * 20_000}}]}
    spans = [{"traceId": f"{number:032x}", "spanId": f"{number:016x}"} for number in range(1, 10)]
    reply = client.post(
        "/v1/traces", json={"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}
    )
    assert (reply.status_code, stored("otel_traces")) == (413, [])
    assert reply.json()["message"] == "The rows of a request must have at most 100,000 bytes. Send fewer."


@pytest.mark.fault(125)
def test_rows_in_flight_are_bounded(tmp_path: Path) -> None:
    """Rows that are larger than their body are bytes in flight, too: the request gets 503, and nothing is stored."""
    resource = {"attributes": [{"key": "large", "value": {"stringValue": "x" * 20_000}}]}
    spans = [{"traceId": f"{number:032x}", "spanId": f"{number:016x}"} for number in range(1, 10)]
    body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}
    with Collector(tmp_path / "store.duckdb", bytes_in_flight=100_000) as running:
        reply = httpx.post(f"{running.url}/v1/traces", json=body, trust_env=False)
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        health = httpx.get(f"{running.url}/health", trust_env=False).json()
        metrics = httpx.get(f"{running.url}/metrics", trust_env=False).text
    assert health["stored"] == 0
    assert "automagik_collector_in_flight_bytes 0\n" in metrics


@pytest.mark.fault(125)
def test_a_size_that_gzip_claims_is_not_trusted() -> None:
    """A body that says at its end that it is small, but is large, is not decompressed on the event loop."""
    honest = gzip.compress(b" " * 1_000)
    large = gzip.compress(b" " * 1_000_000)
    assert _body.is_small(honest, "gzip")
    assert not _body.is_small(large, "gzip")
    assert not _body.is_small(large[:-4] + b"\1\0\0\0", "gzip")


@pytest.mark.fault(125)
@pytest.mark.parametrize("element", [b"{}", b"[]"])
def test_a_body_of_too_many_objects_is_refused(tmp_path: Path, element: bytes) -> None:
    """Two bytes can be an object of many, so that a small body could fill the memory. They are counted first."""
    body = b'{"resourceSpans": [' + b",".join([element] * _body.MAX_OBJECTS) + b"]}"
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    with Collector(tmp_path / "store.duckdb") as running:
        reply = httpx.post(f"{running.url}/v1/traces", content=gzip.compress(body), headers=headers, trust_env=False)
    message = "A body must have at most 500,000 objects and arrays. Send smaller batches."
    assert (reply.status_code, reply.json()["message"]) == (413, message)


@pytest.mark.fault(125)
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_a_protobuf_of_too_many_objects_is_refused(depth: int) -> None:
    """At every level, before they are converted."""
    body = (b"\x0a", b"\x12", b"\x12", b"\x4a")[depth] + b"\x00"  # resources, scopes, spans, attributes
    body *= _body.MAX_OBJECTS + 1
    for parent in (b"\x12", b"\x12", b"\x0a")[3 - depth :]:
        body = parent + _protobuf._varint(len(body)) + body
    with pytest.raises(BadRequest, match="500,000 objects"):
        _protobuf.parse_traces(body)
    with pytest.raises(BadRequest, match="8,388,608 bytes"):
        _protobuf.parse_traces(b"\x00" * (_body.MAX_PROTOBUF + 1))


@pytest.mark.fault(125)
def test_bytes_in_flight_are_bounded(tmp_path: Path, span: Make, traces: Make) -> None:
    """While too many bytes are in flight, a request gets 503 and when to come again; later it is stored."""
    body = orjson.dumps(traces(span("agent.run")))
    with (
        Collector(tmp_path / "store.duckdb", bytes_in_flight=len(body) * 3) as running,
        httpx.Client(base_url=running.url, trust_env=False) as client,
    ):
        headers = {"content-type": "application/json"}
        reply = client.post("/v1/traces", content=body + b" " * len(body) * 3, headers=headers)
        assert (reply.status_code, reply.headers["retry-after"], reply.json()["code"]) == (503, "1", 14)
        assert client.post("/v1/traces", content=body, headers=headers).status_code == 200
        with running.store._database.cursor() as cursor:
            assert cursor.execute("SELECT count(*) FROM otel_traces").fetchall() == [(1,)]


def test_a_row_is_inserted_whatever_its_text(tmp_path: Path, span: Make, traces: Make) -> None:
    """Quotes, semicolons and line ends in a text do not end the statement that inserts it."""
    names = ["'); DROP TABLE otel_traces; --", "''", "a\nb\r\u2028c", "\\'", "\x00", "$1 ? %s"]
    with Store(tmp_path / "store.duckdb") as store:
        assert store.add(trace_items(traces(*(span(name) for name in names)), Gate(Catalogue())).items) == len(names)
        with store._database.cursor() as cursor:
            found = cursor.execute(f"SELECT SpanName FROM {TRACES.name} ORDER BY rowid").fetchall()  # noqa: S608 - ours
    assert [name for (name,) in found] == names
