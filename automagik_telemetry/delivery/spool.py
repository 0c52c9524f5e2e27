"""The folder that holds one destination's segments, each in a file that is locked while a process works on it.

Files are 0600 in folders of 0700 that belong to the user; what does not look like that is refused, not mended. A file's
name begins with the time of its creation, its modification time is the time from which it may be sent.
"""

from __future__ import annotations

import contextlib
import os
import re
import time

from automagik_telemetry.private_files import open_private, private_directory

try:
    import fcntl
except ImportError:  # pragma: no cover - not on Windows: there segments live in memory
    fcntl = None  # type: ignore[assignment]

# Local file systems whose preallocated, mapped blocks stay writable; on any other a segment is buffered.
_MAPPABLE = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "overlay"})
_NAME = re.compile(r"(\d{13})-[0-9a-f]{16}\.json")
_STALE_DRAFT = 3600.0


class HeldFile:
    """A segment's open file, locked for as long as this process holds it."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.created = int(os.path.basename(path)[:13]) / 1000
        """When the segment was begun, in Unix seconds: its name begins with it."""

    def not_before(self) -> float:
        """Return the time from which the segment may be sent, in Unix seconds."""
        return os.fstat(self.descriptor).st_mtime

    def defer(self, until: float) -> None:
        """Keep `until` (Unix seconds) with the file, as its modification time."""
        with contextlib.suppress(OSError):
            os.utime(self.descriptor, (until, until))

    def remove(self) -> None:
        """Delete the file and let go of it."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        self.close()

    def close(self) -> None:
        """Let go of the file, which ends the lock."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Spool:
    """Creates, finds and adopts the segment files in one folder."""

    def __init__(self, directory: str) -> None:
        """Use `directory`, made if missing; raises OSError if that can't be, or it isn't ours alone."""
        if fcntl is None:  # pragma: no cover - see above
            raise OSError("files can't be locked here")
        private_directory(os.path.dirname(directory))
        self.directory = private_directory(directory)
        self.mappable = hasattr(os, "posix_fallocate") and _filesystem(directory) in _MAPPABLE

    def create(self) -> HeldFile:
        """Return a new, locked, empty file. Raises OSError."""
        name = f"{time.time_ns() // 1_000_000:013d}-{os.urandom(8).hex()}.json"
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
        return HeldFile(path, descriptor)

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
        total = 0
        for name in self.names():
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(self.directory, name)).st_blocks * 512
        return total

    def adopt(self, name: str) -> HeldFile | None:
        """Lock a segment that no process holds; None if one does, if it is gone, or if it is not a file of ours."""
        path = os.path.join(self.directory, name)
        try:
            descriptor = open_private(path, os.O_RDWR)
        except OSError:
            return None
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # No link is left if the process that held it has delivered it between our open and our lock; two are an attack.
            if os.fstat(descriptor).st_nlink == 1:
                return HeldFile(path, descriptor)
        os.close(descriptor)
        return None

    @staticmethod
    def _delete_stale(entry: os.DirEntry[str]) -> None:
        with contextlib.suppress(OSError):
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_DRAFT:
                os.unlink(entry.path)


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
