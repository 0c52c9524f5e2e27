"""Folder of one destination: its segments, and the pages on which processes count, each held by one process.

Files are 0600 in folders of 0700 that belong to the user; what does not look like that is refused, not mended. A
segment's file name begins with the time of its creation; its modification time is the time from which it may be sent.
A file is held by a lock that the kernel drops when the process dies.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import time
from typing import TYPE_CHECKING

from automagik_telemetry.delivery.stats import Page, Totals, settling_id, totals_of
from automagik_telemetry.descriptors import Descriptor, standard_descriptors_kept
from automagik_telemetry.private_files import open_private, private_directory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

try:
    import fcntl
except ImportError:  # pragma: no cover - not on Windows: there segments live in memory
    CAN_LOCK = False
    if TYPE_CHECKING:
        raise
else:
    CAN_LOCK = True

# Local file systems whose preallocated, mapped blocks stay writable; on any other a segment is buffered.
# Not those that copy on write, such as btrfs: there a preallocated block may need another one when it is written.
_MAPPABLE = frozenset({"ext2", "ext3", "ext4", "xfs", "tmpfs", "overlay"})
_SEGMENT = re.compile(r"[0-9]{13}-([0-9a-f]{16})\.json")
_PAGE = re.compile(r"[0-9]{13}-[0-9a-f]{16}\.stats")
_MAX_DRAFT_AGE = 3600.0  # seconds
_BLOCK = 512  # bytes: the unit of `st_blocks`, whatever the file system's own is
_CHUNK = 262_144  # bytes
_ZEROS = bytes(_CHUNK)
_MAX_READ = 16 * 1024 * 1024  # bytes of one file


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
            fcntl.flock(descriptor.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
        return _id(os.path.basename(self.path))

    def age(self) -> float:
        """Return the seconds since the file was made: its name begins with the time."""
        return max(0.0, time.time() - created(os.path.basename(self.path)))

    def read(self, size: int) -> bytes:
        """Return the first `size` bytes. Raises OSError."""
        return os.pread(self.descriptor.number, size, 0)

    def events(self) -> int:
        """Return the number of events in a segment's file. Raises OSError."""
        return _events_in(self.read(_MAX_READ))

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
        return os.lstat(self.path).st_blocks * _BLOCK >= size

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
        return os.lstat(self.path).st_blocks * _BLOCK

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


def _new_name(ending: str) -> str:
    return f"{time.time_ns() // 1_000_000:013d}-{os.urandom(8).hex()}{ending}"


def _id(name: str) -> int:
    return int.from_bytes(bytes.fromhex(name[14:30]), "little", signed=True) or 1


def _events_in(content: bytes) -> int:
    return max(0, content.count(b"\n") - 1)  # less the line of the head


def created(name: str) -> float:
    """Return when the file with this name was made, in Unix seconds."""
    return int(name[:13]) / 1000


