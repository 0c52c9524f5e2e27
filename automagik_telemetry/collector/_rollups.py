"""Rolls events up by day: counts, sums and histograms of durations, which merge by addition.

A day is stale if it has events that are not rolled up. It is marked in the transaction that stores them, and rolled up
again as a whole. Rows whose events are deleted are final. The roll-up of a day is thus its final rows and those of its
events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from automagik_telemetry.collector._schema import EVENTS, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import duckdb

_GAMMA: Final = 1.1
"""The quotient of the bounds of a bucket. A percentile has an error of at most (gamma - 1) / (gamma + 1), 4.8 %."""

_SHORTEST_MS: Final = 0.001

DAILY: Final = Table(
    "daily",
    {
        "day": "DATE",
        "final": "BOOLEAN",
        "service": "VARCHAR",
        "version": "VARCHAR",
        "os": "VARCHAR",
        "event": "VARCHAR",
        "declared": "BOOLEAN",
        "name": "VARCHAR",
        "category": "VARCHAR",
        "framework": "VARCHAR",
        "model": "VARCHAR",
        "error_type": "VARCHAR",
        "component": "VARCHAR",
        "success": "BOOLEAN",
        "events": "UBIGINT",
        "weight": "DOUBLE",
        "input_tokens": "DOUBLE",
        "output_tokens": "DOUBLE",
        "buckets": "SMALLINT[]",
        "weights": "DOUBLE[]",
    },
    computed={},
)
"""A row for each day and combination of values.

`events` is the number of stored events. `weight` and the tokens are weighted by the sampling rate. `buckets` are those
of the durations, with the weight of the events in each.
"""

DAILY_INSTALLS: Final = Table(
    "daily_installs",
    {
        "day": "DATE",
        "final": "BOOLEAN",
        "install": "UINTEGER",
        "service": "VARCHAR",
        "version": "VARCHAR",
        "os": "VARCHAR",
        "python": "VARCHAR",
        "events": "UBIGINT",
        "weight": "DOUBLE",
    },
    computed={},
)
"""A row for each day, install, and what it ran. A day can have an install twice, so count distinct ones."""

_ROLLUPS: Final = (DAILY, DAILY_INSTALLS)

STALE_DAYS: Final = Table("stale_days", {"day": "DATE"}, computed={})

_HASH: Final = "custom-[0-9a-f]{16}"


def _shared(column: str) -> str:
    """Return SQL for a column, with "(undeclared)" in place of hashes, which may differ from user to user."""
    hidden = f"regexp_replace({column}, '{_HASH}', '(undeclared)', 'g')"
    return f"CASE WHEN contains({column}, 'custom-') THEN {hidden} ELSE {column} END"


_BUCKET: Final = (
    "CASE WHEN duration_ms IS NOT NULL AND NOT coalesce(abandoned, false) "
    f"THEN ceil(ln(greatest(duration_ms, {_SHORTEST_MS})) / ln({_GAMMA})) END"
)

_WORDS: Final = ("name", "category", "framework", "model", "error_type", "component")

_DAILY_SELECT: Final = f"""
    SELECT * EXCLUDE (bucket, events, weight, input_tokens, output_tokens),
      sum(events), sum(weight), sum(input_tokens), sum(output_tokens),
      list(bucket ORDER BY bucket) FILTER (WHERE bucket IS NOT NULL),
      list(weight ORDER BY bucket) FILTER (WHERE bucket IS NOT NULL)
    FROM (
      SELECT day, false, service, version, os, event, declared, {", ".join(map(_shared, _WORDS))}, success,
        {_BUCKET} AS bucket, count(*) AS events, sum(weight) AS weight,
        sum(input_tokens * weight) AS input_tokens, sum(output_tokens * weight) AS output_tokens
      FROM {EVENTS} WHERE list_contains($1::DATE[], day)
      GROUP BY ALL
    )
    GROUP BY ALL
