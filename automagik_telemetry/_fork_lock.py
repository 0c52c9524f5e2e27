"""Makes a fork wait for imports that are under way, because a child can't finish them.

Python holds a lock for each module that is being imported, and does not free those of threads that a fork leaves
behind. Imports don't wait for each other: one may need what another thread imports. Nothing here takes a lock that an
interrupt could leave taken; each step is one operation on a list.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time

_MAX_WAIT = 5.0  # seconds that a fork waits, whatever hangs
_POLL_INTERVAL = 0.000_5  # seconds

_importing: list[int] = []
"""Threads that import, one entry for each nested block."""
_forking: list[int] = []
"""Threads that fork."""


class _Importing:
    """Block in which no other thread's fork begins."""

    def __enter__(self) -> None:
        """Wait for a fork that is under way, and keep others from beginning."""
        own = threading.get_ident()
        _importing.append(own)
        while _others(_forking, own):
            _importing.remove(own)
            time.sleep(_POLL_INTERVAL)
            _importing.append(own)

    def __exit__(self, *_: object) -> None:
        """Let forks begin; in a child that was forked meanwhile there is nothing to end."""
        with contextlib.suppress(ValueError):
            _importing.remove(threading.get_ident())


importing = _Importing()
"""`with importing:` is for imports that are not at the top of a module, and for steps that a child could not undo."""


def leave() -> None:
    """End every block that an interrupt has left open in this thread."""
    own = threading.get_ident()
    while own in _importing:
        _importing.remove(own)


def _others(threads: list[int], own: int) -> bool:
    return any(thread != own for thread in tuple(threads))


def _before_fork() -> None:
    own = threading.get_ident()
    _forking.append(own)
    deadline = time.monotonic() + _MAX_WAIT
    while _others(_importing, own) and time.monotonic() < deadline:
        time.sleep(_POLL_INTERVAL)


def _after_fork_in_parent() -> None:
    with contextlib.suppress(ValueError):
        _forking.remove(threading.get_ident())


def _after_fork_in_child() -> None:
    _forking.clear()
    _importing.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
