"""A file of ours that is locked for as long as this process holds it."""

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

BLOCK_BYTES = 512  # the unit of `st_blocks`, whatever the file system's own is
MAX_READ_BYTES = 16 * 1024 * 1024  # of one file
_CHUNK = 262_144  # bytes
_ZEROS = bytes(_CHUNK)


class HeldFile:
    """Open file, locked for as long as this process holds it.

    The application may close the descriptor, and reuse its number, at any time. The file is then opened again when it
    is needed; a mapped one stays locked by its map.
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
        """The descriptor; a new one if the application closed it. Raises OSError if there can't be one."""
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
            raise OSError(errno.ESTALE, "another file has this name")
        return descriptor

    @property
    def id(self) -> int:
        """Number that no other file has, and never 0."""
        return id_of(os.path.basename(self.path))

    def age(self) -> float:
        """Return the seconds since the file was made: its name begins with the time."""
        return max(0.0, time.time() - created(os.path.basename(self.path)))

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
        """Give the file `size` bytes of zeros, and return whether the disk keeps room for them.

        A write into a hole of a full disk is a SIGBUS that kills the application. Pages that are in the cache together
        are also mapped together, while any other costs a fault of 5 us; not in one go, because what is cached as one
        and does not fit into a table of pages is mapped page by page. Raises OSError if there is no room.
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
        """Keep `until` (Unix seconds) with the file, as its modification time."""
        with contextlib.suppress(OSError):
            os.utime(self.path, (until, until))

    def remove(self) -> None:
        """Delete the file and let go of it."""
        try:
            os.unlink(self.path)
        except OSError:
            # It may have been deleted by someone else; if it can't be, at least nothing is sent twice.
            with contextlib.suppress(OSError):
                self.truncate(0)
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._owner == os.getpid() and self._descriptor.is_ours():
            # Closing alone would leave it locked while a child that was forked meanwhile has the descriptor too.
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor.number, fcntl.LOCK_UN)
        self.abandon()

    def abandon(self) -> None:
        """Close the file without ending the lock: in the child of a fork it is the parent's."""
        self._held.discard(self.path)
        self._descriptor.close()

    def __del__(self) -> None:
        """Let go of a file that nobody closed."""
        if hasattr(self, "_descriptor"):
            self.close()


def lock(descriptor: Descriptor) -> None:
    """Lock an open file. Raises OSError if another process holds it."""
    fcntl.flock(descriptor.number, fcntl.LOCK_EX | fcntl.LOCK_NB)


def id_of(name: str) -> int:
    """Return the number in a file's name, which no other file has, and never 0."""
    return int.from_bytes(bytes.fromhex(name[14:30]), "little", signed=True) or 1


def events_in(content: bytes) -> int:
    """Return the number of events in a segment's content."""
    return max(0, content.count(b"\n") - 1)  # less the line of the head


def created(name: str) -> float:
    """Return when the file with this name was made, in Unix seconds."""
    return int(name[:13]) / 1000
