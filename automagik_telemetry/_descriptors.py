"""Descriptors of ours in a process where the application closes and reuses numbers that it did not open.

A daemon closes every descriptor that it does not know, and its next files and sockets take the numbers. A number that
was ours may therefore refer to anything, so its `Identity` is compared before each use. A microsecond remains between
the comparison and the use. Descriptors that the C library opens and closes within one call, of a directory that is
listed or for a name that is looked up, can't be compared. Descriptors 0 to 2 are never taken, because an application
that was started without them would print into our files.
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
_MAX_CHECK_SECONDS = 0.000_005
_MAX_CHECKS = 5


class Identity(NamedTuple):
    """Identity of an open file or socket."""

    device: int
    inode: int

    @classmethod
    def of(cls, file: int | str) -> Identity | None:
        """Return the identity of what a descriptor refers to, or of the file at a path; None if there is none."""
        status = _status(file)
        return None if status is None else cls(status.st_dev, status.st_ino)

    @classmethod
    def of_unlinked(cls, number: int) -> Identity | None:
        """Return the identity of a file that is open and has no name, or None."""
        status = _status(number)
        return None if status is None or status.st_nlink else cls(status.st_dev, status.st_ino)

    def is_of(self, number: int) -> bool:
        """Return whether a descriptor refers to this.

        It is asked again if it took so long that another thread may have had its turn meanwhile.
        """
        is_same = False
        for _ in range(_MAX_CHECKS):
            begin = time.perf_counter()
            is_same = Identity.of(number) == self
            if not is_same or time.perf_counter() - begin < _MAX_CHECK_SECONDS:
                break
        return is_same


def _status(file: int | str) -> os.stat_result | None:
    try:
        return os.fstat(file) if isinstance(file, int) else os.lstat(file)
    except OSError:
        return None


class Descriptor:
    """Open file of ours: its number, for as long as that refers to the file."""

    __slots__ = ("_identity", "_number")

    def __init__(self, number: int, identity: Identity | None) -> None:
        """Take over an open descriptor of a file with a known identity.

        To learn the identity from the number is not enough: the application may have put a file of its own there since
        it was opened.
        """
        self._identity = identity
        self._number = number

    def is_ours(self) -> bool:
        """Return whether the number still refers to the file."""
        return self._number >= 0 and self._identity is not None and self._identity.is_of(self._number)

    @property
    def identity(self) -> Identity | None:
        """Identity of the file, or None if the application had taken the number before it was known."""
        return self._identity

    def check(self) -> None:
        """Raise OSError if the number does not refer to the file any more."""
        if not self.is_ours():
            raise OSError(errno.EBADF, "the descriptor was closed by the application")

    @property
    def number(self) -> int:
        """The number. Raises OSError if it does not refer to the file any more."""
        self.check()
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
                placeholders.callback(_open_placeholder().close)
        yield


def _open_placeholder() -> Descriptor:
    """Open an empty file that nothing else refers to; the null device where the system has no files in memory."""
    # As the null device, it could not be told from the one that a daemon puts on its standard input.
    with contextlib.suppress(AttributeError, OSError):
        number = os.memfd_create("automagik-telemetry")
        return Descriptor(number, Identity.of_unlinked(number))
    number = os.open(os.devnull, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    return Descriptor(number, Identity.of(os.devnull))
