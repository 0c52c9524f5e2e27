"""Numbers the installs: an event has a small number instead of an ID of 36 characters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from automagik_telemetry.collector._schema import INSTALLS
from automagik_telemetry.collector._statements import literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb

_MAX_REMEMBERED: Final = 50_000


class Installs:
    """The numbers of installs, with a bounded cache.

    Args:
        writer: The connection. The table exists.
    """

    def __init__(self, writer: duckdb.DuckDBPyConnection) -> None:
        self._writer = writer
        self._numbers: dict[str, int] = {}
        self._next: int | None = None
        ids = "SELECT unnest(from_json($1::VARCHAR, '[\"VARCHAR\"]'))"
        writer.execute(f"PREPARE find_installs AS SELECT id, number FROM {INSTALLS.name} WHERE id IN ({ids})")

    def number(self, ids: Iterable[str]) -> tuple[dict[str, int], list[bytes]]:
        """Return the numbers of installs by ID, and the rows of those that are new."""
        wanted = set(ids)
        unknown = sorted(wanted - self._numbers.keys())
        if not unknown:
            return self._numbers, []
        if len(self._numbers) > _MAX_REMEMBERED:
            self._numbers.clear()
            unknown = sorted(wanted)
        found = self._writer.execute(f"EXECUTE find_installs({literal(orjson.dumps(unknown))})")
        self._numbers.update(found.fetchall())
        if self._next is None:
            ((number,),) = self._writer.execute(f"SELECT coalesce(max(number) + 1, 0) FROM {INSTALLS.name}").fetchall()
            self._next = int(number)
        rows: list[bytes] = []
        for each in unknown:
            if each not in self._numbers:
                self._numbers[each] = self._next
                rows.append(orjson.dumps({"number": self._next, "id": each}))
                self._next += 1
        return self._numbers, rows

    def forget(self) -> None:
        """Clear the cache after a rollback."""
        self._numbers.clear()
        self._next = None
