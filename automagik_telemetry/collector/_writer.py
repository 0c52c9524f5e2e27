"""Commits all waiting requests together: one transaction for many small ones."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from automagik_telemetry.collector._errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automagik_telemetry.collector._items import Checked, Item
    from automagik_telemetry.collector._store import Store

# A group ends with the request that exceeds this number of bytes.
_GROUP_BYTES: Final = 4 * 1024 * 1024


class _Waiting(NamedTuple):
    """A request whose items wait for their commit."""

    items: Sequence[Item]
    size: int
    done: asyncio.Future[None]


class Writer:
    """A thread that stores the items of requests. While it commits a group, the next one gathers.

    Args:
        store: The store, to which nothing else is added meanwhile.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.stored = 0
        """Number of items that were stored, without those that were stored before."""
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="automagik-collector-writer", daemon=True)
        self._thread.start()

    async def add(self, found: Checked) -> None:
        """Store the items of a request; they are on disk when this returns.

        Raises:
            StoreError: They may not be on disk. They can be sent again in any case.
        """
        waiting = _Waiting(found.items, found.size, asyncio.get_running_loop().create_future())
        with self._changed:
            if self._closed:
                raise StoreError("The collector is stopping. Send again later.")
            self._waiting.append(waiting)
            self._changed.notify()
        await waiting.done

    def close(self) -> None:
        """Store what is waiting, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while group := self._take():
            self._store_group(group)

    def _take(self) -> list[_Waiting]:
        """Wait for requests and return them; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            group: list[_Waiting] = []
            size = 0
            while self._waiting and size < _GROUP_BYTES:
                waiting = self._waiting.popleft()
                size += waiting.size
                group.append(waiting)
            return group

    def _store_group(self, group: list[_Waiting]) -> None:
        """Commit a group. If that fails, commit each request alone, so that one cannot fail the others."""
        try:
            self.stored += self._store.add([item for waiting in group for item in waiting.items])
        except Exception as error:
            if len(group) == 1:
                _resolve(group, error)
                return
        else:
            _resolve(group, None)
            return
        for waiting in group:
            self._store_group([waiting])


def _resolve(group: list[_Waiting], error: Exception | None) -> None:
    """Resolve the requests of a group, with one wake-up of the event loop."""

    def resolve() -> None:
        for waiting in group:
            if waiting.done.done():
                continue  # the server stopped waiting for it
            if error is None:
                waiting.done.set_result(None)
            else:
                waiting.done.set_exception(error)

    with suppress(RuntimeError):  # the event loop has ended
        group[0].done.get_loop().call_soon_threadsafe(resolve)
