"""The queue of one sink: logging calls append encoded events, and the worker takes batches.

Constraints:

- A logging call never waits for the disk or the network. From its return, the event outlives the process if the file
  system supports mapped files.
- At any moment another thread may log, a signal handler may log or raise, the process may fork or die.
- Events and bytes are bounded; events beyond the limit are dropped and counted.

Layout: one deque of segments, the oldest first. A segment is in it from its first event until it is settled. Only the
last may be open; the first `_taken` are being sent.

Invariants, which hold between any two lines, because an interrupt may come there:

- All changes are made with `lock` held. It is also the lock of the stats, and is reentrant.
- `_open` takes events or is closed; a segment that is not `_open` gets no more.
- The events of a segment are the lines in its map (see `Segment`), so the segments give the pending count, and
  logged = delivered + dropped + pending needs no counter of its own.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from automagik_telemetry._reentrancy import guard
from automagik_telemetry.export._body import SEPARATOR
from automagik_telemetry.export._journal import Journal
from automagik_telemetry.export._segment import Segment
from automagik_telemetry.export._stats import Pending

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from automagik_telemetry.export._body import Envelope
    from automagik_telemetry.export._contract import Limits
    from automagik_telemetry.export._recovery import RecoveredSegment
    from automagik_telemetry.export._segment import Storage
    from automagik_telemetry.export._spool import Spool
    from automagik_telemetry.export._stats import DeliveryStats

_MAX_SMALL_SEGMENTS: Final = 16
"""Number of segments from which a new one has its full size instead of that of a batch, to save open files."""
_DISK_RETRY_INTERVAL: Final = 1.0
"""Seconds after which a full disk is tried again."""
_LINGER: Final = 0.2
"""Seconds that a full segment waits for others to share its request, and that the next one waits after a request."""
_YIELD: Final = 0.002
"""Seconds that a caller that begins a segment sleeps, so that a late worker can run."""


class BatchQueue:
    """Segments of one sink.

    `wake` is called without the lock when a segment is begun; it returns whether there is a worker. `append`, `close`
    and the figures are for all threads; other methods are for the worker, or for a caller after its end.
    """

    def __init__(  # noqa: PLR0913 - the parts of one machine, each given once
        self,
        *,
        envelope: Envelope,
        stats: DeliveryStats,
        limits: Limits,
        spool: Spool | None,
        clock: Callable[[], float],
        wake: Callable[[], bool],
    ) -> None:
        self._envelope = envelope
        self._stats = stats
        self._limits = limits
        self._max_line = limits.max_event_bytes + len(SEPARATOR)
        self._spool = spool
        self._clock = clock
        self._wake = wake
        self._buffered = spool is not None and not spool.mappable
        # A part of the disk is reserved for the stats, and for blocks that are not full.
        self._max_bytes = limits.max_memory_bytes if spool is None else limits.max_disk_bytes * 63 // 64
        self.journal = Journal(spool, envelope, stats)
        """The events of work in progress."""
        self._segments: deque[Segment] = deque()
        self._open: Segment | None = None
        self._taken = 0
        self._released: dict[int, int] = {}
        """Events of segments that were left on disk by `release`, by the segment's id."""
        self._has_worker = False
        self._disk_retry_at = 0.0
        self._settled_at = -_LINGER

    def append(self, line: bytes) -> None:
        """Queue an encoded event and its separator; drop and count it if it is too large or the queue is full."""
        if len(line) > self._max_line:
            self._stats.drop("too_large")
            return
        with self._stats.lock:
            segment = self._open
            if segment is not None and segment.append(line):
                if segment.events < segment.max_events and not self._buffered:
                    return
                dropped, is_news = None, self._is_full(segment)
            else:
                with guard:  # a signal handler that logs meanwhile must not begin another segment
                    dropped, is_news = self._begin_segment(line), True
        if dropped is not None:
            self._stats.drop(dropped)
            return
        with guard:
            if is_news:  # without the lock, because the worker may have to be started
                is_urgent = self._is_half_full()
                if is_urgent:
                    self._make_due()
                self._has_worker = self._wake()
                if is_urgent and self._taken:
                    time.sleep(_YIELD)
            if self._buffered and (self._taken or not self._has_worker):
                self.write_out()  # there is no worker, or it waits for a response

    def holds(self, line: bytes) -> bool:
        """Return whether an event was queued, after an interrupted append."""
        with self._stats.lock:
            return any(segment.holds(line) for segment in tuple(self._segments))

    def _begin_segment(self, line: bytes) -> str | None:
        """Append an event to a new segment; return the reason if it is dropped instead."""
        room = self._limits.max_queue_size - self._events()
        if room <= 0:
            return "queue_full"
        now = self._clock()
        if self._open is not None:
            self._open.close()
            self._open.due = min(self._open.due, now + _LINGER)
        segment = self._new_segment(now, line)
        if segment is None:
            return "queue_full"
        small = len(self._segments) < _MAX_SMALL_SEGMENTS
        segment.max_events = min(room, self._limits.max_export_batch_size) if small else room
        segment.created, segment.due = now, max(now + self._limits.schedule_delay, self._settled_at + _LINGER)
        # Before it has an event, which an interrupt must find counted.
        self._segments.append(segment)
        self._open = segment
        if not segment.append(line):
            self.close()
            self._segments.remove(segment)
            segment.remove()
            return "too_large"
        self._is_full(segment)
        return None

    def _is_full(self, segment: Segment) -> bool:
        """Close a segment that has reached its maximum of events, and return whether it has."""
        if segment.events < segment.max_events:
            return False
        segment.due = self._clock()
        self.close()
        return True

    def _new_segment(self, now: float, line: bytes) -> Segment | None:
        """Return a segment on disk if there is room for one, else in memory; None if there is no room either."""
        limits = self._limits
        needed = len(self._envelope.head) + len(line) + len(self._envelope.tail)
        capacity = max(limits.segment_bytes, min(needed, limits.max_segment_bytes))
        if self._bytes() + capacity > self._max_bytes:
            return None
        if self._spool is not None and now >= self._disk_retry_at:
            try:
                return self._new_on_disk(self._spool, capacity)
            except OSError:
                self._disk_retry_at = now + _DISK_RETRY_INTERVAL
        in_memory = sum(segment.size for segment in tuple(self._segments) if segment.storage == "memory")
        if in_memory + capacity > limits.max_memory_bytes:
            return None
        with contextlib.suppress(OSError):
            return Segment(self._envelope, capacity)
        return None

    def _new_on_disk(self, spool: Spool, capacity: int) -> Segment:
        file = spool.create()
        try:
            if not self._buffered and not file.preallocate(capacity):
                self._buffered = True  # a mapped write could find the disk full
                file.truncate(0)
            return Segment(self._envelope, capacity, file, mapped=not self._buffered)
        except BaseException:
            file.remove()
            raise

    def _events(self) -> int:
        return sum(segment.events for segment in tuple(self._segments))

    def _bytes(self) -> int:
        return sum(segment.size for segment in tuple(self._segments))

    def _is_half_full(self) -> bool:
        """Return whether the queue is more than half full."""
        with self._stats.lock:
            return 2 * self._events() > self._limits.max_queue_size or 2 * self._bytes() > self._max_bytes

    def pending(self) -> Pending:
        """Return the undelivered events. Call it with the lock held to get a snapshot consistent with the stats."""
        with self._stats.lock:
            segments = list(self._segments)
            held = {segment.id for segment in segments}
            left = sum(events for segment, events in self._released.items() if segment not in held)
            own = sum(segment.events for segment in segments if not segment.recovered)
            others = sum(segment.events for segment in segments if segment.recovered)
        return Pending(own + left, others, sum(segment.size for segment in segments))

    def waiting(self) -> set[Segment]:
        """Return the segments that are undelivered."""
        with self._stats.lock:
            return set(self._segments)

    @property
    def storage(self) -> Storage:
        """Storage of the next event."""
        if self._spool is None or (self._open is not None and self._open.storage == "memory"):
            return "memory"
        return "buffered" if self._buffered else "mapped"

    def due_in(self) -> float | None:
        """Return the seconds until `take` has a batch; None if nothing is queued."""
        with self._stats.lock:
            if not self._segments:
                return None
            return max(0.0, self._segments[0].due - self._clock())

    def expedite(self) -> None:
        """Make all queued events due."""
        with self._stats.lock:
            self.close()
            self._make_due()

    def _make_due(self) -> None:
        now = self._clock()
        for segment in tuple(self._segments):
            if segment is not self._open:
                segment.due = min(segment.due, now)

    def close(self) -> None:
        """Close the open segment; the next event begins another."""
        with self._stats.lock:
            if self._open is not None:
                self._open.close()
                self._open = None

    def take(self) -> list[Segment]:
        """Return the segments of the next batch if it is due; settle them or put them back."""
        limits = self._limits
        batch: list[Segment] = []
        with self._stats.lock:
            if self.due_in() != 0.0:
                return []
            size = events = 0
            for segment in tuple(self._segments):
                if batch and segment.is_open:
                    break
                if segment is self._open:
                    self.close()
                size, events = size + segment.size, events + segment.events
                if batch and (size > limits.max_export_batch_bytes or events > limits.max_export_batch_size):
                    break
                batch.append(segment)
            self._taken = len(batch)
        for segment in batch:
            segment.close()
        return batch

    def adopt(self, segments: Sequence[RecoveredSegment]) -> None:
        """Take over segments that other processes left, or this one, oldest first; they are due."""
        with self._stats.lock:
            for segment in reversed(segments):
                segment.created = segment.due = self._clock() - segment.age
                if self._released.pop(segment.id, None) is not None:
                    segment.recovered = False
                self._segments.appendleft(segment)

    def put_back(self) -> None:
        """Return the taken batch to the queue, because it could not be sent."""
        self._taken = 0

    def settle(self, batch: Sequence[Segment], *, dropped: int = 0, reason: str = "") -> None:
        """Count a batch as delivered, except for `dropped` events, and delete its segments."""
        for segment in batch:
            lost = min(dropped, segment.events)
            dropped -= lost
            losses = segment.losses | ({reason: lost} if reason else {})
            with self._stats.lock:
                delivered = segment.events - lost
                self._stats.settle(segment.id, delivered, losses, recovered=segment.recovered)
                self._segments.remove(segment)
                self._taken = max(0, self._taken - 1)
            segment.remove()
            self._stats.settled()
        self._settled_at = self._clock()

    def make_room(self) -> None:
        """Drop closed segments, oldest first, until the next segment has room, however large it is."""
        keep = self._max_bytes - max(self._limits.segment_bytes, self._limits.max_segment_bytes)
        while (first := self._first_closed()) is not None and self._bytes() > keep:
            self.settle([first], dropped=first.events, reason="queue_full")

    def drop_older_than(self, moment: float) -> None:
        """Drop segments that were begun before `moment`, in seconds of the clock."""
        while (first := self._first_closed()) is not None and first.created < moment:
            self.settle([first], dropped=first.events, reason="expired")

    def purge(self, reason: str) -> None:
        """Drop all events, those of work that is under way too."""
        self.journal.close()
        self.close()
        while (first := self._first_closed()) is not None:
            self.settle([first], dropped=first.events, reason=reason)

    def _first_closed(self) -> Segment | None:
        with self._stats.lock:
            first = self._segments[0] if self._segments else None
            return None if first is None or first is self._open else first

    def write_out(self) -> bool:
        """Write buffered events to disk, and return whether there may be more soon."""
        if self._buffered:
            with self._stats.lock:
                segments = list(self._segments)
            for segment in segments:
                with contextlib.suppress(OSError, ValueError):  # the latter if another thread has deleted it
                    segment.write_out()
            self._stats.write_out()
        return self._buffered and self._open is not None

    def trim(self) -> None:
        """Free the disk space that closed segments don't need while they wait."""
        with self._stats.lock:
            segments = [segment for segment in tuple(self._segments) if not segment.is_open]
        for segment in segments:
            with contextlib.suppress(OSError):
                segment.trim()

    def release(self) -> None:
        """Release every segment that has a file to other processes. Its events stay pending."""
        with self._stats.lock:
            self.close()
            for segment in list(self._segments):
                segment.close()
                if segment.file is None:
                    continue
                try:
                    segment.write_out()
                    if not segment.recovered:
                        segment.file.date(time.time() - (self._clock() - segment.created))
                except OSError:
                    continue
                if not segment.recovered:
                    self._released[segment.id] = segment.events
                self._segments.remove(segment)
                with contextlib.suppress(OSError):
                    segment.release()
            self._has_worker = False

    def forget_released(self, ids: Collection[int]) -> None:
        """Forget released segments that are not among `ids`, because another process has settled them."""
        with self._stats.lock:
            for segment in self._released.keys() - ids:
                del self._released[segment]

    def abandon(self) -> None:
        """Discard all segments in the child of a fork, without changing them, because they are the parent's."""
        self.journal.abandon()
        segments, self._segments = list(self._segments), deque()
        self._open, self._taken, self._released = None, 0, {}
        for segment in segments:
            segment.abandon()
