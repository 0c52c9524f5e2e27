"""Copies a store: to a file without free space, and to the formats of other tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from automagik_telemetry.collector._errors import StoreError
from automagik_telemetry.collector._schema import EVENTS, INSTALLS

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

_MIN_FREE_BYTES: Final = 16 * 1024 * 1024

_FORMATS: Final = {".parquet": "FORMAT parquet, COMPRESSION zstd", ".csv": "FORMAT csv, HEADER"}


def is_fragmented(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether most of a file is free space, which DuckDB uses again, but does not give back."""
    found = connection.execute("SELECT free_blocks * block_size, total_blocks * block_size FROM pragma_database_size()")
    ((free, total),) = found.fetchall()
    return bool(free > max(_MIN_FREE_BYTES, total / 2))


def copy_database(connection: duckdb.DuckDBPyConnection, target: Path) -> None:
    """Copy all tables into a new DuckDB file."""
    ((name,),) = connection.execute("SELECT current_database()").fetchall()
    connection.execute(f"ATTACH {_quoted(str(target))} AS copied")
    try:
        connection.execute(f'COPY FROM DATABASE "{name}" TO copied')
    finally:
        connection.execute("DETACH copied")


def export_events(connection: duckdb.DuckDBPyConnection, target: Path) -> int:
    """Write all events to a Parquet or CSV file, and return their number.

    Raises:
        StoreError: The name of the file ends otherwise.
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


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
