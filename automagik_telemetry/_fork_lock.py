"""Delays a fork until running imports are complete, because a child can't complete them.

Python holds a lock for each module that is being imported. A fork does not release the locks of other threads in the
child. Imports don't wait for each other, because one may need a module that another thread imports. No lock is taken
here that an interrupt could leave locked: each step is one operation on a list.
"""

from __future__ import annotations

import contextlib
import threading
import time

from automagik_telemetry import _process as process

_MAX_WAIT = 5.0  # seconds that a fork waits at most
_POLL_INTERVAL = 0.000_5  # seconds

_importing: list[int] = process.kept("importing", list)
"""Threads that import, one entry for each nested block."""
_forking: list[int] = process.kept("forking", list)
"""Threads that fork."""


class _Importing:
    """Block in which no fork of another thread begins."""

    def __enter__(self) -> None:
        """Wait for a fork in progress, and delay further ones."""
        own = threading.get_ident()
        _importing.append(own)
        while _others(_forking, own):
            _importing.remove(own)
            time.sleep(_POLL_INTERVAL)
            _importing.append(own)

    def __exit__(self, *_: object) -> None:
        """Allow forks. In a child that was forked meanwhile there is no entry to remove."""
        with contextlib.suppress(ValueError):
            _importing.remove(threading.get_ident())


importing = _Importing()
"""Guard `with importing:` for imports inside functions, and for steps that a child could not undo."""


def release_all() -> None:
    """End every block of this thread that an interrupt has left open."""
    own = threading.get_ident()
    while own in _importing:
        _importing.remove(own)


def is_importing() -> bool:
    """Return whether another thread imports."""
    return _others(_importing, threading.get_ident())


def is_forking() -> bool:
    """Return whether any thread forks."""
    return bool(_forking)


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


process.at_fork(
    __name__, before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)
