"""Descriptors of ours in a process where the application closes and reuses numbers that it did not open.

A daemon closes every descriptor that it did not open, and its next files and sockets reuse the numbers. A number of
ours may therefore refer to anything, so its `Identity` is compared before each use. About a microsecond remains between
the comparison and the use. Descriptors that the C library opens and closes within one call, to list a directory or to
resolve a host name, can't be compared. Descriptors 0 to 2 are never used, because an application that was started
without them would print into our files.
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
        """Return the identity of a descriptor's file or socket, or of the file at a path; None if there is none."""
        status = _status(file)
        return None if status is None else cls(status.st_dev, status.st_ino)

    @classmethod
    def of_unlinked(cls, number: int) -> Identity | None:
        """Return the identity of a file that is open and has no name, or None."""
        status = _status(number)
        return None if status is None or status.st_nlink else cls(status.st_dev, status.st_ino)

    def is_of(self, number: int) -> bool:
        """Return whether a descriptor refers to this file or socket.

        The check is repeated if it took so long that another thread may have run meanwhile.
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
    """Open file of ours, with its number as long as that refers to the file."""

    __slots__ = ("_identity", "_number")

    def __init__(self, number: int, identity: Identity | None) -> None:
        """Take over an open descriptor of a file with a known identity.

        The identity can't be read from the number, because the application may have reused it since it was opened.
        """
        self._identity = identity
        self._number = number

    @classmethod
    def of_file(cls, number: int, path: str) -> Descriptor:
        """Take over an open descriptor of the file at a path, which another process may have replaced or removed."""
        identity = Identity.of(path)
        if identity is None or not identity.is_of(number):
            identity = Identity.of_unlinked(number)
        return cls(number, identity)

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
        """Close the file, or discard the number if it is not ours any more."""
        if self.is_ours():
            os.close(self._number)
        self._number = -1


@contextlib.contextmanager
def standard_descriptors_kept() -> Iterator[None]:
    """Occupy closed descriptors from 0 to 2 with placeholders, so that no file opened in this block gets one.

    A file that the application puts there meanwhile stays open.
    """
    with contextlib.ExitStack() as placeholders:
        for number in range(_STANDARD):
            if Identity.of(number) is None:
                placeholders.callback(_open_placeholder().close)
        yield


def _open_placeholder() -> Descriptor:
    """Open an empty file that nothing else refers to, or the null device if there are no files in memory."""
    # The null device can't be distinguished from the one that a daemon opens as its standard input.
    with contextlib.suppress(AttributeError, OSError):
        number = os.memfd_create("automagik-telemetry")
        return Descriptor(number, Identity.of_unlinked(number))
    number = os.open(os.devnull, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    return Descriptor(number, Identity.of(os.devnull))
