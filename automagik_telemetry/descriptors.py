"""Descriptors of ours in a process where the application closes and reuses numbers that it did not open.

A daemon closes every descriptor that it does not know, and its next files and sockets take the numbers. A number that
was ours may therefore refer to anything: `Identity` tells before each use. Descriptors 0 to 2 are never taken, because
an application that was started without them would print into our files.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_STANDARD = 3  # descriptors: standard input, output and error
_QUICK = 0.000_05  # seconds
_MAX_CHECKS = 5


class Identity(NamedTuple):
    """Identity of an open file or socket."""

    device: int
    inode: int

    @classmethod
    def of(cls, number: int) -> Identity | None:
        """Return the identity of what a descriptor refers to, or None if it is closed."""
        try:
            status = os.fstat(number)
        except OSError:
            return None
        return cls(status.st_dev, status.st_ino)

    def is_of(self, number: int) -> bool:
        """Return whether a descriptor refers to this.

        It is asked again if it took so long that another thread may have had its turn meanwhile.
        """
        for _ in range(_MAX_CHECKS):
            begin = time.perf_counter()
            is_same = Identity.of(number) == self
            if not is_same or time.perf_counter() - begin < _QUICK:
                break
        return is_same


class Descriptor:
    """Open file of ours: its number, for as long as that refers to the file."""

    __slots__ = ("_identity", "_number")

    def __init__(self, number: int) -> None:
        """Take over an open descriptor."""
        self._identity = Identity.of(number)
        self._number = number

    def is_ours(self) -> bool:
        """Return whether the number still refers to the file."""
        return self._number >= 0 and self._identity is not None and self._identity.is_of(self._number)

    def is_same_file(self, other: Descriptor) -> bool:
        """Return whether another descriptor was opened for the same file."""
        return self._identity == other._identity

    @property
    def number(self) -> int:
        """The number. Raises OSError if it is not ours any more."""
        if not self.is_ours():
            raise OSError(errno.EBADF, "the descriptor was closed by the application")
        return self._number

    def close(self) -> None:
        """Close the file, or forget the number if it is not ours any more."""
        if self.is_ours():
            os.close(self._number)
        self._number = -1


@contextlib.contextmanager
def standard_descriptors_kept() -> Iterator[None]:
    """Keep what is opened inside from getting a descriptor from 0 to 2: a placeholder stands in for closed ones.

    The application may put a file of its own there meanwhile, which then stays.
    """
    with contextlib.ExitStack() as placeholders:
        for number in range(_STANDARD):
            if Identity.of(number) is None:
                placeholders.callback(Descriptor(_open_placeholder()).close)
        yield


def _open_placeholder() -> int:
    """Open an empty file that nothing else refers to; the null device where the system has no files in memory."""
    # As the null device, it could not be told from the one that a daemon puts on its standard input.
    with contextlib.suppress(AttributeError, OSError):
        return os.memfd_create("automagik-telemetry")
    return os.open(os.devnull, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
