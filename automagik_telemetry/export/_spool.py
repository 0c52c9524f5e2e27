"""Directory of one destination: its segments and pages of stats, each file held by one process.

Files are 0600 in folders of 0700 that belong to the user; others are refused, not repaired. A
segment's file name begins with the time of its creation, and ends with how often a proxy refused it, if one did; its
modification time is the time from which it may be sent. A file is held by a lock that the kernel drops when the process
dies. The name of a folder says whether its events are traces, which may wait for a shorter time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from automagik_telemetry._descriptors import Identity, standard_descriptors_kept
from automagik_telemetry._private_files import create_private, open_private, private_directory, read_private
from automagik_telemetry.export._contract import MAX_AGE, MAX_TRACE_AGE
from automagik_telemetry.export._held_file import (
    BLOCK_BYTES,
    CAN_LOCK,
    MAX_READ_BYTES,
    HeldFile,
    created,
    events_in,
    id_of,
    is_dated_wrongly,
    lock,
    stamp,
)
from automagik_telemetry.export._stats import DeliveryStats, Page, Totals, settling_id, totals_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Local file systems whose preallocated, mapped blocks stay writable. On others a segment is buffered. Copy-on-write
# file systems such as btrfs are not among them, because a preallocated block may need another one when it is written.
_MAPPABLE = frozenset({"ext2", "ext3", "ext4", "xfs", "tmpfs", "overlay"})
_SEGMENT = re.compile(r"[0-9]{13}-[0-9a-f]{16}(?:\.[0-9])?\.json")
_JOURNAL = re.compile(r"[0-9]{13}-[0-9a-f]{16}\.begun")
_PAGE = re.compile(r"[0-9]{13}-[0-9a-f]{16}\.stats")
_MAX_DRAFT_AGE = 3600.0  # seconds
_TRACES = "-traces"
"""The suffix of the names of folders whose events are traces."""
_APPLICATION = "application"
"""The file with the name of the application. Its time is that of the latest report of the client's health."""
_EVENTS = "events"
"""The file with the names of the events that the application has declared itself, one a line."""
_MAX_EVENTS_BYTES = 1_000_000
_EXIT = "exit"
"""The file whose time is that of the latest wait at the end of a process for events left here."""


class Waiting(NamedTuple):
    """The queue of a folder: its segments, their events and bytes."""

    segments: int
    events: int
    bytes: int


def _new_name(ending: str) -> str:
    return f"{stamp(time.time())}-{os.urandom(8).hex()}{ending}"


