"""The embedded store: a DuckDB file that keeps each event once, and the queries on it."""

from __future__ import annotations

import re
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import duckdb
import platformdirs

from automagik_telemetry.collector._catalogue import COLUMNS, Catalogue
from automagik_telemetry.collector._errors import StoreError, StoreLocked
from automagik_telemetry.collector._event_writer import EventWriter
from automagik_telemetry.collector._gate import Gate
from automagik_telemetry.collector._items import Identity, encode, identity_of
from automagik_telemetry.collector._queries import QUERIES
from automagik_telemetry.collector._schema import (
    CREATE_IDENTITIES,
    EVENTS,
    IDENTITIES,
    INSTALLS,
    LATE_IDENTITIES,
    LOOK_UP,
    TABLES,
    events_table,
)
from automagik_telemetry.collector._statements import execute

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from automagik_telemetry.collector._items import Item
    from automagik_telemetry.collector._queries import Report
    from automagik_telemetry.collector._schema import Table

# The store needs nothing outside DuckDB's own wheel, so no extension is downloaded.
_CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}

# DuckDB has no class for this error. The messages are those on Unix and on Windows.
_LOCKED: Final = re.compile("could not set lock|used by another process", re.IGNORECASE)

# An item is late if its time is not within these seconds before and after its arrival.
_LATE_AFTER: Final = 3600
_EARLY_AFTER: Final = 300
_MIGRATED_ROWS: Final = 10_000
# An event is accepted until it is eight days old, so that it can come again for nine at most.
_IDENTITY_SECONDS: Final = 9 * 86_400


class _Writing(NamedTuple):
    """The connection that writes, with its prepared statements."""

    connection: duckdb.DuckDBPyConnection
    events: EventWriter


class _Connections(NamedTuple):
    """The connections of a store: to read, and to write if it is not read only."""

    database: duckdb.DuckDBPyConnection
    writing: _Writing | None


