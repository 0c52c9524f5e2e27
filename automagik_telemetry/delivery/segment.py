r"""A batch of encoded events that is at the same time the body of the request that will carry it.

A segment begins with the head of an OTLP request, grows by `fragment + ",\n"`, and is sealed by the closing brackets.
The queue writes into `buffer` itself, where `size` ends, for that is what every logging call does.
It has three storages: *mapped* (a preallocated file in memory: an event outlives the process from the moment the append
returns, and an append makes no system call), *buffered* (memory, written to a file every now and then) and *memory*.
A file is held by a lock on itself that the kernel drops when its process dies.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automagik_telemetry.delivery.spool import HeldFile

SEPARATOR = b",\n"


class Envelope(NamedTuple):
    """What stands before and after the fragments in a request: a line that says who sends, and the closing brackets."""

    head: bytes
    tail: bytes


def join(envelope: Envelope, fragments: Sequence[bytes]) -> bytes:
    """Return the request body that carries `fragments`, as a sealed segment's file holds it."""
    return envelope.head + SEPARATOR.join(fragments) + b"\n" + envelope.tail


def split(body: bytes) -> tuple[Envelope, list[bytes]]:
    """Return the envelope and the fragments of a request body: the inverse of `join`."""
    head, *fragments, tail = body.split(b"\n")
    return Envelope(head + b"\n", tail), [fragment.removesuffix(b",") for fragment in fragments]


class Segment(Protocol):
    """One batch, from its first event to its delivery.

    `events` and `size` (bytes) may be read at any time; `created` is the queue's, in seconds of its clock. `capacity`
    is what it takes of the disk or of memory at most, `room` what `size` may grow to: nothing once it is sealed.
    """

    buffer: bytearray | mmap.mmap
    capacity: int
    room: int
    events: int
    size: int
    created: float

    def write_out(self) -> None:
        """Bring what was appended to where it outlives the process, if the storage has to be told to."""

    def seal(self) -> None:
        """Close the brackets: nothing is appended any more."""

    def trim(self) -> None:
        """Seal it, and give back what it does not need while it waits."""

    def body(self) -> bytes:
        """Return the sealed request body."""

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

    buffer: bytearray | mmap.mmap

    def __init__(self, envelope: Envelope, capacity: int) -> None:
        self._tail = envelope.tail
        self.capacity = capacity
        self.room = capacity - len(envelope.tail)
        self.buffer = bytearray(envelope.head)
        self.created = 0.0
        self.events = 0
        self.size = len(self.buffer)

    def write_out(self) -> None:
        """See `Segment`: there is nowhere to write to."""

    def seal(self) -> None:
        """See `Segment`."""
        if self.room:
            self.room = 0
            start = self.size - len(SEPARATOR)
            self.size = start + 1 + len(self._tail)
            self.buffer[start : self.size] = b"\n" + self._tail

    def trim(self) -> None:
        """See `Segment`: it is no larger than what it holds."""
        self.seal()

    def body(self) -> bytes:
        """See `Segment`."""
        return bytes(self.buffer)

    def defer(self, until: float) -> None:
        """See `Segment`: no later process will ask."""

    def remove(self) -> None:
        """See `Segment`."""
        self.buffer = bytearray()

    def recycle(self) -> bool:
        """See `Segment`: memory is soon made."""
        return False

    def release(self) -> str | None:
        """See `Segment`."""
        return None

    def abandon(self) -> None:
        """See `Segment`."""
        self.buffer = bytearray()


NOTHING = MemorySegment(Envelope(b"", b""), 0)
"""A segment without room, for where there is none."""


class BufferedSegment(MemorySegment):
    """A segment in memory whose file follows when `write_out` is called: for file systems that can't be mapped."""

    def __init__(self, envelope: Envelope, capacity: int, file: HeldFile) -> None:
        super().__init__(envelope, capacity)
        self._file = file
        self._written = 0

    def write_out(self) -> None:
        """See `Segment`. Raises OSError if the disk refuses."""
        if self._written < self.size:
            # A copy made in one step, for the calling thread may append meanwhile.
            chunk = self.buffer[self._written :]
            self._written += os.pwrite(self._file.descriptor, chunk, self._written)

    def seal(self) -> None:
        """See `Segment`. Raises OSError if the disk refuses; the batch can be sent all the same."""
        if self.room:
            super().seal()
            self._written = min(self._written, self.size - len(self._tail) - 1)
        self.write_out()

    def defer(self, until: float) -> None:
        """See `Segment`."""
        self._file.defer(until)

    def remove(self) -> None:
        """See `Segment`."""
        super().remove()
        self._file.remove()

    def release(self) -> str | None:
        """See `Segment`. Raises OSError if the disk refuses; the segment then stays as it is."""
        self.seal()
        self._file.close()
        return self._file.path

    def abandon(self) -> None:
        """See `Segment`."""
        super().abandon()
        self._file.abandon()


class MappedSegment:
    """A segment in a preallocated, memory-mapped file; trimmed, the file alone remains.

    Files are costly to make, to fill for the first time and to delete, so that a busy queue has them go round.
    """

    buffer: bytearray | mmap.mmap

    def __init__(self, envelope: Envelope, capacity: int, file: HeldFile) -> None:
        """Raises OSError if the disk has no room for `capacity` bytes."""
        # Preallocated, for a write into a hole of a full disk is a SIGBUS that kills the host.
        os.posix_fallocate(file.descriptor, 0, capacity)
        self._map: mmap.mmap | None = mmap.mmap(file.descriptor, capacity)
        self.buffer = self._map
        self._file = file
        self._envelope = envelope
        self.capacity = capacity
        self._begin()

    def _begin(self) -> None:
        self.room = self.capacity - len(self._envelope.tail)
        self.size = len(self._envelope.head)
        self.buffer[: self.size] = self._envelope.head
        self.created = 0.0
        self.events = 0

    def write_out(self) -> None:
        """See `Segment`: the kernel has it already."""

    def seal(self) -> None:
        """See `Segment`."""
        if self.room:
            self.room = 0
            tail = b"\n" + self._envelope.tail
            start = self.size - len(SEPARATOR)
            self.size = start + len(tail)
            self.buffer[start : self.size] = tail

    def trim(self) -> None:
        """See `Segment`."""
        self.seal()
        if self._map is not None:
            self._unmap()
            os.ftruncate(self._file.descriptor, self.size)

    def body(self) -> bytes:
        """See `Segment`. Raises OSError if the file can't be read."""
        # Not from the map, which would take as long, and let no other thread run meanwhile.
        return os.pread(self._file.descriptor, self.size, 0)

    def defer(self, until: float) -> None:
        """See `Segment`."""
        self._file.defer(until)

    def remove(self) -> None:
        """See `Segment`."""
        self._unmap()
        self._file.remove()

    def recycle(self) -> bool:
        """See `Segment`."""
        if self._map is None:
            return False
        self._map[: self.size] = bytes(self.size)
        if renewed := self._file.renew():
            self._begin()
        return renewed

    def release(self) -> str | None:
        """See `Segment`."""
        self.trim()
        self._file.close()
        return self._file.path

    def abandon(self) -> None:
        """See `Segment`."""
        self._unmap()
        self._file.abandon()

    def _unmap(self) -> None:
        mapped, self._map = self._map, None
        if mapped is not None:
            self.buffer = bytearray()
            mapped.close()
