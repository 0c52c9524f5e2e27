r"""A segment: a batch of encoded events that is at the same time the body of the request that will carry it.

A segment begins with the head of an OTLP request, grows by `fragment + ",\n"`, and is closed by the brackets that end
the request. All of it lies in a memory map. There are three storages: *mapped* (the map is that of a preallocated file,
so that an event outlives the process from the moment the append returns), *buffered* (written to a file now and then)
and *memory*.

Constraints: a signal handler may raise between any two steps of an append, or log by itself. So the map's own position
is what counts: `write` copies the bytes and moves it in one step of the interpreter. `events` and `size` follow it, in
this order. Where `size` is not the end of what was written when the segment is closed, an append was interrupted, and
the lines are counted. Closing can be interrupted, too, and is done again then. Methods that change a segment are called
with the queue's lock held.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from typing import TYPE_CHECKING, Any, Final, Literal

from automagik_telemetry._fork_lock import importing
from automagik_telemetry.export._body import SEPARATOR
from automagik_telemetry.export._file_map import FileMap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automagik_telemetry.export._body import Envelope
    from automagik_telemetry.export._held_file import HeldFile

# Of this process alone, and no child's.
_PRIVATE: Final[dict[str, Any]] = {"flags": mmap.MAP_PRIVATE} if hasattr(mmap, "MAP_PRIVATE") else {}

Storage = Literal["mapped", "buffered", "memory"]


class Segment:
    """One batch of this process, from its first event to its delivery.

    `created` and `due` (when it is to be sent) are times of the queue's clock, in seconds. `max_events` is the number
    from which on the queue closes it; `events` and `size` (bytes) are what it has.
    """

    recovered = False
    """Whether its events are another process's."""
    corrupt = 0
    """Number of events that were damaged on disk."""

    def __init__(
        self, envelope: Envelope, capacity: int, file: HeldFile | None = None, *, mapped: bool = False
    ) -> None:
        """Make an empty segment of at most `capacity` bytes.

        Raises OSError if there is no room.
        """
        self.envelope = envelope
        self.file = file
        self.storage: Storage = "memory" if file is None else "mapped" if mapped else "buffered"
        self.created = self.due = 0.0
        self.max_events = 0
        self._map = FileMap(file.descriptor, capacity) if file and mapped else mmap.mmap(-1, capacity, **_PRIVATE)
        self._map.write(envelope.head)
        self.events = 0
        self.size = len(envelope.head)
        self._room = capacity - len(envelope.tail)
        self._written = 0
        self._is_closed = self._is_trimmed = False

    @property
    def id(self) -> int:
        """Number that no other segment on disk has, and never 0."""
        return 1 if self.file is None else self.file.id

    @property
    def is_open(self) -> bool:
        """Whether it takes events."""
        return self._room > 0

    def append(self, line: bytes) -> bool:
        """Append an event and its separator; return False if there is no room. This is the hot path."""
        if self.size + len(line) > self._room:
            return False
        try:
            self._map.write(line)
        except ValueError:  # a signal handler has logged meanwhile, and filled or closed the segment
            return False
        if self._room:  # else it was closed right after the write, and its lines were counted
            self.events += 1
            self.size += len(line)
        return True

    def holds(self, line: bytes) -> bool:
        """Return whether an event is in the segment."""
        try:
            return self._map.find(line, 0, self._map.tell() if self.is_open else self.size) >= 0
        except ValueError:  # it was deleted
            return False

    def close(self) -> None:
        """Take no more events, and end the request."""
        if self._is_closed:
            return
        self._room = 0
        self._map.seek(0, os.SEEK_END)  # a write that has begun in a frame below finds no room either
        # What is free is zeros, and no event has a zero byte.
        free = self._map.find(b"\0", self.size)
        end = free if free >= 0 else len(self._map)
        if self.size != end:
            self.events = self._map[len(self.envelope.head) : end].count(b"\n")
            self.size = end
        self._is_closed = True
        closing = self.envelope.closing
        if self.closed_size <= len(self._map):
            self._map[end - len(SEPARATOR) : self.closed_size] = closing

    @property
    def closed_size(self) -> int:
        """Bytes of the request that a closed segment is by itself."""
        return self.size - len(SEPARATOR) + len(self.envelope.closing)

    def copy_events(self, into: bytearray) -> None:
        """Append the events of a closed segment, each with its separator."""
        # A map that is looked at can't be closed, in the child of a fork neither.
        with importing, memoryview(self._map) as content:
            into += content[len(self.envelope.head) : self.size - len(SEPARATOR)]
        into += SEPARATOR

    def write_out(self) -> None:
        """Write what was appended to the file of a buffered segment. Raises OSError if the disk refuses."""
        if self.storage == "buffered" and self.file is not None:
            end = self._map.tell() if self.is_open else self.closed_size
            self.file.write(self._map[self._written : end], self._written)
            self._written = end

    def trim(self) -> None:
        """Give back the room that a closed segment does not need. Raises OSError."""
        if self.storage == "mapped" and self.file is not None and not self._is_trimmed:
            self.file.truncate(self.closed_size)
            self._is_trimmed = True

    def defer(self, until: float) -> None:
        """Keep with the segment that it may not be sent before `until` (Unix seconds)."""
        if self.file is not None:
            self.file.defer(until)

    def remove(self) -> None:
        """Delete the segment: it was delivered or dropped."""
        if self.file is not None:
            self.file.remove()
        self._free()

    def release(self) -> str | None:
        """Leave the segment to whoever finds its file, and return the file's path; do nothing if it has none.

        Raises OSError if the disk refuses; the segment then stays as it is.
        """
        self.close()
        if self.file is None:
            return None
        self.write_out()
        with contextlib.suppress(OSError):
            self.trim()
        self._free()
        self.file.close()
        return self.file.path

    def abandon(self) -> None:
        """Let go of another process's segment, in the child of a fork: it stays the parent's."""
        self._free()
        if self.file is not None:
            self.file.abandon()

    def _free(self) -> None:
        self._room = 0
        self._map.close()


def body_of(segments: Sequence[Segment]) -> bytearray:
    """Return the request body that carries some segments of one envelope."""
    envelope = segments[0].envelope
    body = bytearray(envelope.head)
    for segment in segments:
        if segment.events:
            segment.copy_events(body)
    body[-len(SEPARATOR) :] = envelope.closing
    return body
