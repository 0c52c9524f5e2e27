"""The identities of stored items, by which an item is recognized if it is sent again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from automagik_telemetry.collector._items import Identity

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb

_IN_TIME: Final = "identities"
_LATE: Final = "late_identities"
"""The identities of items whose time is not that of their arrival. Apart, the others are nearly in order."""

TABLES: Final = (_IN_TIME, _LATE)

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
# An event is accepted until it is eight days old, so that it can come again for nine at most.
_KEPT_SECONDS: Final = 9 * 86_400


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
    in_time: list[Identity] = []
    late: list[Identity] = []
    for identity in identities:
        (in_time if now - _LATE_AFTER < identity.second < now + _EARLY_AFTER else late).append(identity)
    for table, found in ((_IN_TIME, in_time), (_LATE, late)):
        if found:
            seconds, keys = (",".join(map(str, column)) for column in zip(*found, strict=True))
            writer.execute(f"EXECUTE add_{table}('{seconds}', '{keys}')")


def expire(connection: duckdb.DuckDBPyConnection) -> None:
    """Delete the identities of items that can't be sent again any more."""
    now = int(time.time())
    # Older ones are kept: they belong to items without a time, which are accepted at any time.
    outdated = f"Second BETWEEN {now - 10 * _KEPT_SECONDS} AND {now - _KEPT_SECONDS}"
    for name in TABLES:
        connection.execute(f"DELETE FROM {name} WHERE {outdated}")
