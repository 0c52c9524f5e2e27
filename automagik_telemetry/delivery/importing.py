"""Makes a fork wait while this package imports something late: in the child, such an import would never end.

Python holds a lock for each module that is being imported, and does not free those of threads that a fork leaves.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_WAIT = 5.0
"""Seconds that a fork waits at most, whatever hangs."""


class _Gate:
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, in the child."""
        self.lock = threading.RLock()
        self.closed = False

    def close(self) -> None:
        """Wait until nothing is being imported, and let nothing begin."""
        self.closed = self.lock.acquire(timeout=_LONGEST_WAIT)

    def open(self) -> None:
        """Let imports go on, in the parent."""
        if self.closed:
            self.lock.release()


_gate = _Gate()


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Let no fork happen meanwhile. For imports that are not at the top of a module."""
    with _gate.lock:
        yield


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_gate.close, after_in_parent=_gate.open, after_in_child=_gate.reset)