class Spool:
    """Creates, finds and adopts the files in one folder."""

    def __init__(self, directory: str) -> None:
        """Use `directory`, made if missing.

        Raises OSError if that can't be, or it isn't ours alone.
        """
        if not CAN_LOCK:  # pragma: no cover - see above
            raise OSError("files can't be locked here")
        private_directory(os.path.dirname(directory))
        self.directory = private_directory(directory)
        self._held: set[str] = set()
        self.mappable = _is_mappable(directory)

    def create(self, ending: str = ".json") -> HeldFile:
        """Return a new, locked, empty file. Raises OSError."""
        name = _new_name(ending)
        draft, path = self.path("." + name), self.path(name)
        descriptor = open_private(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            # Locked before it has the name under which others look for it.
            fcntl.flock(descriptor.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(draft, path)
            return HeldFile(path, descriptor, self._held)
        except BaseException:
            descriptor.close()
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise

    def names(self) -> list[str]:
        """Return the names of all segments, oldest first, and delete drafts that a crash left."""
        names = self._listed()
        for name in names:
            if name.startswith("."):
                self._delete_stale(name)
        return sorted(filter(_SEGMENT.fullmatch, names))

    def usage(self) -> int:
        """Return the bytes on disk of all segments, live ones of other processes included."""
        return sum(status.st_blocks * _BLOCK for status in self._statuses(self.names()))

    def not_before(self) -> float:
        """Return the time (Unix seconds) from which other processes' segments may be sent, and so anything.

        What a server said to one of them holds for all.
        """
        others = (name for name in self.names() if self.path(name) not in self._held)
        return max((status.st_mtime for status in self._statuses(others)), default=0.0)

    def adopt(self, name: str) -> HeldFile | None:
        """Lock a segment that nobody holds; None if someone does, if it is gone, settled, or not a file of ours."""
        file = self._lock(name)
        if file is not None and any(settling_id(page) == file.id for page in self._contents(self._page_names())):
            file.remove()  # its owner was killed after it had counted the events
            return None
        return file

    def stats_page(self) -> Page:
        """Return a page to count on: one that no process holds, or a new one. Raises OSError."""
        locked = (file for name in self._page_names() if (file := self._lock(name)) is not None)
        file = next(locked, None) or self.create(".stats")
        try:
            page = Page(file, mapped=self.mappable)
        except BaseException:
            file.close()
            raise
        if settled := page.settling:
            for name in self.names():
                if _id(name) == settled and (found := self.adopt(name)) is not None:
                    found.close()
        return page

    def pending(self) -> int:
        """Return the number of events in all segments, live ones of other processes included."""
        return sum(map(_events_in, self._contents(self.names())))

    def totals(self) -> Totals:
        """Return what all processes have counted so far."""
        return totals_of(self._contents(self._page_names()))

    def path(self, name: str) -> str:
        """Return the path of the file with this name."""
        return os.path.join(self.directory, name)

    def _lock(self, name: str) -> HeldFile | None:
        """Lock a file that nobody holds."""
        path = self.path(name)
        if path in self._held:  # on some network file systems a process's locks don't keep out itself
            return None
        try:
            descriptor = open_private(path, os.O_RDWR)
        except OSError:
            return None
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # No link is left if who held it has delivered it between our open and our lock; two are an attack.
            if os.fstat(descriptor.number).st_nlink == 1:
                return HeldFile(path, descriptor, self._held)
        descriptor.close()
        return None

    def _page_names(self) -> list[str]:
        return sorted(filter(_PAGE.fullmatch, self._listed()))

    def _listed(self) -> list[str]:
        with contextlib.suppress(OSError), standard_descriptors_kept():
            return os.listdir(self.directory)
        return []

    def _contents(self, names: Iterable[str]) -> Iterator[bytes]:
        """Yield the content of each file, whoever holds it."""
        for name in names:
            with contextlib.suppress(OSError):
                descriptor = open_private(self.path(name), os.O_RDONLY)
                try:
                    yield os.pread(descriptor.number, _MAX_READ, 0)
                finally:
                    descriptor.close()

    def _statuses(self, names: Iterable[str]) -> Iterator[os.stat_result]:
        for name in names:
            with contextlib.suppress(OSError):
                yield os.lstat(self.path(name))

    def _delete_stale(self, name: str) -> None:
        with contextlib.suppress(OSError):
            if time.time() - os.lstat(self.path(name)).st_mtime > _MAX_DRAFT_AGE:
                os.unlink(self.path(name))


def open_spool(state_directory: str, *destination: str) -> Spool | None:
    """Return the folder of one destination (sink, URL, key); None where there can't be one."""
    name = hashlib.sha256("\n".join(destination).encode()).hexdigest()[:16]
    try:
        private_directory(state_directory)
        return Spool(os.path.join(state_directory, "queue", name))
    except OSError:
        return None


def _is_mappable(directory: str) -> bool:
    """Return whether what is preallocated in `directory` stays writable on a full disk."""
    kind = _filesystem(directory)
    if kind not in _MAPPABLE or not hasattr(os, "posix_fallocate"):
        return False
    # An overlay has the properties of what lies below, which can't be seen from a container. Of those that copy on
    # write, btrfs has no fixed number of inodes; ZFS is recognized by `HeldFile.preallocate`.
    return kind != "overlay" or os.statvfs(directory).f_files > 0


def _filesystem(path: str) -> str:
    """Return the type of the file system that holds `path`, as Linux names it, or an empty string elsewhere."""
    best, kind = "", ""
    path = os.path.realpath(path)
    try:
        with (
            standard_descriptors_kept(),
            open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts,
        ):
            for line in mounts:
                fields, _, source = line.partition(" - ")
                point = fields.split(" ")[4].replace("\\040", " ")
                inside = path == point or path.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(best):
                    best, kind = point, source.split(" ")[0]
    except (OSError, IndexError):
        return ""
    return kind
