"""The embedded store: a DuckDB file that takes rows, keeps each event once, and answers the questions."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import orjson
import platformdirs

from automagik_telemetry.collector._errors import StoreError, StoreLocked
from automagik_telemetry.collector._queries import QUERIES
from automagik_telemetry.collector._schema import EVENTS_VIEW, LOGS, TRACES

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable
    from types import TracebackType
    from typing import Self

    from automagik_telemetry.collector._queries import Report
    from automagik_telemetry.collector._rows import Row
    from automagik_telemetry.collector._schema import Table

# Nothing that the store needs lies outside DuckDB's own wheel, so it never looks for more over the network.
_CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}

# DuckDB has no error of its own for this; the words are those for Unix and for Windows.
_LOCKED: Final = re.compile("could not set lock|used by another process", re.IGNORECASE)

_STORED_SPANS: Final = """
    SELECT TraceId, SpanId FROM otel_traces WHERE SpanId IN (SELECT unnest(string_split(?, ',')))
"""
_STORED_RECORDS: Final = """
    SELECT TraceId, SpanId, EventName, epoch_ns(Timestamp), coalesce(LogAttributes['log.record.uid'], '')
    FROM otel_logs WHERE Timestamp IN (SELECT make_timestamp_ns(unnest(string_split(?, ','))::BIGINT))
"""


class Store:
    """A store of spans and log records. Its methods may be called from any thread; writing is one at a time.

    Args:
        path: the DuckDB file, made with its folder when it is missing.
        read_only: open an existing file to ask it, not to write.

    Raises:
        StoreLocked: another process has the file open.
        StoreError: it cannot be opened.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._writing = threading.Lock()
        self._read_only = read_only
        self._closed = False
        self._database = _open(path, read_only=read_only)

    def add_spans(self, rows: Iterable[Row]) -> int:
        """Store the rows of `otel_traces` whose trace and span id are not stored yet.

        Returns:
            How many those were; they are on the disk when this returns.

        Raises:
            StoreError: the rows may not be on the disk; to send them again is right, whether they are or not.
        """
        return self._add(TRACES, rows, _span_key, _STORED_SPANS, "SpanId")

    def add_records(self, rows: Iterable[Row]) -> int:
        """Store the rows of `otel_logs` but events (of an EventName, in a span) that are stored already.

        Returns:
            How many were new; they are on the disk when this returns.

        Raises:
            StoreError: the rows may not be on the disk; to send them again is right, whether they are or not.
        """
        return self._add(LOGS, rows, _record_key, _STORED_RECORDS, "Timestamp")

    def report(self) -> Report:
        """The answers to all questions, from one moment's state of the store.

        Raises:
            StoreError: the store could not be read.
        """
        database = self._database
        try:
            with database.cursor() as cursor:
                cursor.begin()
                return {query.name: _run(cursor, query.sql) for query in QUERIES}
        except duckdb.Error as error:
            self._recover(database, error)
            raise StoreError(f"The store {self.path} cannot be read: {_first_line(error)}") from error

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._writing:
            self._closed = True
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _add(self, table: Table, rows: Iterable[Row], key: Callable[[Row], Hashable], stored: str, column: str) -> int:
        # The values of `column` are looked up by scanning it: 50 ms in a million rows. A unique index is no quicker
        # to write to, and makes the file seven times as large.
        anonymous: list[Row] = []
        keyed: dict[Hashable, Row] = {}
        for row in rows:
            identity = key(row)
            if identity is None:
                anonymous.append(row)
            else:
                keyed.setdefault(identity, row)
        database = self._database
        try:
            with self._writing, database.cursor() as cursor:
                if keyed:
                    values = ",".join(str(row[column]) for row in keyed.values())
                    for identity in cursor.execute(stored, [values]).fetchall():
                        keyed.pop(identity, None)
                new = [*keyed.values(), *anonymous]
                if new:
                    cursor.execute(table.insert, [b"\n".join(map(orjson.dumps, new)).decode()])
        except duckdb.Error as error:
            self._recover(database, error)
            raise StoreError(f"The store {self.path} cannot be written: {_first_line(error)}") from error
        return len(new)

    def _recover(self, database: duckdb.DuckDBPyConnection, error: duckdb.Error) -> None:
        """Open the file again after an error that DuckDB itself does not survive, such as a disk full at a checkpoint.

        What was committed is in the file, and the request that failed may be sent again: a row is stored once.
        """
        if not isinstance(error, duckdb.FatalException | duckdb.ConnectionException):
            return
        with self._writing, suppress(StoreError):
            if self._database is database and not self._closed:
                database.close()
                self._database = _open(self.path, read_only=self._read_only)


def _span_key(row: Row) -> Hashable:
    return row["TraceId"], row["SpanId"]


def _record_key(row: Row) -> Hashable:
    """The identity of a record that has `log.record.uid`, or is an event in a span; any other is kept each time."""
    uid = row["LogAttributes"].get("log.record.uid", "")
    key = row["TraceId"], row["SpanId"], row["EventName"], row["Timestamp"]
    return (*key, uid) if uid or all(key) else None


def _open(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    try:
        if not read_only:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = duckdb.connect(path, read_only=read_only, config=_CONFIG)
        if not read_only:
            _prepare(database, path)
    except (duckdb.Error, OSError) as error:
        if isinstance(error, duckdb.ConnectionException) or _LOCKED.search(str(error)):
            raise StoreLocked(f"The store {path} is in use by another process.") from error
        raise StoreError(f"The store {path} cannot be opened: {_first_line(error)}") from error
    return database


def _prepare(database: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Make what is missing, all of it or nothing."""
    try:
        path.chmod(0o600)
        database.begin()
        for statement in (TRACES.create, LOGS.create, EVENTS_VIEW):
            database.execute(statement)
        database.commit()
    except BaseException:
        database.close()
        raise


def _run(cursor: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    result = cursor.execute(sql)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def default_store() -> Path:
    """The DuckDB file that is used unless another is named, in the user's data folder."""
    return Path(platformdirs.user_data_dir("automagik-telemetry", appauthor=False)) / "collector.duckdb"