class Spool:
    """Creates, finds and adopts the files in one directory."""

    def __init__(self, directory: str) -> None:
        """Use `directory`, which is created if missing.

        Raises OSError if it can't be created, or is not private.
        """
        if not CAN_LOCK:  # pragma: no cover - see above
            raise OSError("files can't be locked here")
        private_directory(os.path.dirname(directory))
        self.directory = private_directory(directory)
        self.for_traces = directory.endswith(_TRACES)
        self._held: set[str] = set()

    @cached_property
    def mappable(self) -> bool:
        """True if files here may be mapped. Read when a queue is made, and not where a folder is only listed.

        Python's own `open`, which reads it, closes by number whatever the application has put there meanwhile.
        """
        return _is_mappable(self.directory)

    def create(self, ending: str = ".json") -> HeldFile:
        """Return a new, locked, empty file. Raises OSError."""
        name = _new_name(ending)
        draft, path = self.path("." + name), self.path(name)
        descriptor = open_private(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            # Locked before it has the name by which other processes find it.
            lock(descriptor)
            os.rename(draft, path)
            return HeldFile(path, descriptor, self._held)
        except BaseException:
            descriptor.close()
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise

    def names(self) -> list[str]:
        """Return the names of all segments, oldest first, and delete drafts of crashed processes.

        Journals of dead processes become segments.
        """
        names = self._listed()
        for name in names:
            if name.startswith("."):
                self._delete_stale(name)
        left = [made for name in filter(_JOURNAL.fullmatch, names) if (made := self._as_segment(name)) is not None]
        return sorted([*filter(_SEGMENT.fullmatch, names), *left])

    def _as_segment(self, name: str) -> str | None:
        """Make a segment of a journal that no process holds, and return its name.

        Return None if it is held, empty or can't be copied.
        """
        if (journal := self._lock(name)) is None:
            return None
        try:
            lines = [line for line in journal.read(MAX_READ_BYTES).rstrip(b"\0").split(b"\n") if line]
            if len(lines) < 2:  # noqa: PLR2004 - the head alone
                journal.remove()
                return None
            segment = self.create()
            try:
                segment.write(b"\n".join((*lines, b"")), 0)
                segment.date(os.lstat(journal.path).st_mtime)  # about when its process died
            except OSError:  # a full disk
                segment.remove()
                raise
        except OSError:
            journal.close()
            return None
        made = os.path.basename(segment.path)
        segment.close()
        journal.remove()
        return made

    def correct_dates(self, names: list[str]) -> list[str]:
        """Correct the age of segments that were dated by a wrong clock, and return all names again.

        A computer without a battery starts in 1970. Events logged before its clock is set must not expire at once.
        """
        now = time.time()
        wrong = [name for name in names if is_dated_wrongly(name, now)]
        for name in wrong:
            if (file := self.adopt(name)) is not None:
                with contextlib.suppress(OSError):
                    file.date(now)
                file.close()
        return self.names() if wrong else names

    def usage(self) -> int:
        """Return the bytes on disk of all segments, live ones of other processes included."""
        return sum(status.st_blocks * BLOCK_BYTES for status in self._statuses(self.names()))

    def not_before(self) -> float:
        """Return the time (Unix seconds) from which requests may be sent, by the segments of other processes.

        A delay that a server set for one process holds for all.
        """
        others = (name for name in self.names() if self.path(name) not in self._held)
        return max((status.st_mtime for status in self._statuses(others)), default=0.0)

    def adopt(self, name: str) -> HeldFile | None:
        """Lock and return a free segment; None if it is held, deleted, settled or not private."""
        file = self._lock(name)
        if file is not None and any(settling_id(page) == file.id for page in self._contents(self._page_names())):
            file.remove()  # its process was killed after it had counted the events
            return None
        return file

    def stats_page(self) -> Page:
        """Return a page of stats: one that no process holds, or a new one. Raises OSError."""
        locked = (file for name in self._page_names() if (file := self._lock(name)) is not None)
        file = next(locked, None) or self.create(".stats")
        try:
            page = Page(file, mapped=self.mappable)
        except BaseException:
            file.close()
            raise
        if settled := page.settling:
            for name in self.names():
                if id_of(name) == settled and (found := self.adopt(name)) is not None:
                    found.close()
        return page

    def left(self) -> list[str]:
        """Return the names of the segments that no other process holds, oldest first."""
        return [name for name in self.names() if self.path(name) in self._held or self._is_free(name)]

    def _is_free(self, name: str) -> bool:
        if (file := self._lock(name)) is None:
            return False
        file.close()
        return True

    @property
    def max_age(self) -> float:
        """Seconds that an event may wait here."""
        return MAX_TRACE_AGE if self.for_traces else MAX_AGE

    def waiting(self) -> Waiting:
        """Return the number of events that wait to be sent, in live segments of other processes too."""
        found = [content.rstrip(b"\0") for content in self._contents(self.names())]
        return Waiting(len(found), sum(map(events_in, found)), sum(map(len, found)))

    def drop(self, stats: DeliveryStats, name: str, reason: str) -> bool:
        """Count the events of a segment as dropped, and delete it; return False if another process holds it."""
        if (file := self.adopt(name)) is None:
            return False
        stats.attach(self)
        with stats.lock:
            stats.settle(file.id, 0, {reason: file.events()}, recovered=True)
        file.remove()
        stats.settled()
        return True

    def expire_others(self) -> None:
        """Drop events that are too old in the folders of other destinations, to which this process does not send."""
        for directory in other_folders(self.directory):
            with contextlib.suppress(OSError):
                other = Spool(directory)
                oldest = time.time() - other.max_age
                stats = DeliveryStats()
                for name in other.names():
                    if created(name) < oldest:
                        other.drop(stats, name, "expired")

    def claim_exit(self, interval: float) -> bool:
        """Return whether the end of a process may wait for events left here, and record that it does.

        It may not if another one did within `interval` seconds, without success.
        """
        path = self.path(_EXIT)
        with contextlib.suppress(OSError):
            if abs(time.time() - os.lstat(path).st_mtime) < interval:
                return False
        try:
            open_private(path, os.O_WRONLY | os.O_CREAT).close()
            os.utime(path)
        except OSError:
            return False
        return True

    def succeed_at_exit(self) -> None:
        """Allow the next process that finds many events left at its end to wait, too."""
        with contextlib.suppress(OSError):
            os.unlink(self.path(_EXIT))

    def claim_health(self, interval: float) -> bool:
        """Return whether this process may report the client's health, which none has done within `interval` seconds.

        It records that it does so, in the time of the file with the name of the application.
        """
        path = self.path(_APPLICATION)
        try:
            if abs(time.time() - os.lstat(path).st_mtime) < interval:
                return False
            descriptor = open_private(path, os.O_RDWR)
        except OSError:
            return False
        try:
            lock(descriptor)  # another process that does the same has the lock, or has changed the time
            if abs(time.time() - os.fstat(descriptor.number).st_mtime) < interval:
                return False
            os.utime(path)
        except OSError:
            return False
        finally:
            descriptor.close()
        return True

    def totals(self) -> Totals:
        """Return the sums of the stats of all processes."""
        return totals_of(self._contents(self._page_names()))

    def remember_events(self, names: Iterable[str]) -> None:
        """Add names of events that the application declares, because another process may send its queued events."""
        new = sorted(set(names) - self.remembered_events())
        if new:
            with contextlib.suppress(OSError):
                descriptor = open_private(self.path(_EVENTS), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                try:
                    os.write(descriptor.number, "".join(f"{name}\n" for name in new).encode())
                finally:
                    descriptor.close()

    def remembered_events(self) -> set[str]:
        """Return the names of the events that the application has declared in any of its processes."""
        with contextlib.suppress(OSError):
            return set(read_private(self.path(_EVENTS), _MAX_EVENTS_BYTES).split())
        return set()

    def path(self, name: str) -> str:
        """Return the path of the file with this name."""
        return os.path.join(self.directory, name)

    def _lock(self, name: str) -> HeldFile | None:
        """Lock a file if it is free."""
        path = self.path(name)
        if path in self._held:  # on some network file systems a process's own locks don't exclude it
            return None
        try:
            descriptor = open_private(path, os.O_RDWR)
        except OSError:
            return None
        with contextlib.suppress(OSError):
            lock(descriptor)
            # Without a link, its holder delivered it between our open and our lock. Two links are an attack.
            # It may have another name by now, if a wrong clock had dated it.
            if os.fstat(descriptor.number).st_nlink == 1 and Identity.of(path) == descriptor.identity:
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
        """Yield the content of each file, held or not."""
        for name in names:
            with contextlib.suppress(OSError):
                descriptor = open_private(self.path(name), os.O_RDONLY)
                try:
                    yield os.pread(descriptor.number, MAX_READ_BYTES, 0)
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


def spool_directory(state_directory: str, *destination: str, for_traces: bool = False) -> str:
    """Return the path of the folder of one destination: its sink, application, URL and key."""
    name = hashlib.sha256("\n".join(destination).encode()).hexdigest()[:16]
    return os.path.join(state_directory, "queue", name + _TRACES * for_traces)


def spool_directories(state_directory: str) -> list[str]:
    """Return the paths of the folders of all destinations."""
    root = os.path.join(state_directory, "queue")
    with contextlib.suppress(OSError), standard_descriptors_kept():
        return [path for name in sorted(os.listdir(root)) if os.path.isdir(path := os.path.join(root, name))]
    return []


def open_spool(
    state_directory: str, *destination: str, for_traces: bool = False, application: str | None = None
) -> Spool | None:
    """Return the folder of one destination; None if it can't be created. It stores the name of the `application`."""
    try:
        private_directory(state_directory)
        spool = Spool(spool_directory(state_directory, *destination, for_traces=for_traces))
    except OSError:
        return None
    if application is not None and application_of(spool.directory) is None:
        with contextlib.suppress(OSError):
            create_private(spool.path(_APPLICATION), application)
    return spool


def application_of(directory: str) -> str | None:
    """Return the name of the application whose events a folder holds, if the folder has it."""
    with contextlib.suppress(OSError):
        return read_private(os.path.join(directory, _APPLICATION))
    return None


def other_folders(directory: str) -> list[str]:
    """Return the folders of other destinations beside one."""
    root = os.path.dirname(directory)
    with contextlib.suppress(OSError), standard_descriptors_kept():
        return [path for name in sorted(os.listdir(root)) if (path := os.path.join(root, name)) != directory]
    return []


def _is_mappable(directory: str) -> bool:
    """Return whether preallocated blocks in `directory` stay writable on a full disk."""
    kind = _filesystem(directory)
    if kind not in _MAPPABLE or not hasattr(os, "posix_fallocate"):
        return False
    # An overlay has the properties of the file system below, which a container can't see. Among copy-on-write file
    # systems, btrfs has no fixed number of inodes, and `HeldFile.preallocate` recognizes ZFS.
    return kind != "overlay" or os.statvfs(directory).f_files > 0


def _filesystem(path: str) -> str:
    """Return the type of the file system of `path`, as Linux names it; an empty string on other systems."""
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
