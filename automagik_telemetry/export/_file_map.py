"""Memory map of a file that never closes a descriptor of the application."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import sys
from itertools import chain
from typing import TYPE_CHECKING, Any

from automagik_telemetry._descriptors import Descriptor, Identity, standard_descriptors_kept
from automagik_telemetry._process import kept

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_kept_forever: list[mmap.mmap] = kept("maps", list)


class FileMap(mmap.mmap):
    """Shared map of the first `length` bytes of a file.

    Before Python 3.13 a map keeps a duplicate of the descriptor, and closes it by number when it is closed or
    collected. If that number belongs to the application by then, the map is never freed.
    """

    _duplicate = Descriptor(-1, None)

    def __new__(cls, descriptor: Descriptor, length: int) -> Self:
        """Map the file.

        Raises OSError if the file can't be mapped, or the application has reused the descriptor meanwhile.
        """
        if sys.version_info >= (3, 13):
            made = super().__new__(cls, descriptor.number, length, trackfd=False)
        else:
            with standard_descriptors_kept():
                likely = os.dup(descriptor.number)  # the map's duplicate gets the lowest free number as well
                Descriptor(likely, descriptor.identity).close()
                made = super().__new__(cls, descriptor.number, length)
            made._duplicate = _duplicate_of(descriptor, likely)
        descriptor.check()
        return made

    def close(self) -> None:
        """Unmap the file, without closing a number that is not ours any more."""
        if self._may_close():
            super().close()
        else:
            _keep_forever(self)

    def _may_close(self) -> bool:
        return sys.version_info >= (3, 13) or self.closed or self._duplicate.is_ours()

    def __del__(self) -> None:
        """Keep a map that can't be freed."""
        if not self._may_close():
            _keep_forever(self)


def _duplicate_of(descriptor: Descriptor, likely: int) -> Descriptor:
    """Return the duplicate that a map has just made, perhaps with the `likely` number. Raises OSError."""
    for number in chain([likely], _open_descriptors()):
        if number != descriptor.number and Identity.of(number) == descriptor.identity:
            return Descriptor(number, descriptor.identity)
    raise OSError(errno.EBADF, "the duplicate was closed by the application")


def _open_descriptors() -> Iterator[int]:
    """Yield the open descriptors of the process, on Linux."""
    yield from map(int, os.listdir("/proc/self/fd"))


def _keep_forever(map_: Any) -> None:
    """Never free a map, not even at the end of the interpreter."""
    _kept_forever.append(map_)
    with contextlib.suppress(ImportError):
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(map_))
