"""A file of ours that is locked while this process holds it."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import TYPE_CHECKING

from automagik_telemetry._private_files import open_private

if TYPE_CHECKING:
    from automagik_telemetry._descriptors import Descriptor

try:
    import fcntl
except ImportError:  # pragma: no cover - not on Windows: there segments live in memory
    CAN_LOCK = False
    if TYPE_CHECKING:
        raise
else:
    CAN_LOCK = True

STAMP_DIGITS = 13  # digits of the milliseconds in a file's name
BLOCK_BYTES = 512  # the unit of `st_blocks` on every file system
MAX_READ_BYTES = 16 * 1024 * 1024  # of one file
_CHUNK = 262_144  # bytes
_ZEROS = bytes(_CHUNK)
_EARLIEST = 1_735_689_600.0
"""Unix time of 2025: this package has queued nothing before, so a clock that says so is wrong."""
_MAX_ERROR = 3600.0
"""Seconds by which the time in a file's name may be wrong, or ahead."""


class HeldFile:
    """Open file, locked while this process holds it.

    The application may close the descriptor, and reuse its number, at any time. The file is then reopened when it is
    needed. A mapped file stays locked by its map.
    """

    def __init__(self, path: str, descriptor: Descriptor, held: set[str]) -> None:
        """Take over an open, locked file; `held` are the paths of all files that the process holds."""
        self.path = path
        self._owner = os.getpid()
        self._held = held
        self._descriptor = descriptor
        held.add(path)

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor; a new one if the application closed it. Raises OSError if the file can't be reopened."""
        if not self._descriptor.is_ours():
            self._descriptor = self._opened_again()
        return self._descriptor

    def _opened_again(self) -> Descriptor:
        descriptor = open_private(self.path, os.O_RDWR)
        try:
            lock(descriptor)
        except OSError:
            descriptor.close()
            raise
        if descriptor.identity != self._descriptor.identity:
            descriptor.close()
            raise OSError(errno.ESTALE, "another file has this path")
        return descriptor

    @property
    def id(self) -> int:
        """Unique number of the file, never 0."""
        return id_of(os.path.basename(self.path))

    @property
    def refusals(self) -> int:
        """Number of refusals that the file's name says."""
        return refusals_of(os.path.basename(self.path))

    def rename(self, refusals: int) -> None:
        """Keep a number of refusals in the file's name, as far as the disk allows it."""
        directory, name = os.path.split(self.path)
        path = os.path.join(directory, f"{name.partition('.')[0]}.{refusals}.json")
        self._held.add(path)
        try:
            os.rename(self.path, path)
        except OSError:
            self._held.discard(path)
            return
        before, self.path = self.path, path
        self._held.discard(before)

    def age(self) -> float:
        """Return the seconds since the file was created, by the time in its name."""
        return max(0.0, time.time() - created(os.path.basename(self.path)))

    def date(self, moment: float) -> None:
        """Correct the time in the file's name, if the clock was wrong when it was made. Raises OSError."""
        folder, name = os.path.split(self.path)
        if abs(created(name) - moment) > _MAX_ERROR and moment >= _EARLIEST:
            path = os.path.join(folder, f"{stamp(moment)}{name[STAMP_DIGITS:]}")
            os.rename(self.path, path)
            self._held.add(path)
            before, self.path = self.path, path
            self._held.discard(before)

    def read(self, size: int) -> bytes:
        """Return the first `size` bytes. Raises OSError."""
        return os.pread(self.descriptor.number, size, 0)

    def events(self) -> int:
        """Return the number of events in a segment's file. Raises OSError."""
        return events_in(self.read(MAX_READ_BYTES))

    def write(self, data: bytes, offset: int) -> None:
        """Write all of `data`. Raises OSError."""
        while data:
            written = os.pwrite(self.descriptor.number, data, offset)
            data, offset = data[written:], offset + written

    def preallocate(self, size: int) -> bool:
        """Fill the file with `size` zeros, and return whether the disk reserves the space.

        A write into a hole of a full disk is a SIGBUS that kills the application. The zeros are written in chunks,
        because the pages of a cached chunk are mapped together, while a single page costs a fault of 5 us. A larger
        chunk does not fit into one page table. Raises OSError if there is no space.
        """
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self.descriptor.number, 0, size)
        for start in range(0, size, _CHUNK):
            self.write(_ZEROS[: size - start], start)
        return os.lstat(self.path).st_blocks * BLOCK_BYTES >= size

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes. Raises OSError."""
        os.truncate(self.path, size)

    def trim(self) -> int:
        """Cut the zeros that a killed process had preallocated, and return the bytes that the rest occupies.

        Raises OSError.
        """
        size = os.lstat(self.path).st_size
        used = len(self.read(size).rstrip(b"\0"))
        if used < size:
            self.truncate(used)
        return os.lstat(self.path).st_blocks * BLOCK_BYTES

    def defer(self, until: float) -> None:
        """Store `until` (Unix seconds) as the modification time of the file."""
        with contextlib.suppress(OSError):
            os.utime(self.path, (until, until))

    def remove(self) -> None:
        """Delete the file and close it."""
        try:
            os.unlink(self.path)
        except OSError:
            # It may be deleted already. If it can't be deleted, it is emptied, so that nothing is sent twice.
            with contextlib.suppress(OSError):
                self.truncate(0)
        self.close()

    def close(self) -> None:
        """Unlock and close the file."""
        if self._owner == os.getpid() and self._descriptor.is_ours():
            # Closing alone would leave it locked while a forked child has the descriptor as well.
            unlock(self._descriptor)
        self.abandon()

    def abandon(self) -> None:
        """Close the file without unlocking it: in the child of a fork the lock is the parent's."""
        self._held.discard(self.path)
        self._descriptor.close()

    def __del__(self) -> None:
        """Close a file that was not closed."""
        if hasattr(self, "_descriptor"):
            self.close()


def lock(descriptor: Descriptor) -> None:
    """Lock an open file. Raises OSError if another process holds it."""
    fcntl.flock(descriptor.number, fcntl.LOCK_EX | fcntl.LOCK_NB)


def unlock(descriptor: Descriptor) -> None:
    """Unlock an open file."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor.number, fcntl.LOCK_UN)


def id_of(name: str) -> int:
    """Return the unique number in a file's name, never 0."""
    return int.from_bytes(bytes.fromhex(name[14:30]), "little", signed=True) or 1


def refusals_of(name: str) -> int:
    """Return how often a segment with this name was refused."""
    number = name.split(".")[1]
    return int(number) if number.isdecimal() else 0


def events_in(content: bytes) -> int:
    """Return the number of events in a segment's content."""
    return max(0, content.count(b"\n") - 1)  # without the line of the head


def created(name: str) -> float:
    """Return the creation time in a file's name, in Unix seconds."""
    return int(name[:STAMP_DIGITS]) / 1000


def stamp(moment: float) -> str:
    """Return the beginning of the name of a file made at `moment`, in Unix seconds."""
    return f"{int(moment * 1000):0{STAMP_DIGITS}d}"


def is_dated_wrongly(name: str, now: float) -> bool:
    """Return whether the creation time in a file's name is before 2025 or in the future; False if `now` is wrong."""
    return now >= _EARLIEST and not _EARLIEST <= created(name) <= now + _MAX_ERROR
