r"""A segment: a batch of encoded events in the format of the request body.

A segment begins with the head of an OTLP request, grows by `fragment + ",\n"`, and ends with the closing brackets of
the request. It is in a memory map, with one of three storages: *mapped* (the map of a preallocated file, so that an
event outlives the process as soon as the append returns), *buffered* (written to a file at intervals) and *memory*.

Constraints: a signal handler may raise between any two steps of an append, or log by itself. Therefore the position of
the map is authoritative: `write` copies the bytes and moves it in one step of the interpreter. `events` and `size` are
updated after it, in this order. If `size` is not the end of the written bytes when the segment is closed, an append was
interrupted, and the lines are counted. An interrupted close is repeated. Methods that change a segment are called with
the queue's lock held.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal

from automagik_telemetry._fork_lock import importing
from automagik_telemetry.export._body import RESOURCES_END, SEPARATOR
from automagik_telemetry.export._file_map import FileMap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automagik_telemetry.export._body import Envelope
    from automagik_telemetry.export._held_file import HeldFile

# Not shared with children.
_PRIVATE: Final[dict[str, Any]] = {"flags": mmap.MAP_PRIVATE} if hasattr(mmap, "MAP_PRIVATE") else {}

Storage = Literal["mapped", "buffered", "memory"]


class Segment:
    """One batch of this process, from its first event to its delivery.

    `created` and `due` (the time to send it) are times of the queue's clock, in seconds. The queue closes it at
    `max_events`. `events` and `size` (bytes) are its current content.
    """

    recovered = False
    """True if its events are another process's."""
    refusals = 0
    """Number of refusals that may be a proxy's."""

    def __init__(
        self, envelope: Envelope, capacity: int, file: HeldFile | None = None, *, mapped: bool = False
    ) -> None:
        """Make an empty segment of at most `capacity` bytes.

        Raises OSError if there is no space.
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
        """Unique number of a segment on disk, never 0."""
        return 1 if self.file is None else self.file.id

    @property
    def is_open(self) -> bool:
        """True while events can be appended."""
        return self._room > 0

    def append(self, line: bytes) -> bool:
        """Append an event and its separator; return False if there is no space. This is the hot path."""
        if self.size + len(line) > self._room:
            return False
        try:
            self._map.write(line)
        except ValueError:  # a signal handler has logged and filled or closed the segment
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
        """Close the segment, and append the end of the request."""
        if self._is_closed:
            return
        self._room = 0
        self._map.seek(0, os.SEEK_END)  # a write that has begun in a frame below has no space either
        # Free bytes are zeros, and an event has no zero byte.
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
        """Size in bytes of the request in a closed segment."""
        return self.size - len(SEPARATOR) + len(self.envelope.closing)

    def copy_events(self, into: bytearray) -> None:
        """Append the events of a closed segment, each with its separator."""
        # A map with a memoryview can't be closed, also not in the child of a fork.
        with importing, memoryview(self._map) as content:
            into += content[len(self.envelope.head) : self.size - len(SEPARATOR)]
        into += SEPARATOR

    def write_out(self) -> None:
        """Write new events of a buffered segment to its file. Raises OSError if the disk is full or fails."""
        if self.storage == "buffered" and self.file is not None:
            end = self._map.tell() if self.is_open else self.closed_size
            self.file.write(self._map[self._written : end], self._written)
            self._written = end

    def trim(self) -> None:
        """Free the disk space that a closed segment does not need. Raises OSError."""
        if self.storage == "mapped" and self.file is not None and not self._is_trimmed:
            self.file.truncate(self.closed_size)
            self._is_trimmed = True

    @property
    def losses(self) -> dict[str, int]:
        """Numbers of events that the segment held and that are never sent, by reason."""
        return {}

    def refuse(self) -> int:
        """Count a refusal, in the file's name if there is one; return how many there were."""
        self.refusals += 1
        if self.file is not None:
            self.file.rename(self.refusals)
        return self.refusals

    def defer(self, until: float) -> None:
        """Store with the segment that it may not be sent before `until` (Unix seconds)."""
        if self.file is not None:
            self.file.defer(until)

    def remove(self) -> None:
        """Delete the segment: it was delivered or dropped."""
        if self.file is not None:
            self.file.remove()
        self._free()

    def release(self) -> str | None:
        """Release the segment's file to other processes, and return its path; None if it has no file.

        Raises OSError if the disk is full or fails; the segment then stays as it is.
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
        """Discard the parent's segment in the child of a fork, without changing it."""
        self._free()
        if self.file is not None:
            self.file.abandon()

    def _free(self) -> None:
        self._room = 0
        self._map.close()


def body_of(segments: Sequence[Segment]) -> bytearray:
    """Return the request body that carries some segments with events; neighbours of one envelope share a resource."""
    body = bytearray()
    for envelope, group in groupby(filter(attrgetter("events"), segments), key=attrgetter("envelope")):
        if body:
            body[-len(RESOURCES_END) :] = b","
            body += envelope.head.removeprefix(envelope.prefix)
        else:
            body += envelope.head
        for segment in group:
            segment.copy_events(body)
        body[-len(SEPARATOR) :] = envelope.closing
    return body
