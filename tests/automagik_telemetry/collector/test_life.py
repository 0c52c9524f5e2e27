"""The life of stored data: roll-ups, retention, compaction, deletion of an install, export and backup."""

from __future__ import annotations

import csv
import errno
import os
import random
import subprocess
import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from automagik_telemetry.collector import _copies, _rollups, _store
from automagik_telemetry.collector._catalogue import Catalogue
from automagik_telemetry.collector._errors import StoreError
from automagik_telemetry.collector._files import remove_unfinished
from automagik_telemetry.collector._gate import Gate
from automagik_telemetry.collector._items import trace_items
from automagik_telemetry.collector._store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Make = Callable[..., dict[str, Any]]

pytestmark = [pytest.mark.slow, pytest.mark.fault(127)]

DAY = 86_400
TODAY = int(time.time()) // DAY


def _days_ago(days: float) -> dict[str, str]:
    """The start of a span at noon of a day (UTC), so that no test runs into midnight."""
    start = (TODAY * DAY + DAY // 2 - int(days * DAY)) * 10**9 + random.randrange(10**9)
    return {"startTimeUnixNano": str(start), "endTimeUnixNano": str(start)}


def _resource(request: dict[str, Any], install: str) -> dict[str, Any]:
    """Let a request come from an install."""
    (resource_spans,) = request["resourceSpans"]
    for attribute in resource_spans["resource"]["attributes"]:
        if attribute["key"] == "user.id":
            attribute["value"] = {"stringValue": install}
    return request


def _add(store: Store, request: dict[str, Any]) -> int:
    return store.add(trace_items(request, Gate(Catalogue())).items)


def _rows(store: Store, sql: str) -> list[tuple[Any, ...]]:
    with store._database.cursor() as cursor:
        return cursor.execute(sql).fetchall()


def _counts(store: Store) -> dict[int, int]:
    """Return the number of events in the roll-ups, by the age of their day."""
    found = _rows(store, f"SELECT DATE '1970-01-01' + {TODAY} - day, sum(events) FROM daily GROUP BY 1")  # noqa: S608 - a number
    return {int(days): int(count) for days, count in found}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store that keeps events for two days."""
    with Store(tmp_path / "store.duckdb", keep_seconds=2 * DAY) as opened:
        yield opened


def test_a_roll_up_has_what_the_events_have(store: Store, span: Make, traces: Make) -> None:
    """Counts, weights and tokens add up; a hash that only one user has is not a value of its own."""
    spans = [
        *(span("agent.run", agent_name="a", framework="agno", success=True, input_tokens=10) for _ in range(3)),
        span("agent.run", agent_name="a", framework="agno", success=True, input_tokens=10, output_tokens=4),
        span("agent.run", agent_name="custom-0123456789abcdef", success=False),
        span("agent.run", agent_name="custom-fedcba9876543210", success=False),
    ]
    spans[3]["attributes"].append({"key": "sample_rate", "value": {"doubleValue": 0.1}})
    _add(store, traces(*spans))
    store.roll()
    store.roll()
    found = _rows(
        store,
        "SELECT name, framework, success, sum(events), sum(weight), sum(input_tokens), sum(output_tokens) FROM daily "
        "GROUP BY ALL ORDER BY name",
    )
    assert found == [
        ("(undeclared)", None, False, 2, 2.0, None, None),
        ("a", "agno", True, 4, 13.0, 130.0, 40.0),
    ]
    assert _rows(store, "SELECT install, service, events, weight FROM daily_installs") == [
        (0, "automagik-agents", 6, 15.0)
    ]


def test_events_without_a_duration_are_in_no_bucket(store: Store, span: Make, traces: Make) -> None:
    """They are not counted as events of no duration."""
    _add(store, traces(span("feature.used", feature_name="search")))
    store.roll()
    assert _rows(store, "SELECT buckets IS NULL, weights IS NULL, events FROM daily") == [(True, True, 1)]


def test_percentiles_of_roll_ups_are_near_the_exact_ones(store: Store, span: Make, traces: Make) -> None:
    """Each percentile of the buckets of several days is within 5 % of the exact one."""
    draw = random.Random(1)
    drawn = [0.0, *(draw.lognormvariate(5, 2) for _ in range(2_999))]
    for day in range(3):
        spans = [
            span("agent.run", agent_name="a", success=True, duration_ms=value) | _days_ago(day)
            for value in drawn[day::3]
        ]
        _add(store, traces(*spans))
    store.roll()
    for fraction in (0.01, 0.5, 0.9, 0.95, 0.99, 1.0):
        ((_, found),) = _rows(store, _rollups.quantile("event", fraction))
        ((exact,),) = _rows(store, f"SELECT quantile_disc(duration_ms, {fraction}) FROM events")  # noqa: S608 - numbers
        assert found == pytest.approx(exact, rel=0.05)


def test_late_events_are_rolled_up_again(store: Store, span: Make, traces: Make) -> None:
    """Up to eight days old, before and after the events of that day are deleted; nothing is counted twice."""
    for _ in range(2):
        for days in (0, 1, 7):
            _add(store, traces(span("agent.run") | _days_ago(days)))
            store.maintain()
    assert _counts(store) == {0: 2, 1: 2, 7: 2}
    assert _rows(store, "SELECT count(*) FROM events") == [(4,)]


def test_an_event_is_deleted_only_after_it_is_rolled_up(store: Store, span: Make, traces: Make) -> None:
    """Retention leaves a day that is stale."""
    _add(store, traces(span("agent.run") | _days_ago(7)))
    store.expire()
    assert _rows(store, "SELECT count(*) FROM events") == [(1,)]
    store.roll()
    store.expire()
    assert _rows(store, "SELECT count(*) FROM events") == [(0,)]
    assert _counts(store) == {7: 1}


def test_data_expires_also_if_roll_ups_fail(
    tmp_path: Path, span: Make, traces: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step of maintenance is tried, and the first error is raised."""

    def fail(*_: object) -> None:
        raise duckdb.IOException("no space left")

    with Store(tmp_path / "store.duckdb", raw_seconds=2 * DAY) as store:
        _add(store, traces(span("agent.run") | _days_ago(7)))
        monkeypatch.setattr(_rollups, "roll", fail)
        with pytest.raises(StoreError, match="no space left"):
            store.maintain()
        assert _rows(store, "SELECT count(*) FROM otel_traces") == [(0,)]


def test_nothing_is_missed_while_it_is_maintained(store: Store, span: Make, traces: Make) -> None:
    """Events that are stored during roll-ups, retention and compaction are rolled up once."""
    stop = threading.Event()
    errors: list[StoreError] = []

    def maintain() -> None:
        while not stop.is_set():
            try:
                store.maintain()
                store.compact()
                store.report()
            except StoreError as error:
                errors.append(error)

    thread = threading.Thread(target=maintain)
    thread.start()
    try:
        for number in range(150):
            assert _add(store, traces(span("agent.run"), span("agent.run") | _days_ago(number % 8))) == 2
    finally:
        stop.set()
        thread.join()
    store.maintain()
    assert errors == []
    assert sum(_counts(store).values()) == 300


def test_a_store_of_before_roll_ups_is_rolled_up(tmp_path: Path, span: Make, traces: Make) -> None:
    """A file without the new tables gets them, and all its days are rolled up."""
    path = tmp_path / "store.duckdb"
    with Store(path) as store:
        _add(store, traces(*(span("agent.run") | _days_ago(days) for days in range(3))))
    with duckdb.connect(path) as database:
        for table in ("daily", "daily_installs", "stale_days"):
            database.execute(f"DROP TABLE {table}")
    with Store(path) as store:
        store.maintain()
        assert _counts(store) == {0: 1, 1: 1, 2: 1}


def test_compaction_gives_space_back(tmp_path: Path, span: Make, traces: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is mostly free is rewritten, and has what it had."""
    monkeypatch.setattr(_copies, "_MIN_FREE_BYTES", 1_000_000)
    path = tmp_path / "store.duckdb"
    with Store(path, raw_seconds=2 * DAY) as store:
        for _ in range(10):
            padding = [span("agent.run", filler=random.randbytes(500).hex()) | _days_ago(5) for _ in range(2_000)]
            _add(store, traces(*padding))
        _add(store, traces(span("agent.run")))
        _rows(store, "CHECKPOINT")
        before = path.stat().st_size
        store.maintain()
        assert path.stat().st_size < before / 2
        assert path.stat().st_mode & 0o777 == 0o600
        assert _add(store, traces(span("agent.run"))) == 1
        assert _rows(store, "SELECT count(*) FROM otel_traces") == [(2,)]
        assert _rows(store, "SELECT count(*) FROM events") == [(20_002,)]
    with Store(path) as store:
        assert _rows(store, "SELECT count(*) FROM events") == [(20_002,)]
    assert {file.name for file in tmp_path.iterdir()} <= {path.name, "home"}


def test_compaction_waits_for_queries(store: Store, monkeypatch: pytest.MonkeyPatch, span: Make, traces: Make) -> None:
    """A file that a query reads is not replaced, but the next time."""
    monkeypatch.setattr(_store, "_MAX_WAIT_FOR_READERS", 0.05)
    file = store.path.stat().st_ino
    _add(store, traces(span("agent.run")))
    with store._readers.reading():
        store.forget("anonymous")
        assert store.path.stat().st_ino == file
    _add(store, traces(span("agent.run")))
    store.maintain()
    assert store.path.stat().st_ino != file
    assert _rows(store, "SELECT count(*) FROM events") == [(1,)]


def test_an_install_is_deleted(tmp_path: Path, span: Make, traces: Make) -> None:
    """Its rows are gone from all tables and from the file; those of others, and sums of earlier days, stay."""
    mine, other = str(uuid.uuid4()), str(uuid.uuid4())
    path = tmp_path / "store.duckdb"
    with Store(path, keep_seconds=2 * DAY) as store:
        request = _resource(traces(*(span("agent.run") | _days_ago(days) for days in (0, 0, 6))), mine)
        _add(store, request)
        _add(store, _resource(traces(span("agent.run") | _days_ago(0), span("not an event")), other))
        _add(store, _resource(traces(span("not an event")), mine))
        store.maintain()
        assert store.forget(mine) == {
            "events": 2,
            "daily_installs": 2,
            "otel_traces": 4,
            "otel_logs": 0,
            "installs": 1,
        }
        assert _counts(store) == {0: 1, 6: 1}
        assert _rows(store, "SELECT id FROM installs") == [(other,)]
        assert _add(store, request) == 0  # a sender's copy does not bring it back
        assert store.forget("unknown") == dict.fromkeys(
            ("events", "daily_installs", "otel_traces", "otel_logs", "installs"), 0
        )
        _add(store, _resource(traces(span("agent.run")), mine))
        assert _rows(store, "SELECT count(DISTINCT install) FROM events") == [(2,)]
        store.forget(mine)
    assert mine.encode() not in path.read_bytes()
    assert other.encode() in path.read_bytes()


def test_a_deletion_that_is_interrupted_is_completed(
    tmp_path: Path, span: Make, traces: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the file cannot be rewritten, the deleted rows are in it until the next maintenance, of any process."""
    mine, path = str(uuid.uuid4()), tmp_path / "store.duckdb"

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Store(path) as store:
        _add(store, _resource(traces(span("agent.run")), mine))
        with monkeypatch.context() as patch:
            patch.setattr(_store, "copy_database", fail)
            with pytest.raises(StoreError, match="No space left"):
                store.forget(mine)
            with pytest.raises(StoreError, match="No space left"):
                store.maintain()
    before = path.stat().st_ino
    with Store(path) as store:
        store.maintain()
        after = path.stat().st_ino
        store.maintain()
        assert path.stat().st_ino == after != before  # it is rewritten once
    assert mine.encode() not in path.read_bytes()


@pytest.mark.parametrize("name", ["copied", "copied_copy", 'it"s', "it's", "temp"])
def test_a_store_may_have_any_name(tmp_path: Path, span: Make, traces: Make, name: str) -> None:
    """It is compacted and copied."""
    with Store(tmp_path / f"{name}.duckdb") as store:
        _add(store, traces(span("agent.run")))
        store.compact()
        store.backup(tmp_path / f"{name}_copy.duckdb")
        assert _rows(store, "SELECT count(*) FROM events") == [(1,)]


@pytest.mark.parametrize("name", ["events.parquet", "it's.csv"])
def test_events_are_exported(store: Store, tmp_path: Path, span: Make, traces: Make, name: str) -> None:
    """With the ID of their install, for the owner only. The file is there as a whole or not at all."""
    _add(store, traces(span("agent.run", agent_name="a"), span("agent.run", agent_name="b")))
    target = tmp_path / name
    assert store.export(target) == 2
    assert target.stat().st_mode & 0o777 == 0o600
    if name.endswith(".csv"):
        with target.open(newline="") as file:
            rows = [(row["install"], row["event"], row["name"]) for row in csv.DictReader(file)]
    else:
        rows = duckdb.read_parquet(str(target)).project("install, event, name").fetchall()
    assert sorted(rows) == [("anonymous", "agent.run", "a"), ("anonymous", "agent.run", "b")]
    assert {file.name for file in tmp_path.iterdir()} <= {name, "store.duckdb", "store.duckdb.wal", "home"}


def test_a_backup_is_a_store(store: Store, tmp_path: Path, span: Make, traces: Make) -> None:
    """It has everything of one moment, and replaces an earlier one."""
    target = tmp_path / "backup.duckdb"
    request = traces(span("agent.run") | _days_ago(0))
    for _ in range(2):
        _add(store, request)
        assert store.backup(target) == target.stat().st_size
    assert target.stat().st_mode & 0o777 == 0o600
    with Store(target) as backup:
        assert _add(backup, request) == 0
        backup.roll()
        assert _counts(backup) == {0: 1}


@pytest.mark.parametrize("is_open", [True, False])
def test_a_backup_does_not_replace_a_store_in_use(store: Store, tmp_path: Path, is_open: bool) -> None:
    """Its log of writes would be replayed onto the copy."""
    target = tmp_path / "other.duckdb"
    script = (
        "import duckdb, os, sys\n"
        "database = duckdb.connect(sys.argv[1])\n"
        "database.execute('CREATE TABLE kept (a INTEGER)')\n"
        f"{'database.checkpoint()' if is_open else ''}\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"
        "os._exit(0)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdin is not None
        assert owner.stdout is not None
        owner.stdout.readline()
        if not is_open:
            owner.stdin.close()
            owner.wait()
        with pytest.raises(StoreError, match="cannot be written" if is_open else "is in use"):
            store.backup(target)
    with duckdb.connect(target) as database:
        assert database.execute("SELECT count(*) FROM kept").fetchall() == [(0,)]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_a_store_behind_a_symbolic_link_is_whole(tmp_path: Path, span: Make, traces: Make) -> None:
    """The link stays one, and what belongs to the file is beside the file."""
    path, link = tmp_path / "disk" / "store.duckdb", tmp_path / "store.duckdb"
    path.parent.mkdir()
    link.symlink_to(path)
    before = os.umask(0)
    try:
        with Store(link) as store:
            _add(store, traces(span("agent.run")))
            store.compact()
            _add(store, traces(span("agent.run")))
            assert link.is_symlink()
            assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    finally:
        os.umask(before)
    with Store(path) as store:
        assert _rows(store, "SELECT count(*) FROM events") == [(2,)]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("store.duckdb", "is the store itself"),
        ("store.duckdb.wal", "is the store itself"),
        ("missing/file.csv", "cannot be written: No such file or directory"),
        ("file.xls", "must end in .parquet or .csv, got file.xls"),
    ],
)
def test_a_file_that_cannot_be_written_is_one_sentence(store: Store, tmp_path: Path, target: str, message: str) -> None:
    """Nothing is left of it."""
    before = {file.name for file in tmp_path.iterdir()}
    with pytest.raises(StoreError, match=message):
        store.export(tmp_path / target)
    assert {file.name for file in tmp_path.iterdir()} == before


def test_what_a_killed_compaction_left_is_removed(tmp_path: Path) -> None:
    """The next process that opens the store removes it."""
    path = tmp_path / "store.duckdb"
    left = tmp_path / ".store.duckdb.unfinished"
    left.mkdir()
    (left / "store.duckdb").write_bytes(b"half")
    with Store(path):
        assert not left.exists()
    remove_unfinished(path)  # there is none


def test_an_install_that_sends_while_it_is_deleted_stays_whole(store: Store, span: Make, traces: Make) -> None:
    """Each of its events is deleted, or has an install with its ID."""
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            _add(store, traces(span("agent.run")))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        for _ in range(5):
            store.forget("anonymous")
            lost = "SELECT count(*) FROM events WHERE install NOT IN (SELECT number FROM installs)"
            assert _rows(store, lost) == [(0,)]
    finally:
        stop.set()
        thread.join()