class Store:
    """A store of spans and log records. Its methods are thread-safe, and writes are serialized.

    Args:
        path: The DuckDB file. It is created with its directory if it does not exist.
        catalogue: The declared events, whose fields get columns. By default the built-in ones.
        raw_seconds: Age at which rows of the exporter's tables are deleted; 0 stores none. By default they are kept.
        read_only: Open an existing file for queries only.

    Raises:
        StoreLocked: Another process has the file open.
        StoreError: The file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        catalogue: Catalogue | None = None,
        *,
        raw_seconds: float | None = None,
        read_only: bool = False,
    ) -> None:
        self.path = path
        self.raw_seconds = raw_seconds
        self.catalogue = catalogue or Catalogue()
        self._lock = threading.Lock()
        self._read_only = read_only
        self._closed = False
        self._database, self._writer = _open(path, self.catalogue, read_only=read_only)

    def add(self, items: Sequence[Item]) -> int:
        """Store the items that are not stored yet, all or none of them.

        Returns:
            Number of new items. They are on disk when this returns.

        Raises:
            StoreError: The items may not be on disk. They can be sent again in any case.
        """
        with self._recovering("written"), self._lock:
            return self._add(items)

    def sweep(self) -> None:
        """Delete expired rows of the exporter's tables, and identities that can't be sent again any more.

        Raises:
            StoreError: The store cannot be written.
        """
        now = int(time.time())
        # Older ones are kept: they belong to items without a time, which are accepted at any time.
        outdated = f"Second BETWEEN {now - 10 * _IDENTITY_SECONDS} AND {now - _IDENTITY_SECONDS}"
        statements = [f"DELETE FROM {name} WHERE {outdated}" for name in (IDENTITIES, LATE_IDENTITIES)]
        if self.raw_seconds is not None:
            oldest = f"make_timestamp_ns({(now - int(self.raw_seconds)) * 1_000_000_000})"
            statements += [f"DELETE FROM {table.name} WHERE Timestamp < {oldest}" for table in TABLES]
        with self._recovering("written"), self._lock:
            for statement in statements:
                self._write.connection.execute(statement)

    def undeclared_events(self) -> list[str]:
        """Return the names of the undeclared events in the store.

        Raises:
            StoreError: The store cannot be read.
        """
        return [row["event"] for row in self._read("SELECT DISTINCT event FROM events WHERE NOT declared")[0]]

    def report(self) -> Report:
        """Return the results of all queries, from one snapshot of the store.

        Raises:
            StoreError: The store cannot be read.
        """
        found = self._read(*(query.sql for query in QUERIES))
        return {query.name: rows for query, rows in zip(QUERIES, found, strict=True)}

    def _read(self, *statements: str) -> list[list[dict[str, Any]]]:
        """Return the rows of queries on one snapshot."""
        with self._recovering("read") as database, database.cursor() as cursor:
            cursor.begin()
            return [_run(cursor, sql) for sql in statements]

    def close(self) -> None:
        """Close the file. A second call has no effect."""
        with self._lock:
            self._closed = True
            if self._writer:
                self._writer.connection.close()
            self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _write(self) -> _Writing:
        if self._writer is None:
            raise duckdb.InvalidInputException("it is open read-only")
        return self._writer

    def _add(self, items: Sequence[Item]) -> int:
        anonymous = [item for item in items if item.identity is None]
        known: dict[Identity, Item] = {}
        for item in items:
            if item.identity is not None:
                known.setdefault(item.identity, item)
        writer, events = self._write
        writer.begin()
        try:
            for identity in _stored(writer, known):
                known.pop(identity, None)
            new = [*known.values(), *anonymous]
            for table in TABLES if self.raw_seconds != 0 else ():
                execute(writer, f"add_{table.name}", [item.line for item in new if item.table is table])
            events.insert([item.event for item in new if item.event is not None])
            _insert_identities(writer, known)
            writer.commit()
        except BaseException:
            events.forget()
            with suppress(duckdb.Error):
                writer.rollback()
            raise
        _protect(self.path)
        return len(new)

    @contextmanager
    def _recovering(self, action: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """Give the database to a block, and raise its errors as StoreError. Enter it before taking the lock."""
        database = self._database
        try:
            yield database
        except duckdb.Error as error:
            self._recover(database, error)
            raise StoreError(f"The store {self.path} cannot be {action}: {_first_line(error)}") from error

    def _recover(self, database: duckdb.DuckDBPyConnection, error: duckdb.Error) -> None:
        """Reopen the file after an error that closes the database, such as a full disk.

        Committed rows are in the file. The failed request can be sent again, because a row is stored once.
        """
        if not isinstance(error, duckdb.FatalException | duckdb.ConnectionException):
            return
        with self._lock, suppress(StoreError):
            if self._database is database and not self._closed:
                database.close()
                self._database, self._writer = _open(self.path, self.catalogue, read_only=self._read_only)


def _stored(writer: duckdb.DuckDBPyConnection, identities: Iterable[Identity]) -> list[Identity]:
    """Return those of the identities that are stored."""
    seconds = ",".join(map(str, {identity.second for identity in identities}))
    keys = ",".join(str(identity.key) for identity in identities)
    if not keys:
        return []
    return [Identity(*row) for row in writer.execute(f"EXECUTE look_up('{seconds}', '{keys}')").fetchall()]


def _insert_identities(writer: duckdb.DuckDBPyConnection, identities: Iterable[Identity]) -> None:
    now = time.time()
    in_time: list[Identity] = []
    late: list[Identity] = []
    for identity in identities:
        (in_time if now - _LATE_AFTER < identity.second < now + _EARLY_AFTER else late).append(identity)
    for table, found in ((IDENTITIES, in_time), (LATE_IDENTITIES, late)):
        if found:
            seconds, keys = (",".join(map(str, column)) for column in zip(*found, strict=True))
            writer.execute(f"EXECUTE add_{table}('{seconds}', '{keys}')")


def _open(path: Path, catalogue: Catalogue, *, read_only: bool) -> _Connections:
    try:
        if not read_only:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = duckdb.connect(path, read_only=read_only, config=_CONFIG)
        if read_only:
            _require_events(database, path)
            return _Connections(database, None)
        return _Connections(database, _prepare(database, path, catalogue))
    except (duckdb.Error, OSError) as error:
        if isinstance(error, duckdb.ConnectionException) or _LOCKED.search(str(error)):
            raise StoreLocked(f"The store {path} is in use by another process.") from error
        raise StoreError(f"The store {path} cannot be opened: {_first_line(error)}") from error


def _require_events(database: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Raise StoreError if the file has no table of events."""
    if _columns_of(database, EVENTS) is None:
        database.close()
        raise StoreError(
            f"The store {path} was made by an earlier version. Start `automagik-telemetry collector --store` with it "
            "once, which migrates it."
        )