"""

_INSTALLS_SELECT: Final = f"""
    SELECT day, false, install, service, version, os, python, count(*), sum(weight)
    FROM {EVENTS} WHERE list_contains($1::DATE[], day) AND install IS NOT NULL
    GROUP BY ALL
"""


def quantile(group: str, fraction: float, condition: str = "true") -> str:
    """Return the query for a quantile of the durations in roll-ups, with an error of at most 5 %.

    Args:
        group: Columns by which it is grouped, separated by commas.
        fraction: The quantile, from 0 to 1.
        condition: The condition of the rows.

    Returns:
        A query of those columns, and of `ms`.
    """
    return f"""
        SELECT {group}, 2 / ({_GAMMA} + 1) * {_GAMMA} ** min(bucket) FILTER (WHERE below >= {fraction} * total) AS ms
        FROM (
          SELECT {group}, bucket, sum(weight) OVER (PARTITION BY {group} ORDER BY bucket) AS below,
            sum(weight) OVER (PARTITION BY {group}) AS total
          FROM (
            SELECT {group}, bucket, sum(weight) AS weight
            FROM (
              SELECT {group}, unnest(buckets) AS bucket, unnest(weights) AS weight
              FROM {DAILY.name} WHERE {condition}
            )
            GROUP BY ALL
          )
        )
        GROUP BY ALL
    """


class StaleDays:
    """Marks days of which events are stored. Its methods are called by the thread that holds the store's lock.

    Args:
        writer: The connection that stores events.
    """

    def __init__(self, writer: duckdb.DuckDBPyConnection) -> None:
        self._writer = writer
        self._marked: set[int] = set()

    def mark(self, days: Iterable[int]) -> None:
        """Mark days, as numbers since 1970, within the transaction that stores their events."""
        new = set(days) - self._marked
        if new:
            values = ", ".join(f"(DATE '1970-01-01' + {day})" for day in new)
            self._writer.execute(f"INSERT INTO {STALE_DAYS.name} VALUES {values}")
            self._marked |= new

    def forget(self) -> None:
        """Remember no mark, because it was rolled back, or will be removed."""
        self._marked.clear()


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the tables that do not exist."""
    for table in (*_ROLLUPS, STALE_DAYS):
        connection.execute(table.create)


def mark(connection: duckdb.DuckDBPyConnection, condition: str = "true", parameters: Sequence[object] = ()) -> None:
    """Mark the days of the events that meet a condition as stale."""
    connection.execute(
        f"INSERT INTO {STALE_DAYS.name} SELECT DISTINCT day FROM {EVENTS} WHERE {condition}", list(parameters)
    )


def stale_days(connection: duckdb.DuckDBPyConnection) -> list[object]:
    """Return the days that are to be rolled up."""
    return [day for (day,) in connection.execute(f"SELECT DISTINCT day FROM {STALE_DAYS.name}").fetchall()]


def roll(connection: duckdb.DuckDBPyConnection, days: list[object]) -> None:
    """Roll these days up again, within a transaction."""
    for table, select in zip(_ROLLUPS, (_DAILY_SELECT, _INSTALLS_SELECT), strict=True):
        connection.execute(f"DELETE FROM {table.name} WHERE NOT final AND list_contains($1::DATE[], day)", [days])
        connection.execute(f"INSERT INTO {table.name} {select}", [days])
    connection.execute(f"DELETE FROM {STALE_DAYS.name} WHERE list_contains($1::DATE[], day)", [days])


def finish(connection: duckdb.DuckDBPyConnection, before: int) -> None:
    """Delete the events of days before one (a number since 1970) that are rolled up, within a transaction."""
    old = f"day < DATE '1970-01-01' + {before} AND day NOT IN (SELECT day FROM {STALE_DAYS.name})"
    for table in _ROLLUPS:
        connection.execute(f"UPDATE {table.name} SET final = true WHERE NOT final AND {old}")
    connection.execute(f"DELETE FROM {EVENTS} WHERE {old}")
