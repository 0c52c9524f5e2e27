"""Events of work in progress, which the next process reports if this one dies.

An event is written when its work begins, and blanked when it ends. The file is a segment with another ending and with
blank lines. It is locked while its process lives, so that another process that can lock it knows that this one died.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Final

from automagik_telemetry.export._file_map import FileMap

if TYPE_CHECKING:
    from collections.abc import Callable

    from automagik_telemetry.export._body import Envelope
    from automagik_telemetry.export._held_file import HeldFile
    from automagik_telemetry.export._spool import Spool
    from automagik_telemetry.export._stats import DeliveryStats

ENDING: Final = ".begun"
_BLOCK: Final = 512
"""Slots in the file are multiples of this many bytes, so that a freed slot can be reused."""
_MAX_BYTES: Final = 262_144
"""Size of the file. Work that begins while it is full is not kept."""
_BLANK: Final = b"\n"


class Journal:
    """The file of one process and destination, created at the first event. All methods are thread-safe."""

    def __init__(self, spool: Spool | None, envelope: Envelope, stats: DeliveryStats) -> None:
        """Keep events in the folder; without one, keep nothing."""
        self._spool = spool
        self._envelope = envelope
        self._stats = stats
        """It has the lock, and a new one in the child of a fork."""
        self._file: HeldFile | None = None
        self._map: FileMap | None = None
        """The map of the file, where files can be mapped, because a system call costs more than everything else."""
        self._inherited: HeldFile | None = None
        """The parent's file with work that this process may end. It stays locked while one of the two lives."""
        self._end = self._begun = 0
        self._free: dict[int, list[int]] = {}
        """The offsets of free slots, by their size."""

    def begin(self, line: bytes, *, is_part: bool = False) -> Callable[[], None] | None:
        """Keep an encoded event with its separator; return a function that discards it, or None if there is no room.

        Parts of work that has begun get half of the room, because the beginning of other work matters more.
        """
        size = -(-len(line) // _BLOCK) * _BLOCK
        with self._stats.lock, contextlib.suppress(OSError):
            file = self._file or self._opened()
            if file is None:
                return None
            slots = self._free.get(size)
            offset = slots.pop() if slots else self._end
            if offset + size > (_MAX_BYTES // 2 if is_part else _MAX_BYTES):
                return None
            self._end = max(self._end, offset + size)
            _write(file, self._map, line.ljust(size, _BLANK), offset)
            self._begun += 1
            return functools.partial(self._discard, file, self._map, offset, size)
        return None

    def _opened(self) -> HeldFile | None:
        if self._spool is None:
            return None
        try:
            file = self._spool.create(ENDING)
        except OSError:
            self._spool = None  # a full disk, which would cost each caller as much
            raise
        try:
            is_mapped = self._spool.mappable and file.preallocate(_MAX_BYTES)
            self._map = FileMap(file.descriptor, _MAX_BYTES) if is_mapped else None
            _write(file, self._map, self._envelope.head, 0)
        except BaseException:
            file.remove()
            raise
        self._file, self._end, self._free, self._begun = file, len(self._envelope.head), {}, 0
        return file

    def _discard(self, file: HeldFile, mapped: FileMap | None, offset: int, size: int) -> None:
        with self._stats.lock, contextlib.suppress(OSError):
            if file is self._file or file is self._inherited:
                _write(file, mapped, _BLANK * size, offset)
            if file is self._file:
                self._begun -= 1
                self._free.setdefault(size, []).append(offset)
                if not self._begun:
                    self._end, self._free = len(self._envelope.head), {}

    def close(self) -> None:
        """Delete the file: the process ends normally, or consent was withdrawn."""
        with self._stats.lock:
            file, self._file = self._file, None
            if file is not None:
                self._unmap()
                file.remove()

    def abandon(self) -> None:
        """Leave the file to the parent process, in the child of a fork.

        If work is under way, the child may go on with it, as a daemon does, and keeps the file locked.
        """
        file, self._file = self._file, None
        if file is None:
            return
        if self._begun:
            self._inherited, self._map = file, None  # the functions of `begin` have the map
            return
        self._unmap()
        file.abandon()

    def _unmap(self) -> None:
        mapped, self._map = self._map, None
        if mapped is not None:
            mapped.close()


def _write(file: HeldFile, mapped: FileMap | None, data: bytes, offset: int) -> None:
    if mapped is None:
        file.write(data, offset)
    else:
        mapped[offset : offset + len(data)] = data
