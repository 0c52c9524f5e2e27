r"""A batch of encoded events that is at the same time the body of the request that will carry it.

A segment begins with the head of an OTLP request, grows by `fragment + ",\n"`, and is sealed by the closing brackets.
All of it lies in a memory map, whose `write` appends in one step of the interpreter, without a lock or a system call,
and raises ValueError where there is no room. A segment is closed by leaving it none, and only then are its events
counted. There are three storages: *mapped* (the map is that of a preallocated file, so that an event outlives the
process from the moment the append returns), *buffered* (written to a file every now and then) and *memory*.
A file is held by a lock on itself that the kernel drops when its process dies.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from typing import TYPE_CHECKING, Any, Final, Protocol

from automagik_telemetry.delivery.envelope import SEPARATOR
from automagik_telemetry.delivery.importing import no_fork

if TYPE_CHECKING:
    from collections.abc import Callable

    from automagik_telemetry.delivery.envelope import Envelope
    from automagik_telemetry.delivery.spool import HeldFile

_CHUNK: Final = 65_536
"""Bytes that are looked at in one go: memory of this size is at hand, that of a whole segment would be paged in."""
_ZEROS: Final = bytes(262_144)
"""What is free is made of these; never written to, they take no memory but one page."""
# Of this process alone, and no child's.
_PRIVATE: Final[dict[str, Any]] = {"flags": mmap.MAP_PRIVATE} if hasattr(mmap, "MAP_PRIVATE") else {}


class Segment(Protocol):
    """One batch, from its first event to its delivery.

    `envelope` is that of the request that carries it; `created` is the queue's, in seconds of its clock; `capacity` is
    what it takes of the disk or of memory at most.
    """

    envelope: Envelope
    capacity: int
    created: float

    @property
    def events(self) -> int:
        """How many there are, until now."""

    @property
    def size(self) -> int:
        """The bytes of the request body, until now."""

    def write_out(self) -> None:
        """Bring what was appended to where it outlives the process, if the storage has to be told to."""

    def seal(self) -> None:
        """Close the brackets: nothing is appended any more."""

    def trim(self) -> None:
        """Seal it, and give back what it does not need while it waits."""

    @property
    def lines_size(self) -> int:
        """The bytes of its lines, each an event and what separates it from the next, once it is sealed."""

    def read_lines(self, into: memoryview) -> None:
        """Copy the lines, but for the last separator. Raises OSError if a file can't be read."""

    def defer(self, until: float) -> None:
        """Keep with the segment that it may not be sent before `until` (Unix seconds)."""

    def remove(self) -> None:
        """Forget the segment: it was delivered or dropped."""

    def recycle(self) -> bool:
        """Forget what it holds and begin anew in the same place; False if that is no gain, and nothing was done."""

    def release(self) -> str | None:
        """Leave the segment to whoever finds its file, and return the file's path; do nothing if it has none."""

    def abandon(self) -> None:
        """Let go of another process's segment, in the child of a fork: it stays the parent's."""


class MemorySegment:
    """A segment that lives and dies with the process."""

    def __init__(self, envelope: Envelope, capacity: int) -> None:
        """Raises OSError if there is no room for `capacity` bytes."""
        self.envelope = envelope
        self.capacity = capacity
        self.created = 0.0
        self._map = self._new_map(capacity - len(envelope.tail))
        self.write: Callable[[bytes], int] = self._map.write
        """Appends a fragment and its separator; raises ValueError for one that has no room, and if it is closed."""
        self._begin()

    def _new_map(self, length: int) -> mmap.mmap:
        return mmap.mmap(-1, length, **_PRIVATE)

    def _begin(self) -> None:
        """Be empty and closed."""
        head = self.envelope.head
        self._map[: len(head)] = head
        self._map.seek(0, os.SEEK_END)
        self._end = len(head)
        self._events = 0
        self._is_open = False

    def open(self) -> None:
        """Take events from now on."""
        self._map.seek(self._end)
        self._is_open = True

    def close(self, appended: Callable[[], int | None] = lambda: None) -> None:
        """Take no more, and count them, unless `appended` then knows how many there are."""
        if self._is_open:
            end = self._map.tell()
            self._map.seek(0, os.SEEK_END)
            # Others may have written between these two steps. No event has a zero byte, and all that is free is zeros.
            free = self._map.find(b"\0", end)
            end = free if free >= 0 else len(self._map)
            events = appended()
            self._end, self._events, self._is_open = end, self._count(end) if events is None else events, False
            if self._has_room_for_tail:
                self._map[end - len(SEPARATOR) : self.size] = self.envelope.closing

    def _count(self, end: int) -> int:
        begin = len(self.envelope.head)
        chunks = (self._map[start : min(start + _CHUNK, end)] for start in range(begin, end, _CHUNK))
        return sum(len(chunk) - len(chunk.replace(b"\n", b"")) for chunk in chunks)  # five times as fast as bytes.count

    @property
    def events(self) -> int:
        """See `Segment`."""
        return self._count(self._map.tell()) if self._is_open else self._events

    @property
    def size(self) -> int:
        """See `Segment`."""
        return self._map.tell() if self._is_open else self._end - len(SEPARATOR) + len(self.envelope.closing)

    @property
    def _has_room_for_tail(self) -> bool:
        """Whether the tail is in the map of a closed segment; the last event may have left it no room there."""
        return self.size <= len(self._map)

    def write_out(self) -> None:
        """See `Segment`: there is nowhere to write to."""

    def seal(self) -> None:
        """See `Segment`."""
        self.close()

    def trim(self) -> None:
        """See `Segment`: it takes no more than what it holds."""
        self.close()

    @property
    def lines_size(self) -> int:
        """See `Segment`."""
        return self._end - len(self.envelope.head)

    def read_lines(self, into: memoryview) -> None:
        """See `Segment`."""
        # No fork meanwhile: a map that is looked at can't be closed, in the child neither.
        with no_fork(), memoryview(self._map) as content, content[len(self.envelope.head) : self._end] as lines:
            into[:] = lines

    def defer(self, until: float) -> None:
        """See `Segment`: no later process will ask."""

    def remove(self) -> None:
        """See `Segment`."""
        self._let_go()

    def recycle(self) -> bool:
        """See `Segment`."""
        if not self._has_room_for_tail:  # nor for what is to be wiped
            return False
        for start in range(0, self.size, len(_ZEROS)):
            stop = min(start + len(_ZEROS), self.size)
            self._map[start:stop] = _ZEROS[: stop - start]
        self._begin()
        return True

    def release(self) -> str | None:
        """See `Segment`."""
        return None

    def abandon(self) -> None:
        """See `Segment`."""
        self._let_go()

    def _let_go(self) -> None:
        self._is_open = False
        self._map.close()


