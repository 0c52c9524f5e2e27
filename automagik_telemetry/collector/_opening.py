"""Opens the DuckDB file of a store: creates missing tables and columns, and migrates earlier files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import duckdb

from automagik_telemetry.collector import _identities as identities
from automagik_telemetry.collector import _rollups as rollups
from automagik_telemetry.collector._catalogue import COLUMNS
from automagik_telemetry.collector._errors import StoreError, StoreLocked
from automagik_telemetry.collector._event_writer import EventWriter
from automagik_telemetry.collector._files import protect, remove_unfinished
from automagik_telemetry.collector._gate import Gate
from automagik_telemetry.collector._items import encode, identity_of
from automagik_telemetry.collector._schema import EVENTS, INSTALLS, TABLES, events_table

if TYPE_CHECKING:
    from pathlib import Path

    from automagik_telemetry.collector._catalogue import Catalogue
    from automagik_telemetry.collector._schema import Table

# The store needs nothing outside DuckDB's own wheel, so no extension is downloaded.
_CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}

# DuckDB has no class for this error. The messages are those on Unix and on Windows.
_LOCKED: Final = re.compile("could not set lock|used by another process", re.IGNORECASE)

_MIGRATED_ROWS: Final = 10_000


class Writing(NamedTuple):
    """The connection that writes, with its prepared statements."""

    connection: duckdb.DuckDBPyConnection
    events: EventWriter


class Connections(NamedTuple):
    """The connections of a store: to read, and to write if it is not read only."""

    database: duckdb.DuckDBPyConnection
    writing: Writing | None

    def close(self) -> None:
        """Close the file. A second call has no effect."""
        if self.writing:
            self.writing.connection.close()
        self.database.close()


def connect(path: Path, catalogue: Catalogue, *, read_only: bool) -> Connections:
    """Open a file, and create it if it does not exist.

    Raises:
        StoreLocked: Another process has the file open.
        StoreError: The file cannot be opened.
    """
    try:
        if not read_only:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = duckdb.connect(path, read_only=read_only, config=_CONFIG)
        if read_only:
            _require_events(database, path)
            return Connections(database, None)
        remove_unfinished(path)
        return Connections(database, _prepare(database, path, catalogue))
    except (duckdb.Error, OSError) as error:
        if isinstance(error, duckdb.ConnectionException) or _LOCKED.search(str(error)):
            raise StoreLocked(f"The store {path} is in use by another process.") from error
        raise StoreError(f"The store {path} cannot be opened: {first_line(error)}") from error


def _require_events(database: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Raise StoreError if the file has no table of events."""
    if _columns_of(database, EVENTS) is None:
        database.close()
        raise StoreError(
            f"The store {path} was made by an earlier version. Start `automagik-telemetry collector --store` with it "
            "once, which migrates it."
        )


def _prepare(database: duckdb.DuckDBPyConnection, path: Path, catalogue: Catalogue) -> Writing:
    """Create missing tables and columns, and migrate earlier rows, in one transaction. Return the writer."""
    try:
        protect(path)
        writer = database.cursor()
        writer.begin()
        columns = _columns_of(writer, EVENTS)
        earlier = [] if columns else [table for table in TABLES if _columns_of(writer, table.name)]
        if columns is None:
            writer.execute("DROP VIEW IF EXISTS events")
        added = catalogue.assign_columns(columns or COLUMNS)
        events = events_table({**(columns or {}), **added})
        for statement in (*(table.create for table in TABLES), *identities.CREATE, INSTALLS.create, events.create):
            writer.execute(statement)
        for name, kind in added.items() if columns else ():
            writer.execute(f'ALTER TABLE {EVENTS} ADD COLUMN "{name}" {kind}')
        _prepare_statements(writer)
        writing = Writing(writer, EventWriter(writer, events))
        gate = Gate(catalogue)
        is_unrolled = _columns_of(writer, rollups.DAILY.name) is None
        rollups.create(writer)
        for table in earlier:
            _migrate(database, writing, table, gate)
        if earlier or is_unrolled:
            rollups.mark(writer)  # an earlier version stored the events
        writer.commit()
        protect(path)
    except BaseException:
        database.close()
        raise
    return writing


def _prepare_statements(writer: duckdb.DuckDBPyConnection) -> None:
    for table in (*TABLES, INSTALLS):
        writer.execute(f"PREPARE add_{table.name} AS {table.insert}")
    identities.prepare(writer)


def _columns_of(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str] | None:
    """Return the types of a table's columns by name; None if there is no such table."""
    query = (
        "SELECT column_name, data_type FROM duckdb_columns() "
        "WHERE table_name = ? AND table_oid IN (SELECT table_oid FROM duckdb_tables())"
    )
    return dict(connection.execute(query, [table]).fetchall()) or None


def _migrate(reader: duckdb.DuckDBPyConnection, writing: Writing, table: Table, gate: Gate) -> None:
    """Add the identities and events of the rows that an earlier version stored."""
    found = reader.execute(table.select)
    names = [column[0] for column in found.description or ()]
    while values := found.fetchmany(_MIGRATED_ROWS):
        rows = [dict(zip(names, row, strict=True)) for row in values]
        found_identities = [identity_of(table, row) for row in rows]
        identities.insert(writing.connection, [identity for identity in found_identities if identity is not None])
        events = [gate.migrated(table, row) for row in rows]
        writing.events.insert([encode(event) for event in events if event is not None])


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return str(error).partition("\n")[0]
