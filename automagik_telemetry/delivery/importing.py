"""Makes a fork wait for what a child could not end: a late import, and a look at a segment's memory.

Python holds a lock for each module that is being imported, and does not free those of threads that a fork leaves.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_WAIT = 5.0
"""Seconds that a fork waits at most, whatever hangs."""


class _Gate:
    """Keeps imports and forks apart, and no import from another: one may wait for what another thread imports."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, in the child."""
        self.changed = threading.Condition()
        self.inside: Counter[int] = Counter()

    def enter(self) -> None:
        """Begin to import, once no fork is going on."""
        with self.changed:
            self.inside[threading.get_ident()] += 1

    def leave(self) -> None:
        """End it. In a child that was forked meanwhile, nothing is left to end."""
        with self.changed:
            self.inside[threading.get_ident()] -= 1
            self.inside = +self.inside
            self.changed.notify_all()

    def close(self) -> None:
        """Wait until no other thread imports anything, and let nothing begin."""
        own = threading.get_ident()
        if self.changed.acquire(timeout=_LONGEST_WAIT):
            self.changed.wait_for(lambda: self.inside.keys() <= {own}, _LONGEST_WAIT)

    def open(self) -> None:
        """Let imports go on, in the parent."""
        with contextlib.suppress(RuntimeError):  # it was not to be had in time
            self.changed.release()


_gate = _Gate()


@contextlib.contextmanager
def no_fork() -> Iterator[None]:
    """Let no fork happen meanwhile, for a moment."""
    _gate.enter()
    try:
        yield
    finally:
        _gate.leave()


importing = no_fork
"""For imports that are not at the top of a module."""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_gate.close, after_in_parent=_gate.open, after_in_child=_gate.reset)