class BufferedSegment(MemorySegment):
    """A segment in memory whose file follows when `write_out` is called: for file systems that can't be mapped."""

    def __init__(self, envelope: Envelope, capacity: int, file: HeldFile) -> None:
        self._file = file
        self._written = 0
        super().__init__(envelope, capacity)

    def write_out(self) -> None:
        """See `Segment`. Raises OSError if the disk refuses."""
        start, end = self._written, self._map.tell() if self._is_open else self._end
        if start < end:  # two threads that come here at once write the same
            self._written = start + os.pwrite(self._file.descriptor, self._map[start:end], start)

    def seal(self) -> None:
        """See `Segment`. Raises OSError if the disk refuses; the batch can be sent all the same."""
        self.close()
        if self._written < self.size:
            self.write_out()
            os.pwrite(self._file.descriptor, self.envelope.closing, self._end - len(SEPARATOR))
            self._written = self.size

    def trim(self) -> None:
        """See `Segment`: the file takes no more than what it holds."""
        self.seal()

    def defer(self, until: float) -> None:
        """See `Segment`."""
        self._file.defer(until)

    def remove(self) -> None:
        """See `Segment`."""
        super().remove()
        self._file.remove()

    def recycle(self) -> bool:
        """See `Segment`: its file would have to be emptied, too."""
        return False

    def release(self) -> str | None:
        """See `Segment`. Raises OSError if the disk refuses; the segment then stays as it is."""
        self.seal()
        self._file.close()
        return self._file.path

    def abandon(self) -> None:
        """See `Segment`."""
        super().abandon()
        self._file.abandon()


class MappedSegment(MemorySegment):
    """A segment whose memory is a preallocated file; trimmed, the file alone remains.

    Files are costly to make, to fill for the first time and to delete, so that a busy queue has them go round.
    """

    def __init__(self, envelope: Envelope, capacity: int, file: HeldFile) -> None:
        """Raises OSError if the disk has no room for `capacity` bytes."""
        self._file = file
        self._is_sealed = self._is_trimmed = False
        # Preallocated, for a write into a hole of a full disk is a SIGBUS that kills the host.
        os.posix_fallocate(file.descriptor, 0, capacity)
        # And written, for pages that are cached together are mapped together, while any other costs a fault of 5 us.
        # Not in one go: where what is cached as one does not fit into a table of pages, each is mapped by itself.
        for start in range(0, capacity, len(_ZEROS)):
            os.pwrite(file.descriptor, _ZEROS[: capacity - start], start)
        super().__init__(envelope, capacity)

    def _new_map(self, length: int) -> mmap.mmap:
        return mmap.mmap(self._file.descriptor, length)

    def seal(self) -> None:
        """See `Segment`."""
        self.close()
        if not self._is_sealed:
            self._is_sealed = True
            if not self._has_room_for_tail:
                with contextlib.suppress(OSError):  # it is for readers: whoever sends the file can do without
                    os.pwrite(self._file.descriptor, self.envelope.closing, self._end - len(SEPARATOR))

    def trim(self) -> None:
        """See `Segment`."""
        self.seal()
        if not self._is_trimmed:
            self._is_trimmed = True
            self._map.close()
            os.ftruncate(self._file.descriptor, self.size)

    def read_lines(self, into: memoryview) -> None:
        """See `Segment`."""
        if not self._is_trimmed:
            super().read_lines(into)
        elif os.preadv(self._file.descriptor, [into], len(self.envelope.head)) < len(into):
            raise OSError(errno.ENODATA, "cut by somebody else")

    def defer(self, until: float) -> None:
        """See `Segment`."""
        self._file.defer(until)

    def remove(self) -> None:
        """See `Segment`."""
        super().remove()
        self._file.remove()

    def recycle(self) -> bool:
        """See `Segment`."""
        if self._is_trimmed or not self._file.renew() or not super().recycle():
            return False
        self._is_sealed = False
        return True

    def release(self) -> str | None:
        """See `Segment`."""
        self.trim()
        self._file.close()
        return self._file.path

    def abandon(self) -> None:
        """See `Segment`."""
        super().abandon()
        self._file.abandon()
