"""Executes prepared statements whose parameter is rows, one JSON object a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import duckdb

# Rows are inserted in slices of this size, which bounds the memory of a statement.
_SLICE_BYTES: Final = 2 * 1024 * 1024


def execute(writer: duckdb.DuckDBPyConnection, statement: str, lines: Iterable[bytes]) -> None:
    """Execute a statement for rows, in slices."""
    for rows in _slices(lines):
        parameter = literal(b"\n".join(rows))
        writer.execute(f"EXECUTE {statement}({parameter})")


def literal(json: bytes) -> str:
    """Return JSON as a literal of SQL. It has no NUL, so doubled quotes are enough."""
    return "'" + json.decode().replace("'", "''") + "'"


def _slices(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    rows: list[bytes] = []
    size = 0
    for line in lines:
        rows.append(line)
        size += len(line)
        if size >= _SLICE_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows
