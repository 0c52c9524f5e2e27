"""Memory map of a file, which leaves descriptors alone that the application has taken over."""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from itertools import chain
from typing import TYPE_CHECKING, Any

from automagik_telemetry.descriptors import Descriptor, Identity, standard_descriptors_kept

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_kept_forever: list[mmap.mmap] = []


class FileMap(mmap.mmap):
    """Shared map of the first `length` bytes of a file.

    Before Python 3.13 a map keeps a duplicate of the descriptor, and closes it by number when it is closed or
    collected. Where that number belongs to the application by then, the map is never freed.
    """

    _duplicate: Descriptor | None = None

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
        for number in chain([likely], _open_descriptors()):
            if number != descriptor and Identity.of(number) == identity:
                made._duplicate = Descriptor(number)
                break
        return made

    def close(self) -> None:
        """Unmap the file, and leave a number alone that is not ours any more."""
        if self._may_close():
            super().close()
        else:
            _keep_forever(self)

    def _may_close(self) -> bool:
        return self._duplicate is None or self.closed or self._duplicate.is_ours()

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
