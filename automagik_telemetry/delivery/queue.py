"""The queue of one sink: the calling thread appends encoded events, the listener takes whole batches."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING

from automagik_telemetry.delivery.segment import BufferedSegment, Envelope, MappedSegment, MemorySegment, Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from automagik_telemetry.delivery.ledger import Ledger
    from automagik_telemetry.delivery.limits import Limits
    from automagik_telemetry.delivery.recovery import AdoptedSegment
    from automagik_telemetry.delivery.spool import Spool

_MAX_WAITING = 16
"""Full batches that may wait, each with open files; beyond it a batch grows to the size of a segment instead."""


class BatchQueue:
    """One open segment, and the full ones that wait. `wake` is called when the listener has something to do.

    Its lock is the ledger's, held for an append and never while a batch is sent. `append` and the figures are for all
    threads, everything else for the listener's, or for whoever has seen that thread end.
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
        self._buffered = spool is not None and not spool.mappable
        self._open: Segment | None = None
        self._full: deque[Segment] = deque()
        self._taken: Segment | None = None
        self._waiting = 0
        self._left: dict[str, int] = {}

    def append(self, fragment: bytes) -> None:
        """Queue one encoded event, or drop and count it if the queue is full or the event too large."""
        ledger, limits = self._ledger, self._limits
        with ledger.lock:
            ledger.queued += 1
            if len(fragment) > limits.max_event_bytes:
                ledger.settle_locked(reason="too_large", dropped=1)
                return
            if self._waiting >= limits.max_queue_size:
                ledger.settle_locked(reason="queue_full", dropped=1)
                return
            segment = self._open
            if segment is None or not segment.append(fragment):
                segment = self._append_to_new(fragment)
                if segment is None:
                    return
            self._waiting += 1
            if segment.events >= limits.max_export_batch_size and len(self._full) < _MAX_WAITING:
                self._rotate_locked()
                self._wake()
            if self._buffered and self._taken is not None:
                # The listener, which would do it soon, is waiting for an answer.
                with contextlib.suppress(OSError):
                    segment.write_out()

    def _append_to_new(self, fragment: bytes) -> Segment | None:
        """Close the open segment and begin another with `fragment`; None if the event was dropped."""
        self._rotate_locked()
        segment = self._new_segment()
        if segment is None:
            self._ledger.settle_locked(reason="queue_full", dropped=1)
            return None
        if not segment.append(fragment):
            self._ledger.settle_locked(reason="too_large", dropped=1)
            segment.remove()
            return None
        segment.created = self._clock()
        self._open = segment
        self._wake()
        return segment

    def _new_segment(self) -> Segment | None:
        """Begin a segment on disk if there is one with room, else in memory; None if there is no room either."""
        size = self._limits.segment_bytes
        if self._spool is not None:
            if self._bytes(in_memory=False) + size > self._limits.max_disk_bytes:
                return None
            with contextlib.suppress(OSError):
                file = self._spool.create()
                try:
                    storage = BufferedSegment if self._buffered else MappedSegment
                    return storage(self._envelope, size, file)
                except BaseException:
                    file.remove()
                    raise
        if self._bytes(in_memory=True) + size > self._limits.max_memory_bytes:
            return None
        return MemorySegment(self._envelope, size)

    def _rotate_locked(self) -> None:
        if self._open is not None:
            self._full.append(self._open)
            self._open = None

    def _bytes(self, *, in_memory: bool) -> int:
        return sum(segment.size for segment in self._segments() if (type(segment) is MemorySegment) == in_memory)

    def _segments(self) -> list[Segment]:
        return [segment for segment in (self._taken, *self._full, self._open) if segment is not None]

    @property
    def pending(self) -> int:
        """Return how many events are undelivered: in the queue, or left on disk when it was released."""
        with self._ledger.lock:
            return self._waiting + sum(self._left.values())

    @property
    def bytes(self) -> int:
        """Return the bytes of everything undelivered in the queue."""
        with self._ledger.lock:
            return sum(segment.size for segment in self._segments())

    @property
    def storage(self) -> str:
        """Where the next event would go: mapped, buffered or memory."""
        if self._spool is None or type(self._open) is MemorySegment:
            return "memory"
        return "buffered" if self._buffered else "mapped"

    def due_in(self) -> float | None:
        """Return the seconds until `take` has a batch; None if nothing is queued."""
        with self._ledger.lock:
            if self._full:
                return 0.0
            if self._open is None:
                return None
            return max(0.0, self._open.created + self._limits.schedule_delay - self._clock())

    def rotate(self) -> None:
        """Make the open segment a full one, so that `take` returns all that was queued until now."""
        with self._ledger.lock:
            self._rotate_locked()

    def take(self) -> Segment | None:
        """Return the oldest batch, sealed: a full one, or the open one if it is due. Settle it or put it back."""
        with self._ledger.lock:
            if self.due_in() != 0.0:
                return None
            if not self._full:
                self._rotate_locked()
            segment = self._taken = self._full.popleft()
        with contextlib.suppress(OSError):
            segment.seal()
        return segment

    def adopt(self, segment: AdoptedSegment) -> None:
        """Take over a segment that was left by another process, or by this one, to be settled or put back next."""
        segment.created = self._clock() - segment.file.age()
        with self._ledger.lock:
            known = self._left.pop(segment.file.path, 0)
            self._ledger.queued += segment.events + segment.corrupt - known
            self._ledger.settle_locked(reason="corrupt", dropped=segment.corrupt)
            self._waiting += segment.events
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
            self._waiting -= segment.events
            self._ledger.settle_locked(processed=segment.events - dropped, dropped=dropped, reason=reason)
        segment.remove()

    def write_out(self) -> bool:
        """Bring buffered events to disk; whether there are any that have to be told to."""
        if self._buffered:
            with self._ledger.lock:
                segments = self._segments()
            for segment in segments:
                with contextlib.suppress(OSError):
                    segment.write_out()
        return self._buffered and self._open is not None

    def seal_full(self) -> None:
        """Cut the files of waiting batches to what they hold."""
        with self._ledger.lock:
            segments = list(self._full)
        for segment in segments:
            with contextlib.suppress(OSError):
                segment.seal()

    def drop_oldest(self, reason: str, *, keep: int) -> None:
        """Drop full batches, oldest first, until at most `keep` bytes wait."""
        while self._full and self.bytes > keep:
            self._drop_first(reason)

    def drop_older_than(self, time: float) -> None:
        """Drop full batches that were begun before `time`, in seconds of the clock."""
        while self._full and self._full[0].created < time:
            self._drop_first("expired")

    def purge(self, reason: str) -> None:
        """Drop everything."""
        self.rotate()
        while self._full:
            self._drop_first(reason)

    def _drop_first(self, reason: str) -> None:
        with self._ledger.lock:
            segment = self._full.popleft()
        self.settle(segment, dropped=segment.events, reason=reason)

    def release(self) -> None:
        """Leave every batch that has a file to whoever finds it; its events stay pending in this account."""
        with self._ledger.lock:
            self._rotate_locked()
            for segment in list(self._full):
                try:
                    path = segment.release()
                except OSError:
                    continue
                if path is not None:
                    self._full.remove(segment)
                    self._waiting -= segment.events
                    self._left[path] = segment.events

    def forget_left(self, paths: Collection[str]) -> None:
        """Strike those left batches from the account whose file is not among `paths`: another process settled them."""
        with self._ledger.lock:
            for path in self._left.keys() - paths:
                self._ledger.queued -= self._left.pop(path)

    def abandon(self) -> None:
        """Forget everything without touching it, in the child of a fork: it belongs to the parent."""
        for segment in self._segments():
            segment.abandon()
        self._open = self._taken = None
        self._full.clear()
        self._left.clear()
        self._waiting = 0
