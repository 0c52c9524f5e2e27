"""Maintains a store while it is open: roll-ups, retention and compaction."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from automagik_telemetry._log import warn

if TYPE_CHECKING:
    from automagik_telemetry.collector._store import Store

DEFAULT_INTERVAL: Final = 3600.0
"""Number of seconds between two runs."""


class Maintenance:
    """A thread that maintains a store at once, and then at an interval.

    Args:
        store: The store, which is open until the thread has ended.
        interval: Number of seconds between two runs.
    """

    def __init__(self, store: Store, interval: float) -> None:
        self._store = store
        self._interval = interval
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="automagik-collector-maintenance", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, after the run in progress."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._store.maintain()
            except Exception as error:
                warn("Maintenance of the store is tried again later. %s", error)
            self._closed.wait(self._interval)
