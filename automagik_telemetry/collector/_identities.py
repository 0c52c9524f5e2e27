"""The identities of stored items, by which an item is recognized if it is sent again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from automagik_telemetry.collector._gate import MAX_AGE, MAX_AHEAD
from automagik_telemetry.collector._items import Identity

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb

_IN_TIME: Final = "identities"
_LATE: Final = "late_identities"
"""The identities of items whose time is not that of their arrival. Apart, the others are nearly in order."""

_OLD: Final = "old_identities"
"""The identities of items without a time or of long ago. They are kept, because such an item can come at any time."""

TABLES: Final = (_IN_TIME, _LATE, _OLD)

CREATE: Final = tuple(f"CREATE TABLE IF NOT EXISTS {name} (Second BIGINT, Key UBIGINT)" for name in TABLES)

# DuckDB skips row groups without any of these seconds. It reads the few that have one, instead of the whole table.
_LOOK_UP: Final = " UNION ALL ".join(
    f"""
    SELECT Second, Key FROM {name}
    SEMI JOIN (SELECT unnest(string_split($1::VARCHAR, ','))::BIGINT AS Second) USING (Second)
    WHERE Key IN (SELECT unnest(string_split($2::VARCHAR, ','))::UBIGINT)
    """
    for name in TABLES
)

# An item is late if its time is not within these seconds before and after its arrival.
_LATE_AFTER: Final = 3600
_EARLY_AFTER: Final = 300
# An event is accepted from MAX_AHEAD before its time until MAX_AGE after it.
_OLD_AFTER: Final = MAX_AGE
_KEPT_SECONDS: Final = MAX_AGE + MAX_AHEAD


def prepare(writer: duckdb.DuckDBPyConnection) -> None:
    """Prepare the statements."""
    for name in TABLES:
        columns = "unnest(string_split($1::VARCHAR, ','))::BIGINT, unnest(string_split($2::VARCHAR, ','))::UBIGINT"
        writer.execute(f"PREPARE add_{name} AS INSERT INTO {name} SELECT {columns}")
    writer.execute(f"PREPARE look_up AS {_LOOK_UP}")


def stored(writer: duckdb.DuckDBPyConnection, identities: Iterable[Identity]) -> list[Identity]:
    """Return those of the identities that are stored."""
    seconds = ",".join(map(str, {identity.second for identity in identities}))
    keys = ",".join(str(identity.key) for identity in identities)
    if not keys:
        return []
    return [Identity(*row) for row in writer.execute(f"EXECUTE look_up('{seconds}', '{keys}')").fetchall()]


def insert(writer: duckdb.DuckDBPyConnection, identities: Iterable[Identity]) -> None:
    """Insert identities, which are not stored yet."""
    now = time.time()
    by_table: dict[str, list[Identity]] = {name: [] for name in TABLES}
    for identity in identities:
        by_table[_table_of(identity.second, now)].append(identity)
    for table, found in by_table.items():
        if found:
            seconds, keys = (",".join(map(str, column)) for column in zip(*found, strict=True))
            writer.execute(f"EXECUTE add_{table}('{seconds}', '{keys}')")


def _table_of(second: int, now: float) -> str:
    if now - _LATE_AFTER < second < now + _EARLY_AFTER:
        return _IN_TIME
    return _LATE if second > now - _OLD_AFTER else _OLD


def expire(connection: duckdb.DuckDBPyConnection) -> None:
    """Delete the identities of items that can't be sent again any more."""
    for name in (_IN_TIME, _LATE):
        connection.execute(f"DELETE FROM {name} WHERE Second < {int(time.time()) - _KEPT_SECONDS}")
