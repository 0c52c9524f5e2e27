"""Copies a store: to a file without free space, and to the formats of other tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from automagik_telemetry.collector._errors import StoreError
from automagik_telemetry.collector._schema import EVENTS, INSTALLS

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

_DUE: Final = "must_compact"
"""Name of an empty table that marks a file in which deleted rows may still be."""

_MIN_FREE_BYTES: Final = 16 * 1024 * 1024

_FORMATS: Final = {".parquet": "FORMAT parquet, COMPRESSION zstd", ".csv": "FORMAT csv, HEADER"}


def mark(connection: duckdb.DuckDBPyConnection) -> None:
    """Mark a file within a transaction, so that it is copied even if the process is killed after the commit."""
    connection.execute(f"CREATE TABLE IF NOT EXISTS {_DUE} (never BOOLEAN)")


def is_due(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether a file is marked, or most of it is free space, which DuckDB uses again, but does not give back."""
    if connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = $1", [_DUE]).fetchall():
        return True
    connection.execute("CHECKPOINT")  # which frees the space of deleted rows
    found = connection.execute("SELECT free_blocks * block_size, total_blocks * block_size FROM pragma_database_size()")
    ((free, total),) = found.fetchall()
    return bool(free > max(_MIN_FREE_BYTES, total / 2))


def copy_database(connection: duckdb.DuckDBPyConnection, target: Path) -> None:
    """Copy all tables into a new DuckDB file, which is not marked."""
    ((name,),) = connection.execute("SELECT current_database()").fetchall()
    copied = _identifier(f"{name}_copy")
    connection.execute(f"ATTACH {_quoted(str(target))} AS {copied}")
    try:
        connection.execute(f"COPY FROM DATABASE {_identifier(name)} TO {copied}")
        connection.execute(f"DROP TABLE IF EXISTS {copied}.{_DUE}")
    finally:
        connection.execute(f"DETACH {copied}")


def export_events(connection: duckdb.DuckDBPyConnection, target: Path) -> int:
    """Write all events to a Parquet or CSV file, and return their number.

    Raises:
        StoreError: The file's name does not end in .parquet or .csv.
    """
    options = _FORMATS.get(target.suffix.lower())
    if options is None:
        raise StoreError(f"The name of the file must end in .parquet or .csv, got {target.name}.")
    events = (
        f"SELECT {EVENTS}.* REPLACE ({INSTALLS.name}.id AS install) FROM {EVENTS} "
        f"LEFT JOIN {INSTALLS.name} ON {EVENTS}.install = {INSTALLS.name}.number"
    )
    ((count,),) = connection.execute(f"COPY ({events}) TO {_quoted(str(target))} ({options})").fetchall()
    return int(count)


def _identifier(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
