"""Descriptors of ours in a process where the application closes and reuses numbers that it did not open.

A daemon closes every descriptor that it does not know, and its next files and sockets take the numbers. A number that
was ours may therefore refer to anything: `Identity` tells before each use. Descriptors 0 to 2 are never taken, because
an application that was started without them would print into our files.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_STANDARD = 3  # descriptors: standard input, output and error
_kept_forever: list[mmap.mmap] = []


class Identity(NamedTuple):
    """Identity of an open file or socket."""

    device: int
    inode: int

    @classmethod
    def of(cls, descriptor: int) -> Identity | None:
        """Return the identity of what a descriptor refers to, or None if it is closed."""
        try:
            status = os.fstat(descriptor)
        except OSError:
            return None
        return cls(status.st_dev, status.st_ino)


@contextlib.contextmanager
def standard_descriptors_kept() -> Iterator[None]:
    """Keep what is opened inside from getting a descriptor from 0 to 2: the null device stands in for closed ones."""
    fillers: list[int] = []
    try:
        for number in range(_STANDARD):
            if Identity.of(number) is None:
                fillers += (os.open(os.devnull, os.O_RDWR | getattr(os, "O_CLOEXEC", 0)),)
        yield
    finally:
        for filler in fillers:
            os.close(filler)


class FileMap(mmap.mmap):
    """Shared map of the first `length` bytes of a file.

    Before Python 3.13 a map keeps a duplicate of the descriptor, and closes it by number when it is closed or
    collected. Where that number belongs to the application by then, the map is never freed.
    """

    _duplicate: tuple[int, Identity | None] | None = None

    def __new__(cls, descriptor: int, length: int) -> Self:
        """Map the file.

        Raises OSError if the file can't be mapped.
        """
        if sys.version_info >= (3, 13):
            return super().__new__(cls, descriptor, length, trackfd=False)
        identity = Identity.of(descriptor)
        with standard_descriptors_kept():
            os.close(likely := os.dup(descriptor))  # the map's duplicate gets the lowest free number, too
            made = super().__new__(cls, descriptor, length)
        made._duplicate = next(
            (
                (number, identity)
                for number in chain([likely], _open_descriptors())
                if number != descriptor and Identity.of(number) == identity
            ),
            None,
        )
        return made

    def close(self) -> None:
        """Unmap the file, and leave a number alone that is not ours any more."""
        if self._may_close():
            super().close()
        else:
            _keep_forever(self)

    def _may_close(self) -> bool:
        return self._duplicate is None or self.closed or Identity.of(self._duplicate[0]) == self._duplicate[1]

    def __del__(self) -> None:
        """Keep a map that can't be freed."""
        if not self._may_close():
            _keep_forever(self)


def _open_descriptors() -> Iterator[int]:
    """Yield the open descriptors of the process, on Linux."""
    yield from map(int, os.listdir("/proc/self/fd"))


def _keep_forever(map_: Any) -> None:  # noqa: ANN401 - ctypes takes any object
    """Never free a map, not even at the end of the interpreter."""
    _kept_forever.append(map_)
    with contextlib.suppress(ImportError):
        import ctypes  # noqa: PLC0415 - only here

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(map_))
