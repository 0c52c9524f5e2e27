"""The folder that holds one destination's segments, each in a file that is locked while a process works on it.

Files are 0600 in folders of 0700 that belong to the user; what does not look like that is refused, not mended. A file's
name begins with the time of its creation, its modification time is the time from which it may be sent.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from typing import TYPE_CHECKING

from automagik_telemetry.private_files import open_private, private_directory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

try:
    import fcntl
except ImportError:  # pragma: no cover - not on Windows: there segments live in memory
    fcntl = None  # type: ignore[assignment]

# Local file systems whose preallocated, mapped blocks stay writable; on any other a segment is buffered.
# Not those that copy on write, such as btrfs: there a preallocated block may need another one when it is written.
_MAPPABLE = frozenset({"ext2", "ext3", "ext4", "xfs", "tmpfs", "overlay"})
_NAME = re.compile(r"[0-9]{13}-[0-9a-f]{16}\.json")
_STALE_DRAFT = 3600.0
_NEW = 60.0
"""Seconds by which a file that is used again may be younger than its name says."""
_BLOCK = 512
"""The unit of `st_blocks`, whatever the file system's own is."""


class HeldFile:
    """A segment's open file, locked for as long as this process holds it."""

    def __init__(self, path: str, descriptor: int, held: set[str]) -> None:
        """Take over an open, locked file; `held` are the paths of all files that the process holds."""
        self.path = path
        self.descriptor = descriptor
        self._held = held
        held.add(path)

    def age(self) -> float:
        """Return the seconds since the segment was begun: its name begins with the time."""
        return max(0.0, time.time() - created(os.path.basename(self.path)))

    def trim(self) -> int:
        """Cut what a killed process had allocated and not used, and return the bytes that the rest occupies.

        Raises OSError.
        """
        content = os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0)
        used = len(content.rstrip(b"\0"))
        if used < len(content):
            os.ftruncate(self.descriptor, used)
        return os.fstat(self.descriptor).st_blocks * _BLOCK

    def defer(self, until: float) -> None:
        """Keep `until` (Unix seconds) with the file, as its modification time."""
        with contextlib.suppress(OSError):
            os.utime(self.descriptor, (until, until))

    def renew(self) -> bool:
        """Give the file the name of one that was created now, if it is not new enough; whether that was possible."""
        if self.age() < _NEW:
            return True
        path = os.path.join(os.path.dirname(self.path), _new_name())
        try:
            os.rename(self.path, path)
        except OSError:
            return False
        self._held.discard(self.path)
        self._held.add(path)
        self.path = path
        return True

    def remove(self) -> None:
        """Delete the file and let go of it."""
        try:
            os.unlink(self.path)
        except OSError:
            # It may have been deleted by someone else; if it can't be, at least nothing is sent twice.
            with contextlib.suppress(OSError):
                os.ftruncate(self.descriptor, 0)
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self.descriptor >= 0:
            # Closing alone would leave it locked while a child that was forked meanwhile has the descriptor too.
            with contextlib.suppress(OSError):
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)
            self.abandon()

    def abandon(self) -> None:
        """Close the file without ending the lock: in the child of a fork it is the parent's."""
        descriptor, self.descriptor = self.descriptor, -1
        self._held.discard(self.path)
        if descriptor >= 0:
            os.close(descriptor)


def _new_name() -> str:
    return f"{time.time_ns() // 1_000_000:013d}-{os.urandom(8).hex()}.json"


def created(name: str) -> float:
    """Return when the segment with this file name was begun, in Unix seconds."""
    return int(name[:13]) / 1000


class Spool:
    """Creates, finds and adopts the segment files in one folder."""

    def __init__(self, directory: str) -> None:
        """Use `directory`, made if missing; raises OSError if that can't be, or it isn't ours alone."""
        if fcntl is None:  # pragma: no cover - see above
            raise OSError("files can't be locked here")
        private_directory(os.path.dirname(directory))
        self.directory = private_directory(directory)
        self._held: set[str] = set()
        self.mappable = hasattr(os, "posix_fallocate") and _filesystem(directory) in _MAPPABLE

    def create(self) -> HeldFile:
        """Return a new, locked, empty file. Raises OSError."""
        name = _new_name()
        draft, path = os.path.join(self.directory, "." + name), os.path.join(self.directory, name)
        descriptor = open_private(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            # Locked before it has the name under which others look for it.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(draft, path)
        except BaseException:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise
        return HeldFile(path, descriptor, self._held)

    def names(self) -> list[str]:
        """Return the names of all segments, oldest first, and delete drafts that a crash left."""
        found = []
        with contextlib.suppress(OSError), os.scandir(self.directory) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name):
                    found.append(entry.name)
                elif entry.name.startswith(".") and _NAME.fullmatch(entry.name[1:]):
                    self._delete_stale(entry)
        return sorted(found)

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
        """Lock a segment that nobody holds; None if someone does, if it is gone, or if it is not a file of ours."""
        path = self.path(name)
        if path in self._held:  # on some network file systems a process's locks don't keep out itself
            return None
        try:
            descriptor = open_private(path, os.O_RDWR)
        except OSError:
            return None
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # No link is left if who held it has delivered it between our open and our lock; two are an attack.
            if os.fstat(descriptor).st_nlink == 1:
                return HeldFile(path, descriptor, self._held)
        os.close(descriptor)
        return None

    def path(self, name: str) -> str:
        """Return the path of the segment with this name."""
        return os.path.join(self.directory, name)

    def _statuses(self, names: Iterable[str]) -> Iterator[os.stat_result]:
        for name in names:
            with contextlib.suppress(OSError):
                yield os.lstat(self.path(name))

    @staticmethod
    def _delete_stale(entry: os.DirEntry[str]) -> None:
        with contextlib.suppress(OSError):
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_DRAFT:
                os.unlink(entry.path)


def open_spool(state_directory: str, *destination: str) -> Spool | None:
    """Return the folder of one destination (sink, URL, key), which none but it ships; None where there can't be one."""
    name = hashlib.sha256("\n".join(destination).encode()).hexdigest()[:16]
    try:
        private_directory(state_directory)
        return Spool(os.path.join(state_directory, "queue", name))
    except OSError:
        return None


def _filesystem(path: str) -> str:
    """Return the type of the file system that holds `path`, as Linux names it, or an empty string elsewhere."""
    best, kind = "", ""
    path = os.path.realpath(path)
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                fields, _, source = line.partition(" - ")
                point = fields.split(" ")[4].replace("\\040", " ")
                inside = path == point or path.startswith(point.rstrip("/") + "/")
                if inside and len(point) >= len(best):
                    best, kind = point, source.split(" ")[0]
    except (OSError, IndexError):
        return ""
    return kind
