"""Inserts typed events with the columns that they have, of the many that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from automagik_telemetry.collector._installs import Installs
from automagik_telemetry.collector._rollups import StaleDays
from automagik_telemetry.collector._schema import INSTALLS
from automagik_telemetry.collector._statements import execute

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from automagik_telemetry.collector._items import EncodedEvent
    from automagik_telemetry.collector._schema import Table

_MAX_STATEMENTS: Final = 32


class EventWriter:
    """Inserts events on one connection.

    A statement for the columns that the events of a transaction have takes half the time of one for all columns.

    Args:
        writer: The connection.
        table: The table of events, which exists.
    """

    def __init__(self, writer: duckdb.DuckDBPyConnection, table: Table) -> None:
        self._writer = writer
        self._table = table
        self._installs = Installs(writer)
        self.stale_days = StaleDays(writer)
        self._statements: dict[frozenset[str], str] = {}

    def insert(self, events: Sequence[EncodedEvent]) -> None:
        """Insert events and the installs that are new, and mark their days."""
        if not events:
            return
        self.stale_days.mark(event.day for event in events)
        numbers, new = self._installs.number(event.install for event in events if event.install is not None)
        execute(self._writer, f"add_{INSTALLS.name}", new)
        lines = (
            event.line if event.install is None else b'{"install":%d,%b' % (numbers[event.install], event.line[1:])
            for event in events
        )
        columns = frozenset({"install"}).union(*(event.columns for event in events))
        execute(self._writer, self._statement(columns), lines)

    def forget(self) -> None:
        """Remember no install and no day, because a transaction was rolled back, or they were deleted."""
        self._installs.forget()
        self.stale_days.forget()

    def _statement(self, columns: frozenset[str]) -> str:
        """Return the name of the prepared statement for these columns."""
        if columns not in self._statements:
            if len(self._statements) == _MAX_STATEMENTS:
                for name in self._statements.values():
                    self._writer.execute(f"DEALLOCATE {name}")
                self._statements.clear()
            name = f"add_{self._table.name}_{len(self._statements)}"
            self._writer.execute(f"PREPARE {name} AS {self._table.narrowed(columns).insert}")
            self._statements[columns] = name
        return self._statements[columns]
