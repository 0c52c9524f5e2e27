"""The embedded store: a DuckDB file that keeps each event once, and the queries on it."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import platformdirs

from automagik_telemetry.collector import _identities as identities
from automagik_telemetry.collector import _rollups as rollups
from automagik_telemetry.collector._catalogue import Catalogue
from automagik_telemetry.collector._copies import copy_database, export_events, is_due, mark
from automagik_telemetry.collector._errors import StoreError
from automagik_telemetry.collector._files import keep_owner, new_file, protect, write_ahead_log
from automagik_telemetry.collector._opening import connect, first_line
from automagik_telemetry.collector._queries import QUERIES
from automagik_telemetry.collector._readers import Readers
from automagik_telemetry.collector._schema import EVENTS, INSTALLS, TABLES
from automagik_telemetry.collector._statements import execute

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from automagik_telemetry.collector._items import Identity, Item
    from automagik_telemetry.collector._opening import Writing
    from automagik_telemetry.collector._queries import Report

_DAY_SECONDS: Final = 86_400

_MAX_WAIT_FOR_READERS: Final = 10.0
"""Maximum number of seconds to wait for queries before the file is replaced."""


class Store:
    """A store of spans and log records. Its methods are thread-safe, and writes are serialized.

    Args:
        path: The DuckDB file. It is created with its directory if it does not exist.
        catalogue: The declared events, whose fields get columns. By default the built-in ones.
        raw_seconds: Age at which rows of the exporter's tables are deleted; 0 stores none. By default they are kept.
        keep_seconds: Age at which events are deleted, once their day has ended. By default they are kept. The roll-ups
            by day are kept in any case.
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
        keep_seconds: float | None = None,
        read_only: bool = False,
    ) -> None:
        self.path = path
        self.raw_seconds = raw_seconds
        self.keep_seconds = keep_seconds
        self.catalogue = catalogue or Catalogue()
        self._lock = threading.Lock()
        # Held by what deletes, rolls up or copies, beside ingest.
        self._maintenance = threading.Lock()
        self._readers = Readers()
        self._read_only = read_only
        self._closed = False
        self._connections = connect(path, self.catalogue, read_only=read_only)

    def add(self, items: Sequence[Item]) -> int:
        """Store the items that are not stored yet, all or none of them.

        Returns:
            Number of new items. They are on disk when this returns.

        Raises:
            StoreError: The items may not be on disk. They can be sent again in any case.
        """
        with self._recovering("written"), self._lock:
            return self._add(items)

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

    def maintain(self) -> None:
        """Roll up days, delete what has expired, and rewrite the file if most of it is free.

        Raises:
            StoreError: The store cannot be written. The rest is done the next time.
        """
        failed: list[StoreError] = []
        for step in (self.roll, self.expire, self._compact_if_due):
            try:
                step()
            except StoreError as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def roll(self) -> None:
        """Roll up the days of which events were stored since the last time.

        Raises:
            StoreError: The store cannot be written.
        """
        with self._maintenance, self._transaction() as cursor:
            # No event is stored between the snapshot of the days and the moment from which they are marked again.
            with self._lock:
                days = rollups.stale_days(cursor)
                self._write.events.stale_days.forget()
            rollups.roll(cursor, days)

    def expire(self) -> None:
        """Delete old events and rows of the exporter's tables, and identities of items that can't be resent.

        Raises:
            StoreError: The store cannot be written.
        """
        now = int(time.time())
        with self._maintenance, self._transaction() as cursor:
            identities.expire(cursor)
            if self.raw_seconds is not None:
                oldest = f"make_timestamp_ns({(now - int(self.raw_seconds)) * 1_000_000_000})"
                for table in TABLES:
                    cursor.execute(f"DELETE FROM {table.name} WHERE Timestamp < {oldest}")
            if self.keep_seconds is not None:
                rollups.finish(cursor, (now - int(self.keep_seconds)) // _DAY_SECONDS)

    def compact(self) -> None:
        """Rewrite the file without its free space, while requests wait. Skipped if queries take more than 10 seconds.

        Raises:
            StoreError: There is no room for another file. The store is as it was.
        """
        with (
            self._maintenance,
            self._recovering("compacted"),
            self._readers.excluded(_MAX_WAIT_FOR_READERS) as alone,
            self._lock,
        ):
            if alone:
                self._rewrite()

    def forget(self, *installs: str) -> dict[str, int]:
        """Delete installs: their events, spans and log records, their rows in roll-ups, and their IDs.

        The roll-ups of days whose events are kept are made again without them. Those of earlier days have only sums
        of all installs. The hashes of their items stay for nine days, so that resent ones do not come back.

        Returns:
            The number of rows that are deleted, by table.

        Raises:
            StoreError: The store cannot be written.
        """
        with self._maintenance, self._transaction(alone=True) as cursor:
            deleted = _forget(cursor, installs)
            if any(deleted.values()):
                mark(cursor)  # until it is compacted, the deleted rows are in the file
            self._write.events.forget()
        self.roll()
        self._compact_if_due()
        return deleted

    def export(self, target: Path) -> int:
        """Write all events to a file, `.csv` or `.parquet`, with the ID of their install.

        Returns:
            Number of events.

        Raises:
            StoreError: The file cannot be written.
        """
        with self._copying(target) as (cursor, file):
            return export_events(cursor, file)

    def backup(self, target: Path) -> int:
        """Copy the store into another DuckDB file, as it is at this moment.

        Returns:
            Number of bytes.

        Raises:
            StoreError: The file cannot be written.
        """
        with self._copying(target) as (cursor, file):
            if write_ahead_log(target).exists():
                # It would be replayed onto the copy.
                raise StoreError(f"{target} is in use, or has an unfinished log of writes. Choose another file.")
            if target.exists():
                duckdb.connect(target, read_only=True).close()  # raises if a process has it open
            copy_database(cursor, file)
            return file.stat().st_size

    def close(self) -> None:
        """Close the file. A second call has no effect."""
        with self._lock:
            self._closed = True
            self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _database(self) -> duckdb.DuckDBPyConnection:
        return self._connections.database

    @property
    def _write(self) -> Writing:
        if self._connections.writing is None:
            raise duckdb.InvalidInputException("it is open read-only")
        return self._connections.writing

    def _read(self, *statements: str) -> list[list[dict[str, Any]]]:
        """Return the rows of queries on one snapshot."""
        with self._recovering("read"), self._readers.reading(), self._database.cursor() as cursor:
            cursor.begin()
            return [_run(cursor, sql) for sql in statements]

    def _compact_if_due(self) -> None:
        with (
            self._maintenance,
            self._recovering("written"),
            self._readers.reading(),
            self._database.cursor() as cursor,
            self._lock,
        ):
            due = is_due(cursor)
        if due:
            self.compact()

    @contextmanager
    def _transaction(self, *, alone: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """Give a connection with a transaction beside that of ingest, or alone, and commit it."""
        with (
            self._recovering("written"),
            self._readers.reading(),
            self._database.cursor() as cursor,
            self._lock if alone else nullcontext(),
        ):
            cursor.begin()
            try:
                yield cursor
                cursor.commit()
            except BaseException:
                with suppress(duckdb.Error):
                    cursor.rollback()
                raise
        protect(self.path)

    @contextmanager
    def _copying(self, target: Path) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
        """Give a connection, and a path that replaces the target at the end."""
        if target.resolve() in {self.path.resolve(), write_ahead_log(self.path).resolve()}:
            raise StoreError(f"{target} is the store itself. Choose another file.")
        try:
            with (
                self._maintenance,
                new_file(target) as file,
                self._readers.reading(),
                self._database.cursor() as cursor,
            ):
                yield cursor, file
        except OSError as error:
            raise StoreError(f"The file {target} cannot be written: {error.strerror}.") from error
        except duckdb.Error as error:
            raise StoreError(f"The file {target} cannot be written: {first_line(error)}") from error

    def _rewrite(self) -> None:
        connection = self._write.connection
        connection.execute("CHECKPOINT")
        is_closed = False
        try:
            with new_file(self.path) as file:
                copy_database(connection, file)
                keep_owner(self.path, file)
                self._connections.close()
                is_closed = True
                log = write_ahead_log(self.path)
                if log.exists() and log.stat().st_size:
                    # It would be replayed onto the new file.
                    raise StoreError(f"The store {self.path} cannot be compacted: it has an unfinished log of writes.")
        except OSError as error:
            raise StoreError(f"The store {self.path} cannot be compacted: {error.strerror}.") from error
        finally:
            if is_closed:
                self._connections = connect(self.path, self.catalogue, read_only=False)

    def _add(self, items: Sequence[Item]) -> int:
        anonymous = [item for item in items if item.identity is None]
        known: dict[Identity, Item] = {}
        for item in items:
            if item.identity is not None:
                known.setdefault(item.identity, item)
        writer, events = self._write
        writer.begin()
        try:
            for identity in identities.stored(writer, known):
                known.pop(identity, None)
            new = [*known.values(), *anonymous]
            for table in TABLES if self.raw_seconds != 0 else ():
                execute(writer, f"add_{table.name}", [item.line for item in new if item.table is table])
            events.insert([item.event for item in new if item.event is not None])
            identities.insert(writer, known)
            writer.commit()
        except BaseException:
            events.forget()
            with suppress(duckdb.Error):
                writer.rollback()
            raise
        protect(self.path)
        return len(new)

    @contextmanager
    def _recovering(self, action: str) -> Iterator[None]:
        """Raise errors of a block as StoreError. Enter it before any lock but that of maintenance."""
        database = self._database
        try:
            yield
        except duckdb.Error as error:
            self._recover(database, error)
            raise StoreError(f"The store {self.path} cannot be {action}: {first_line(error)}") from error

    def _recover(self, database: duckdb.DuckDBPyConnection, error: duckdb.Error) -> None:
        """Reopen the file after an error that closes the database, such as a full disk.

        Committed rows are in the file. The failed request can be sent again, because a row is stored once.
        """
        if not isinstance(error, duckdb.FatalException | duckdb.ConnectionException):
            return
        # DuckDB opens a file once a process, so that a reader would keep the failed database.
        with self._readers.excluded(_MAX_WAIT_FOR_READERS), self._lock, suppress(StoreError):
            if self._database is database and not self._closed:
                self._connections.close()
                self._connections = connect(self.path, self.catalogue, read_only=self._read_only)


def _forget(cursor: duckdb.DuckDBPyConnection, installs: Sequence[str]) -> dict[str, int]:
    """Delete the rows of installs within a transaction. Return their numbers by table."""
    ids = "(SELECT unnest($1::VARCHAR[]))"
    numbers = f"(SELECT number FROM {INSTALLS.name} WHERE id IN {ids})"
    parameters = [list(installs)]
    rollups.mark(cursor, f"install IN {numbers}", parameters)
    conditions = {
        EVENTS: f"install IN {numbers}",
        rollups.DAILY_INSTALLS.name: f"install IN {numbers}",
        **{table.name: f"ResourceAttributes['user.id'] IN {ids}" for table in TABLES},
        INSTALLS.name: f"id IN {ids}",
    }
    deleted = {}
    for table, condition in conditions.items():
        ((deleted[table],),) = cursor.execute(f"DELETE FROM {table} WHERE {condition}", parameters).fetchall()
    return deleted


def _run(cursor: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    result = cursor.execute(sql)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def default_store() -> Path:
    """Return the default DuckDB file, in the user's data directory."""
    return Path(platformdirs.user_data_dir("automagik-telemetry", appauthor=False)) / "collector.duckdb"
