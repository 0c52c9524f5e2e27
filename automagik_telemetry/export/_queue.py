"""The queue of one sink: logging calls append encoded events, the worker takes batches.

Constraints:

- A logging call never waits for the disk or the network, and its event outlives the process from the moment it returns,
  where the file system can be mapped.
- At any moment another thread may log, a signal handler may log or raise, the process may fork or die.
- Events and bytes are bounded; what has no room is dropped and counted.

Layout: one deque of segments, the oldest first. A segment is in it from its first event until it is settled. Only the
last may be open; `_taken` of the first are on their way to the endpoint.

Invariants, each kept by single steps, so that an interrupt between any two lines finds them true:

- All changes are made with `lock` held, which is the lock of the stats, too, and can be taken again by its thread.
- `_open` takes events or is closed; a segment that is not `_open` gets no more.
- The events of a segment are the lines in its map (see `Segment`), so that pending is what the segments hold, and
  logged = delivered + dropped + pending needs no counter of its own.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from automagik_telemetry._reentrancy import guard
from automagik_telemetry.export._body import SEPARATOR
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
"""Segments, each with open files, from which on one grows to its full size instead of that of a batch."""
_DISK_RETRY_INTERVAL: Final = 1.0
"""Seconds after which a disk that had no room is tried again."""
_LINGER: Final = 0.2
"""Seconds that a full segment waits for others to share its request."""
_YIELD: Final = 0.002
"""Seconds for which a caller that begins a segment lets a worker run that is far behind."""


class BatchQueue:
    """Segments of one sink.

    `wake` is called, without the lock, when a segment is begun; it returns whether there is a worker. `append`, `close`
    and the figures are for all threads, everything else for the worker, or for who has seen it end.
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
        # Of the disk, a little is left for the stats beside the segments, and for blocks that are not full.
        self._max_bytes = limits.max_memory_bytes if spool is None else limits.max_disk_bytes * 63 // 64
        self._segments: deque[Segment] = deque()
        self._open: Segment | None = None
        self._taken = 0
        self._released: dict[str, int] = {}
        """Events of segments that were left on disk by `release`, by path."""
        self._has_worker = False
        self._disk_retry_at = 0.0

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
                with guard:  # a signal handler that logs meanwhile must not begin another segment, and so on
                    dropped, is_news = self._begin_segment(line), True
        if dropped is not None:
            self._stats.drop(dropped)
            return
        with guard:
            if is_news:  # without the lock, because the worker may have to be started first
                is_urgent = self._is_half_full()
                if is_urgent:
                    self._make_due()
                self._has_worker = self._wake()
                if is_urgent and self._taken:
                    time.sleep(_YIELD)
            if self._buffered and (self._taken or not self._has_worker):
                self.write_out()  # no worker does: there is none, or it waits for an answer

    def holds(self, line: bytes) -> bool:
        """Return whether an event was queued, for who was interrupted while it appended it."""
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
        segment = self._new_segment(now)
        if segment is None:
            return "queue_full"
        small = len(self._segments) < _MAX_SMALL_SEGMENTS
        segment.max_events = min(room, self._limits.max_export_batch_size) if small else room
        segment.created, segment.due = now, now + self._limits.schedule_delay
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
        """Close a segment that has all the events that it may have, and return whether it has."""
        if segment.events < segment.max_events:
            return False
        segment.due = self._clock()
        self.close()
        return True

    def _new_segment(self, now: float) -> Segment | None:
        """Return a segment on disk if there is room for one, else in memory; None if there is no room either."""
        limits = self._limits
        if self._bytes() + limits.segment_bytes > self._max_bytes:
            return None
        if self._spool is not None and now >= self._disk_retry_at:
            try:
                return self._new_on_disk(self._spool)
            except OSError:
                self._disk_retry_at = now + _DISK_RETRY_INTERVAL
        in_memory = sum(segment.size for segment in tuple(self._segments) if segment.storage == "memory")
        if in_memory + limits.segment_bytes > limits.max_memory_bytes:
            return None
        with contextlib.suppress(OSError):
            return Segment(self._envelope, limits.segment_bytes)
        return None

    def _new_on_disk(self, spool: Spool) -> Segment:
        file = spool.create()
        try:
            if not self._buffered and not file.preallocate(self._limits.segment_bytes):
                self._buffered = True  # a mapped write could find the disk full
                file.truncate(0)
            return Segment(self._envelope, self._limits.segment_bytes, file, mapped=not self._buffered)
        except BaseException:
            file.remove()
            raise

    def _events(self) -> int:
        return sum(segment.events for segment in tuple(self._segments))

    def _bytes(self) -> int:
        return sum(segment.size for segment in tuple(self._segments))

    def _is_half_full(self) -> bool:
        """Return whether more than half of what the queue may hold is there."""
        with self._stats.lock:
            return 2 * self._events() > self._limits.max_queue_size or 2 * self._bytes() > self._max_bytes

    def pending(self) -> Pending:
        """Return what is undelivered; to be called with the lock held if it is to fit the stats."""
        with self._stats.lock:
            segments = list(self._segments)
            held = {segment.file.path for segment in segments if segment.file is not None}
            left = sum(events for path, events in self._released.items() if path not in held)
            own = sum(segment.events for segment in segments if not segment.recovered)
            others = sum(segment.events for segment in segments if segment.recovered)
        return Pending(own + left, others, sum(segment.size for segment in segments))

    @property
    def storage(self) -> Storage:
        """Where the next event would go."""
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
        """Make everything that was queued until now due."""
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
                if batch and (segment.is_open or segment.recovered):
                    break
                if segment is self._open:
                    self.close()
                size, events = size + segment.size, events + segment.events
                if batch and (size > limits.max_export_batch_bytes or events > limits.max_export_batch_size):
                    break
                batch.append(segment)
                if segment.recovered:
                    break
            self._taken = len(batch)
        for segment in batch:
            segment.close()
        return batch

    def adopt(self, segment: RecoveredSegment) -> list[Segment]:
        """Take over a segment that another process left, or this one, as a batch to be settled or put back next."""
        age = segment.file.age() if segment.file is not None else 0.0
        segment.created = segment.due = self._clock() - age
        with self._stats.lock:
            if segment.file is not None and self._released.pop(segment.file.path, None) is not None:
                segment.recovered = False
            self._segments.appendleft(segment)
            self._taken = 1
        return [segment]

    def put_back(self) -> None:
        """Keep the batch that was taken, because it could not be sent."""
        self._taken = 0

    def settle(self, batch: Sequence[Segment], *, dropped: int = 0, reason: str = "") -> None:
        """Count a batch as delivered, but for `dropped` events of it, and delete its segments."""
        for segment in batch:
            lost = min(dropped, segment.events)
            dropped -= lost
            losses = {"corrupt": segment.corrupt, reason: lost} if reason else {"corrupt": segment.corrupt}
            with self._stats.lock:
                delivered = segment.events - lost
                self._stats.settle(segment.id, delivered, losses, recovered=segment.recovered)
                self._segments.remove(segment)
                self._taken = max(0, self._taken - 1)
            segment.remove()
            self._stats.settled()

    def drop_oldest(self, reason: str, *, keep: int) -> None:
        """Drop closed segments, oldest first, until at most `keep` bytes wait."""
        while (first := self._first_closed()) is not None and self._bytes() > keep:
            self.settle([first], dropped=first.events, reason=reason)

    def drop_older_than(self, moment: float) -> None:
        """Drop segments that were begun before `moment`, in seconds of the clock."""
        while (first := self._first_closed()) is not None and first.created < moment:
            self.settle([first], dropped=first.events, reason="expired")

    def purge(self, reason: str) -> None:
        """Drop everything."""
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
                with contextlib.suppress(OSError):
                    segment.write_out()
            self._stats.write_out()
        return self._buffered and self._open is not None

    def trim(self) -> None:
        """Give back the room that closed segments don't need, because they will wait."""
        with self._stats.lock:
            segments = [segment for segment in tuple(self._segments) if not segment.is_open]
        for segment in segments:
            with contextlib.suppress(OSError):
                segment.trim()

    def release(self) -> None:
        """Leave every segment that has a file to whoever finds it; its events stay pending."""
        with self._stats.lock:
            self.close()
            for segment in list(self._segments):
                segment.close()
                if segment.file is None:
                    continue
                try:
                    segment.write_out()
                except OSError:
                    continue
                if not segment.recovered:
                    self._released[segment.file.path] = segment.events
                self._segments.remove(segment)
                with contextlib.suppress(OSError):
                    segment.release()
            self._has_worker = False

    def forget_released(self, paths: Collection[str]) -> None:
        """Forget released segments whose file is not among `paths`: another process has settled them."""
        with self._stats.lock:
            for path in self._released.keys() - paths:
                del self._released[path]

    def abandon(self) -> None:
        """Forget everything without touching it, in the child of a fork: it belongs to the parent."""
        segments, self._segments = list(self._segments), deque()
        self._open, self._taken, self._released = None, 0, {}
        for segment in segments:
            segment.abandon()