def _protect(path: Path) -> None:
    """Let no other user read the file and its write-ahead log, which DuckDB creates anew after each checkpoint."""
    for file in (path, path.with_name(f"{path.name}.wal")):
        with suppress(FileNotFoundError):
            file.chmod(0o600)


def _prepare(database: duckdb.DuckDBPyConnection, path: Path, catalogue: Catalogue) -> _Writing:
    """Create missing tables and columns, and migrate earlier rows, in one transaction. Return the writer."""
    try:
        _protect(path)
        writer = database.cursor()
        writer.begin()
        columns = _columns_of(writer, EVENTS)
        earlier = [] if columns else [table for table in TABLES if _columns_of(writer, table.name)]
        if columns is None:
            writer.execute("DROP VIEW IF EXISTS events")
        added = catalogue.assign_columns(columns or COLUMNS)
        events = events_table({**(columns or {}), **added})
        for statement in (*(table.create for table in TABLES), *CREATE_IDENTITIES, INSTALLS.create, events.create):
            writer.execute(statement)
        for name, kind in added.items() if columns else ():
            writer.execute(f'ALTER TABLE {EVENTS} ADD COLUMN "{name}" {kind}')
        _prepare_statements(writer)
        writing = _Writing(writer, EventWriter(writer, events))
        gate = Gate(catalogue)
        for table in earlier:
            _migrate(database, writing, table, gate)
        writer.commit()
        _protect(path)
    except BaseException:
        database.close()
        raise
    return writing


def _prepare_statements(writer: duckdb.DuckDBPyConnection) -> None:
    for table in (*TABLES, INSTALLS):
        writer.execute(f"PREPARE add_{table.name} AS {table.insert}")
    for name in (IDENTITIES, LATE_IDENTITIES):
        columns = "unnest(string_split($1::VARCHAR, ','))::BIGINT, unnest(string_split($2::VARCHAR, ','))::UBIGINT"
        writer.execute(f"PREPARE add_{name} AS INSERT INTO {name} SELECT {columns}")
    writer.execute(f"PREPARE look_up AS {LOOK_UP}")


def _columns_of(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str] | None:
    """Return the types of a table's columns by name; None if there is no such table."""
    query = (
        "SELECT column_name, data_type FROM duckdb_columns() "
        "WHERE table_name = ? AND table_oid IN (SELECT table_oid FROM duckdb_tables())"
    )
    return dict(connection.execute(query, [table]).fetchall()) or None


def _migrate(reader: duckdb.DuckDBPyConnection, writing: _Writing, table: Table, gate: Gate) -> None:
    """Add the identities and events of the rows that an earlier version stored."""
    found = reader.execute(table.select)
    names = [column[0] for column in found.description or ()]
    while values := found.fetchmany(_MIGRATED_ROWS):
        rows = [dict(zip(names, row, strict=True)) for row in values]
        identities = [identity_of(table, row) for row in rows]
        _insert_identities(writing.connection, [identity for identity in identities if identity is not None])
        events = [gate.migrated(table, row) for row in rows]
        writing.events.insert([encode(event) for event in events if event is not None])


def _run(cursor: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    result = cursor.execute(sql)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def default_store() -> Path:
    """Return the default DuckDB file, in the user's data directory."""
    return Path(platformdirs.user_data_dir("automagik-telemetry", appauthor=False)) / "collector.duckdb"
