"""The queue of one sink: the calling thread appends encoded events, the listener takes whole batches."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING

from automagik_telemetry.delivery.segment import BufferedSegment, Envelope, MappedSegment, MemorySegment, Segment

if TYPE_CHECKING:
    from collections.abc import Callable

    from automagik_telemetry.delivery.ledger import Ledger
    from automagik_telemetry.delivery.limits import Limits
    from automagik_telemetry.delivery.spool import Spool


class BatchQueue:
    """One open segment, and the full ones that wait. `wake` is called when the listener has something to do.

    Its lock is the ledger's, held for an append and never while a batch is sent.
    """

    def __init__(  # noqa: PLR0913 - the parts of one machine, each given once
        self,
        *,
        envelope: Envelope,
        ledger: Ledger,
        limits: Limits,
        spool: Spool | None,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._envelope = envelope
        self._ledger = ledger
        self._limits = limits
        self._spool = spool
        self._clock = clock
        self._wake = wake
        self._open: Segment | None = None
        self._opened_at = 0.0
        self._full: deque[Segment] = deque()
        self._taken: Segment | None = None
        self.pending = 0

    def append(self, fragment: bytes) -> None:
        """Queue one encoded event, or drop and count it if the queue is full or the event too large."""
        ledger = self._ledger
        with ledger.lock:
            ledger.queued += 1
            segment = self._open
            if self.pending >= self._limits.max_queue_size:
                ledger.settle_locked(reason="queue_full", dropped=1)
                return
            if segment is None or not segment.append(fragment):
                segment = self._append_to_new(fragment)
                if segment is None:
                    return
            self.pending += 1
            if segment.events >= self._limits.max_export_batch_size:
                self._full.append(segment)
                self._open = None
                self._wake()

    def _append_to_new(self, fragment: bytes) -> Segment | None:
        """Close the open segment and begin another with `fragment`; None if the event was dropped."""
        if len(fragment) > self._limits.max_event_bytes:
            self._ledger.settle_locked(reason="too_large", dropped=1)
            return None
        if self._open is not None:
            self._full.append(self._open)
            self._open = None
        segment = self._new_segment()
        if segment is None:
            self._ledger.settle_locked(reason="queue_full", dropped=1)
            return None
        segment.append(fragment)
        self._open = segment
        self._opened_at = self._clock()
        self._wake()
        return segment

    def _new_segment(self) -> Segment | None:
        """Begin a segment on disk if there is one with room, else in memory; None if there is no room either."""
        size = self._limits.segment_bytes
        if self._spool is not None:
            if self._bytes(MemorySegment, on_disk=True) + size > self._limits.max_disk_bytes:
                return None
            with contextlib.suppress(OSError):
                file = self._spool.create()
                try:
                    storage = MappedSegment if self._spool.mappable else BufferedSegment
                    return storage(self._envelope, size, file)
                except BaseException:
                    file.remove()
                    raise
        if self._bytes(MemorySegment, on_disk=False) + size > self._limits.max_memory_bytes:
            return None
        return MemorySegment(self._envelope, size)

    def _bytes(self, memory: type[MemorySegment], *, on_disk: bool) -> int:
        return sum(segment.size for segment in self._segments() if (type(segment) is memory) != on_disk)

    def _segments(self) -> list[Segment]:
        return [segment for segment in (self._taken, *self._full, self._open) if segment is not None]

    @property
    def bytes(self) -> int:
        """Return the bytes of everything undelivered in this process."""
        with self._ledger.lock:
            return sum(segment.size for segment in self._segments())

    @property
    def storage(self) -> str:
        """Where the next event would go: mapped, buffered or memory."""
        if self._spool is None or type(self._open) is MemorySegment:
            return "memory"
        return "mapped" if self._spool.mappable else "buffered"

    def due_in(self) -> float | None:
        """Return the seconds until `take` has a batch; None if nothing is queued."""
        with self._ledger.lock:
            if self._full:
                return 0.0
            if self._open is None or not self._open.events:
                return None
            return max(0.0, self._opened_at + self._limits.schedule_delay - self._clock())

    def take(self, *, now: bool = False) -> Segment | None:
        """Return the oldest batch, sealed: a full one, or the open one if it is due or `now`. Settle or put it back."""
        due = self.due_in()
        if due is None or (due > 0 and not now):
            return None
        with self._ledger.lock:
            if self._full:
                segment = self._full.popleft()
            elif self._open is not None and self._open.events:
                segment, self._open = self._open, None
            else:
                return None
            self._taken = segment
        with contextlib.suppress(OSError):
            segment.seal()
        return segment

    def adopt(self, segment: Segment, corrupt: int) -> None:
        """Take over a segment that another process left, to be settled or put back next."""
        with self._ledger.lock:
            self._ledger.queued += segment.events + corrupt
            self._ledger.settle_locked(reason="corrupt", dropped=corrupt)
            self.pending += segment.events
            self._taken = segment

    def put_back(self, segment: Segment) -> None:
        """Return a batch that could not be sent to the front."""
        with self._ledger.lock:
            self._taken = None
            self._full.appendleft(segment)

    def put_back_taken(self) -> None:
        """Return whatever batch was under way, after a failure that nobody foresaw."""
        if self._taken is not None:
            self.put_back(self._taken)

    def settle(self, segment: Segment, *, dropped: int = 0, reason: str = "") -> None:
        """Count a taken batch as processed, but for `dropped` events of it, and delete it."""
        with self._ledger.lock:
            self._taken = None
            self.pending -= segment.events
            self._ledger.settle_locked(processed=segment.events - dropped, dropped=dropped, reason=reason)
        segment.remove()

    def write_out(self) -> bool:
        """Bring buffered events to disk; whether the open segment has to be told to."""
        with self._ledger.lock:
            segment = self._open
        if isinstance(segment, BufferedSegment):
            with contextlib.suppress(OSError):
                segment.write_out()
            return True
        return False

    def drop_oldest(self, reason: str, *, keep: int) -> None:
        """Drop full batches, oldest first, until at most `keep` bytes wait."""
        while self.bytes > keep:
            with self._ledger.lock:
                segment = self._full.popleft() if self._full else None
            if segment is None:
                return
            self.settle(segment, dropped=segment.events, reason=reason)

    def drop_older_than(self, time: float) -> None:
        """Drop full batches that were begun before `time` (Unix seconds)."""
        while True:
            with self._ledger.lock:
                if not self._full or self._full[0].created >= time:
                    return
                segment = self._full.popleft()
            self.settle(segment, dropped=segment.events, reason="expired")

    def purge(self, reason: str) -> None:
        """Drop everything."""
        while (segment := self.take(now=True)) is not None:
            self.settle(segment, dropped=segment.events, reason=reason)

    def release(self) -> None:
        """Leave every batch that is not under way to the next process; what has no file is dropped as `shutdown`."""
        with self._ledger.lock:
            segments = [*self._full, *([self._open] if self._open is not None else [])]
            self._full.clear()
            self._open = None
            for segment in segments:
                self.pending -= segment.events
                try:
                    kept = segment.release()
                except OSError:
                    kept = False
                if kept:
                    # It is the next process's now: neither pending nor lost here.
                    self._ledger.queued -= segment.events
                else:
                    self._ledger.settle_locked(reason="shutdown", dropped=segment.events)

    def abandon(self) -> None:
        """Forget everything without touching it, in the child of a fork: it belongs to the parent."""
        for segment in self._segments():
            segment.abandon()
        self._open = self._taken = None
        self._full.clear()
        self.pending = 0
