"""Counts the readers of a file that may be replaced while none of them reads."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Readers:
    """A lock that any number of readers share, and that one thread can hold alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reading = 0
        self._excluded = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Share the lock. Waits while a thread holds it alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._excluded)
            self._reading += 1
        try:
            yield
        finally:
            with self._changed:
                self._reading -= 1
                self._changed.notify_all()

    @contextmanager
    def excluded(self, seconds: float) -> Iterator[bool]:
        """Hold the lock alone. Gives False, and does not hold it, if there are readers after this time."""
        with self._changed:
            free = self._changed.wait_for(lambda: not self._excluded, seconds)
            if free:
                self._excluded = True
                free = self._changed.wait_for(lambda: not self._reading, seconds)
                self._excluded = free
                self._changed.notify_all()
        try:
            yield free
        finally:
            if free:
                with self._changed:
                    self._excluded = False
                    self._changed.notify_all()
