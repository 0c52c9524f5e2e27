"""The queue of one sink: the calling thread appends encoded events, the listener takes whole batches."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING

from automagik_telemetry.delivery.segment import (
    NOTHING,
    SEPARATOR,
    BufferedSegment,
    Envelope,
    MappedSegment,
    MemorySegment,
    Segment,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from automagik_telemetry.delivery.ledger import Ledger
    from automagik_telemetry.delivery.limits import Limits
    from automagik_telemetry.delivery.recovery import AdoptedSegment
    from automagik_telemetry.delivery.spool import Spool

_MAX_WAITING = 16
"""Full batches that may wait, each with open files; beyond it a batch grows to the size of a segment instead."""
_SPINS = 100
"""How often a caller tries for the lock at once, before it pauses: who holds it may wait for a disk."""
_PAUSE = 0.001
"""Seconds of such a pause."""


class BatchQueue:
    """One open segment, and the full ones that wait.

    `wake` is called when the listener has something to do, without the lock, and says whether there is a listener. The
    lock is the ledger's, held for an append and never while a batch is sent. `append` and the figures are for all
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
        wake: Callable[[], bool],
    ) -> None:
        self._envelope = envelope
        self._ledger = ledger
        self._limits = limits
        self._max_event_bytes = limits.max_event_bytes
        self._spool = spool
        self._clock = clock
        self._wake = wake
        self._buffered = spool is not None and not spool.mappable
        self._full: deque[Segment] = deque()
        self._left: dict[str, int] = {}
        self._reset()

    def _reset(self) -> None:
        """Be empty, with the ledger's lock, which is a new one in the child of a fork."""
        self._acquire, self._release = self._ledger.lock.acquire, self._ledger.lock.release
        self._open: Segment = NOTHING
        self._taken: Segment | None = None
        self._spare: Segment | None = None
        self._full.clear()
        self._left.clear()
        self._closed_events = 0
        self._batch = self._pause = 0
        self._no_room = False
        self._news = False
        self._attended = True

    def append(self, fragment: bytes) -> None:
        """Queue one encoded event, or drop and count it if the queue is full or the event too large."""
        if not self._acquire(False):  # noqa: FBT003 - by name it takes longer
            self._acquire_soon()
        try:
            while True:
                segment = self._open
                start = segment.size
                end = start + len(fragment) + 2
                if end <= segment.room and len(fragment) <= self._max_event_bytes:
                    segment.buffer[start:end] = fragment + SEPARATOR
                    segment.size = end
                    segment.events += 1
                    if segment.events < self._pause:
                        return
                    self._look_locked(segment)
                    break
                if not self._make_room_locked(len(fragment)):
                    break
        finally:
            self._release()
        self._attend()

    def _acquire_soon(self) -> None:
        # Who waits for a lock gets it without the GIL, and then all others wait for both, from one call to the next.
        tries = 0
        while not self._acquire(blocking=False):
            tries += 1
            time.sleep(0 if tries < _SPINS else _PAUSE)

    def _look_locked(self, segment: Segment) -> None:
        """Close the open segment if it is full by count, write it out if the listener can't, see when to look next."""
        if self._buffered and self._taken is not None:
            # The listener, which would do it soon, is waiting for an answer.
            with contextlib.suppress(OSError):
                segment.write_out()
        is_full = segment.events >= self._batch and len(self._full) < _MAX_WAITING
        left = self._limits.max_queue_size - self._closed_events
        if is_full or segment.events >= left:
            self._rotate_locked()
        self._pause = min(self._batch, left) if self._attended and not self._buffered else 0

    def _make_room_locked(self, size: int) -> bool:
        """Close the open segment and begin another for an event of `size` bytes; False if the event was dropped."""
        if size > self._max_event_bytes:
            return self._drop_locked("too_large")
        self._rotate_locked()
        limits = self._limits
        left = limits.max_queue_size - self._closed_events
        segment = self._new_segment() if left > 0 and not self._no_room else None
        if segment is None:
            self._no_room = left > 0
            return self._drop_locked("queue_full")
        if segment.size + size + len(SEPARATOR) > segment.room:
            segment.remove()
            return self._drop_locked("too_large")
        segment.created = self._clock()
        self._open = segment
        self._batch = limits.max_export_batch_size * max(1, segment.capacity // limits.segment_bytes)
        self._pause = 0  # the listener is told of the first event
        self._news = True
        return True

    def _drop_locked(self, reason: str) -> bool:
        self._ledger.queued += 1
        self._ledger.settle_locked(reason=reason, dropped=1)
        return False

    def _attend(self) -> None:
        """Tell the listener what is new. Without the lock, for it may have to be started first."""
        if self._news or not self._attended:
            self._news = False
            self._attended = self._wake()
            if not self._attended:
                self._pause = 0  # to look again at the next event
                self.write_out()

    def leave(self) -> None:
        """Have the next event ask for a listener, for this one ends."""
        with self._ledger.lock:
            self._attended = False
            self._pause = 0

    def _new_segment(self) -> Segment | None:
        """Return a segment on disk if there is room for one, else in memory; None if there is no room either.

        While batches come faster than they are sent it is a large one, so that fewer requests carry more.
        """
        limits = self._limits
        large = limits.large_segment_bytes if self._taken is not None and self._full else limits.segment_bytes
        if self._spool is not None:
            if self._bytes(in_memory=False) + limits.segment_bytes > limits.max_disk_bytes:
                return None
            if self._spare is not None:
                spare, self._spare = self._spare, None
                return spare
            with contextlib.suppress(OSError):
                file = self._spool.create()
                try:
                    size = large if self._capacity() + large <= limits.max_disk_bytes else limits.segment_bytes
                    storage = BufferedSegment if self._buffered else MappedSegment
                    return storage(self._envelope, size, file)
                except BaseException:
                    file.remove()
                    raise
        room = limits.max_memory_bytes - self._bytes(in_memory=True)
        if limits.segment_bytes > room:
            return None
        return MemorySegment(self._envelope, large if large <= room else limits.segment_bytes)

    def _rotate_locked(self) -> None:
        segment = self._open
        if segment is not NOTHING:
            self._open = NOTHING
            self._full.append(segment)
            self._ledger.queued += segment.events
            self._closed_events += segment.events
            self._news = True

    def _bytes(self, *, in_memory: bool) -> int:
        return sum(segment.size for segment in self._segments() if (type(segment) is MemorySegment) == in_memory)

    def _capacity(self) -> int:
        return sum(segment.capacity for segment in self._segments())

    def _segments(self) -> list[Segment]:
        return [each for each in (self._taken, *self._full, self._open) if each is not None and each is not NOTHING]

    @property
    def filling(self) -> int:
        """Return how many events are in the open batch; the ledger counts them as queued when it is closed."""
        return self._open.events

    @property
    def pending(self) -> int:
        """Return how many events are undelivered: in the queue, or left on disk when it was released."""
        with self._ledger.lock:
            return self._closed_events + self._open.events + sum(self._left.values())

    @property
    def bytes(self) -> int:
        """Return the bytes of everything undelivered in the queue."""
        with self._ledger.lock:
            return sum(segment.size for segment in self._segments())

    @property
    def storage(self) -> str:
        """Where the next event would go: mapped, buffered or memory."""
        if self._spool is None or (type(self._open) is MemorySegment and self._open is not NOTHING):
            return "memory"
        return "buffered" if self._buffered else "mapped"

    def due_in(self) -> float | None:
        """Return the seconds until `take` has a batch; None if nothing is queued."""
        with self._ledger.lock:
            if self._full:
                return 0.0
            if self._open is NOTHING:
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
            self._closed_events += segment.events
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
        """Count a taken batch as processed, but for `dropped` events of it, and forget it or have it begin anew."""
        with self._ledger.lock:
            self._closed_events -= segment.events
            self._ledger.settle_locked(processed=segment.events - dropped, dropped=dropped, reason=reason)
            self._no_room = False
            wanted = self._is_wanted_locked(segment)
        recycled = wanted and segment.recycle()
        with self._ledger.lock:
            self._taken = None
            if recycled:
                self._spare = segment
        if not recycled:
            segment.remove()

    def _is_wanted_locked(self, segment: Segment) -> bool:
        """Whether a settled segment should be the next one: more is coming, it is large enough, and there is room."""
        limits = self._limits
        least = limits.large_segment_bytes if self._full else limits.segment_bytes
        coming = bool(self._full) or self._open is not NOTHING
        fits = self._capacity() + segment.capacity <= limits.max_disk_bytes
        return coming and self._spare is None and segment.capacity >= least and fits

    def drop_spare(self) -> None:
        """Delete the segment that is kept for the next batch: there is none in sight."""
        with self._ledger.lock:
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.remove()

    def write_out(self) -> bool:
        """Bring buffered events to disk; whether there are any that have to be told to."""
        if self._buffered:
            with self._ledger.lock:
                segments = self._segments()
            for segment in segments:
                with contextlib.suppress(OSError):
                    segment.write_out()
        return self._buffered and self._open is not NOTHING

    def trim_full(self) -> None:
        """Cut the files of waiting batches to what they hold."""
        with self._ledger.lock:
            segments = list(self._full)
        for segment in segments:
            with contextlib.suppress(OSError):
                segment.trim()

    def drop_oldest(self, reason: str, *, keep: int) -> None:
        """Drop full batches, oldest first, until at most `keep` bytes wait."""
        self._no_room = False  # to look again, for the disk may have got some
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
        self.drop_spare()

    def _drop_first(self, reason: str) -> None:
        with self._ledger.lock:
            segment = self._full.popleft()
        self.settle(segment, dropped=segment.events, reason=reason)

    def release(self) -> None:
        """Leave every batch that has a file to whoever finds it; its events stay pending in this account."""
        self.drop_spare()
        with self._ledger.lock:
            self._rotate_locked()
            for segment in list(self._full):
                try:
                    path = segment.release()
                except OSError:
                    continue
                if path is not None:
                    self._full.remove(segment)
                    self._closed_events -= segment.events
                    self._left[path] = segment.events

    def forget_left(self, paths: Collection[str]) -> None:
        """Strike those left batches from the account whose file is not among `paths`: another process settled them."""
        with self._ledger.lock:
            for path in self._left.keys() - paths:
                self._ledger.queued -= self._left.pop(path)

    def abandon(self) -> None:
        """Forget everything without touching it, in the child of a fork: it belongs to the parent."""
        for segment in (*self._segments(), *filter(None, [self._spare])):
            segment.abandon()
        self._reset()
