"""The queue of one sink: the calling thread appends encoded events, the listener takes whole batches."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, NoReturn

from automagik_telemetry.delivery.batch import Batch
from automagik_telemetry.delivery.envelope import SEPARATOR, Envelope
from automagik_telemetry.delivery.guard import guard
from automagik_telemetry.delivery.segment import BufferedSegment, MappedSegment, MemorySegment

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from automagik_telemetry.delivery.ledger import Ledger
    from automagik_telemetry.delivery.limits import Limits
    from automagik_telemetry.delivery.recovery import AdoptedSegment
    from automagik_telemetry.delivery.segment import Segment
    from automagik_telemetry.delivery.spool import Spool

_MAX_WAITING = 16
"""Full batches that may wait, each with open files; beyond it a batch grows to the size of a segment instead."""
_STRIDE = 256
"""Events after which a caller makes way for a listener that is behind."""
_MAKE_WAY = 0.000_05
"""Seconds that it does so: else, a listener waits 5 ms for the interpreter after each call of the kernel."""


class BatchQueue:
    """One open segment, and the full ones that wait.

    An append takes no lock: it is one step of the interpreter, `MemorySegment.write`, which an open segment lets
    through and any other refuses. To open one and to close one takes the ledger's lock, which is never held while a
    batch is sent. An append is counted before and after, so that a closed segment's events are known if nobody was in
    between when it was opened or closed; else its lines are counted. `wake` is called when the listener has something
    to do, without the lock, and says whether there is a listener. `append` and the figures are for all threads,
    everything else for the listener's, or for whoever has seen that thread end.
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
        self._longest = limits.max_event_bytes + len(SEPARATOR)
        self._spool = spool
        self._clock = clock
        self._wake = wake
        self._buffered = spool is not None and not spool.mappable
        # Of the disk, a little is left for the account beside the segments, and for blocks that are not full.
        self._most_bytes = limits.max_memory_bytes if spool is None else limits.max_disk_bytes * 63 // 64
        self._full: deque[Segment] = deque()
        self._left: dict[str, int] = {}
        self._reset()

    def _reset(self) -> None:
        """Be empty."""
        self._open: MemorySegment | None = None
        self._write: Callable[[bytes], int] = _refuse
        self._taken: Sequence[Segment] = ()
        self._spares: list[MemorySegment] = []
        self._full.clear()
        self._left.clear()
        self._closed_events = 0
        self._begun = self._done = self._before = self._pause = 0
        self._exact = True
        self._urgent = False
        self._no_room = False
        self._news = False
        self._attended = True

    def append(self, line: bytes) -> None:
        """Queue an encoded event and its `SEPARATOR`; drop and count it if it is too large or the queue is full."""
        if len(line) > self._longest:
            self._ledger.refuse("too_large")
            return
        self._begun += 1
        try:
            self._write(line)
        except ValueError:
            if not self._append_to_another(line):
                return
        self._done += 1
        if self._done >= self._pause:
            self._look()

    def _append_to_another(self, line: bytes) -> bool:
        """Append to a segment that has room, begun if there is none; False if the event was dropped."""
        with guard, self._ledger.lock:
            try:
                self._write(line)  # another thread may have begun one
            except ValueError:
                self._begun -= 1  # it did not get there
                dropped = self._begin_locked(line)
                if dropped is not None:
                    self._ledger.refuse(dropped)
                    return False
            return True

    def _begin_locked(self, line: bytes) -> str | None:
        """Close the open segment and begin another with an event; or return why the event is dropped."""
        self._close_locked()
        has_room = self._room_locked() > 0
        segment = self._new_segment() if has_room and not self._no_room else None
        if segment is None:
            self._no_room = has_room
            return "queue_full"
        segment.open()
        self._before, self._exact = self._done, self._begun == self._done
        self._begun += 1
        try:
            segment.write(line)
        except ValueError:
            self._begun -= 1
            segment.remove()
            return "too_large"
        segment.created = self._clock()
        self._open, self._write = segment, segment.write
        self._pause = 0  # to look soon
        # Else the listener knows when something is due, and what of it is to be written out.
        self._news = self._news or self._buffered or not self._full
        return None

    def _look(self) -> None:
        """Close the open segment if it is full by count, tell the listener what is new, and see when to look next."""
        with guard:
            with self._ledger.lock:
                count = self._done - self._before
                is_full = count >= self._limits.max_export_batch_size and len(self._full) < _MAX_WAITING
                if is_full or count >= self._room_locked():
                    self._close_locked()
            # Without the lock, for the listener may have to be started first.
            if self._news or not self._attended:
                self._news = False
                self._attended = self._wake()
            if self._is_alone():
                self.write_out()
            elif self._is_behind():
                time.sleep(_MAKE_WAY)
            with self._ledger.lock:
                self._pause = self._next_look_locked()

    def _next_look_locked(self) -> int:
        """Return how many appends are done when a caller looks again."""
        if self._is_alone():
            return 0
        full = self._before + min(self._limits.max_export_batch_size, self._room_locked())
        return min(self._done + _STRIDE, full) if self._is_behind() else full

    def _room_locked(self) -> int:
        """Return how many events the open segment, or the next, may have."""
        return self._limits.max_queue_size - self._closed_events

    def _is_alone(self) -> bool:
        """Whether what is appended is for the caller to write out: there is no listener, or it waits for an answer."""
        return not self._attended or (self._buffered and len(self._taken) > 0)

    def _is_behind(self) -> bool:
        """Whether the queue is more than half full while a batch is on its way."""
        return len(self._taken) > 0 and self._is_half_full()

    def _is_half_full(self) -> bool:
        """Whether more than half of what the queue may hold is there."""
        half_of_events = 2 * self._closed_events > self._limits.max_queue_size
        return half_of_events or 2 * self._bytes(in_memory=self._spool is None) > self._most_bytes

    def leave(self) -> None:
        """Have the next event ask for a listener, for this one ends."""
        with self._ledger.lock:
            self._attended = False
            self._pause = 0

    def _new_segment(self) -> MemorySegment | None:
        """Return a segment on disk if there is room for one, else in memory; None if there is no room either."""
        if self._bytes(in_memory=self._spool is None) + self._limits.segment_bytes > self._most_bytes:
            return None
        if self._spares:
            return self._spares.pop()
        return self._new_on_disk() or self._new_in_memory()

    def _new_on_disk(self) -> MemorySegment | None:
        if self._spool is not None:
            with contextlib.suppress(OSError):
                file = self._spool.create()
                try:
                    storage = BufferedSegment if self._buffered else MappedSegment
                    return storage(self._envelope, self._limits.segment_bytes, file)
                except BaseException:
                    file.remove()
                    raise
        return None

    def _new_in_memory(self) -> MemorySegment | None:
        limits = self._limits
        if self._bytes(in_memory=True) + limits.segment_bytes <= limits.max_memory_bytes:
            with contextlib.suppress(OSError):
                return MemorySegment(self._envelope, limits.segment_bytes)
        return None

    def _close_locked(self) -> None:
        segment = self._open
        if segment is not None:
            self._open, self._write = None, _refuse
            segment.close(self._appended)
            self._full.append(segment)
            events = segment.events
            self._ledger.enter_locked(events)
            self._closed_events += events
            self._news = self._news or self._is_enough()

    def _appended(self) -> int | None:
        """Return how many events the segment that takes no more got; None if an append was under way, or never ended.

        `self._done += 1` is one step of the interpreter, too: no thread or signal is let in before it is stored.
        """
        return self._done - self._before if self._exact and self._begun == self._done else None

    def _bytes(self, *, in_memory: bool) -> int:
        return sum(segment.size for segment in self._segments() if (type(segment) is MemorySegment) == in_memory)

    def _capacity(self) -> int:
        return sum(segment.capacity for segment in self._segments())

    def _segments(self) -> list[Segment]:
        return [each for each in (*self._taken, *self._full, self._open) if each is not None]

    @property
    def filling(self) -> int:
        """How many events are in the open segment; the ledger counts them as queued when it is closed."""
        with self._ledger.lock:
            return 0 if self._open is None else self._open.events

    @property
    def waiting(self) -> int:
        """How many undelivered events the ledger has counted: in closed segments, or left on disk by `release`."""
        with self._ledger.lock:
            return self._closed_events + sum(self._left.values())

    @property
    def pending(self) -> int:
        """How many events are undelivered."""
        with self._ledger.lock:
            return self.waiting + self.filling

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
            oldest = self._full[0] if self._full else self._open
            if oldest is None:
                return None
            if self._urgent or self._is_enough():
                return 0.0
            return max(0.0, oldest.created + self._limits.schedule_delay - self._clock())

    def _is_enough(self) -> bool:
        """Whether what is full makes a batch, or is to make room."""
        limits = self._limits
        size, events = sum(each.size for each in self._full), sum(each.events for each in self._full)
        no_more = events >= limits.max_export_batch_size or size + limits.segment_bytes > limits.max_export_batch_bytes
        return len(self._full) > 0 and (no_more or self._is_half_full())

    def rotate(self) -> None:
        """Make the open segment a full one, so that `take` returns all that was queued until now, without delay."""
        with self._ledger.lock:
            self._close_locked()
            self._urgent = len(self._full) > 0

    def take(self) -> Batch | None:
        """Return the next batch if it is due: full segments, or the open one where none is. Settle or put it back."""
        limits = self._limits
        with self._ledger.lock:
            if self.due_in() != 0.0:
                return None
            if not self._full:
                self._close_locked()
            taken = [self._full.popleft()]
            size, events = taken[0].size, taken[0].events
            while self._full:
                size, events = size + self._full[0].size, events + self._full[0].events
                if size > limits.max_export_batch_bytes or events > limits.max_export_batch_size:
                    break
                taken.append(self._full.popleft())
            self._taken = taken
            self._urgent = self._urgent and len(self._full) > 0
            self._pause = 0  # see `_is_alone`
        for segment in taken:
            with contextlib.suppress(OSError):
                segment.seal()
        return Batch(taken)

    def adopt(self, segment: AdoptedSegment) -> Batch:
        """Take over a segment that was left by another process, or by this one, to be settled or put back next."""
        segment.created = self._clock() - segment.file.age()
        with self._ledger.lock:
            known = self._left.pop(segment.file.path, 0)
            self._ledger.enter_locked(segment.events + segment.corrupt - known)
            self._ledger.settle_locked(reason="corrupt", dropped=segment.corrupt)
            self._closed_events += segment.events
            self._taken = (segment,)
        return Batch(self._taken)

    def put_back(self) -> None:
        """Return the batch that was taken to the front, for it could not be sent."""
        with self._ledger.lock:
            self._full.extendleft(reversed(self._taken))
            self._taken = ()

    def settle(self, batch: Batch, *, dropped: int = 0, reason: str = "") -> None:
        """Count a batch as processed, but for `dropped` events of it; forget its segments or have them begin anew."""
        with self._ledger.lock:
            self._closed_events -= batch.events
            self._ledger.settle_locked(processed=batch.events - dropped, dropped=dropped, reason=reason)
            self._no_room = False
        for segment in batch.segments:
            usual = MemorySegment if self._spool is None else MappedSegment
            if isinstance(segment, usual) and self._wants_spare() and segment.recycle():
                self._spares.append(segment)
            else:
                segment.remove()
        self._taken = ()

    def _wants_spare(self) -> bool:
        """Whether a settled segment should be used again: more is coming, and there is room."""
        with self._ledger.lock:
            coming = bool(self._full) or self._open is not None
            spare = sum(each.capacity for each in self._spares)
            return coming and self._capacity() + spare <= self._most_bytes

    def drop_spares(self) -> None:
        """Delete the segments that are kept for the next batches: there are none in sight."""
        with self._ledger.lock:
            spares, self._spares = self._spares, []
        for spare in spares:
            spare.remove()

    def write_out(self) -> bool:
        """Bring buffered events to disk; whether there are any that have to be told to."""
        if self._buffered:
            with self._ledger.lock:
                segments = self._segments()
            for segment in segments:
                with contextlib.suppress(OSError):
                    segment.write_out()
        return self._buffered and self._open is not None

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
        self.drop_spares()

    def _drop_first(self, reason: str) -> None:
        with self._ledger.lock:
            segment = self._full.popleft()
        self.settle(Batch([segment]), dropped=segment.events, reason=reason)

    def release(self) -> None:
        """Leave every batch that has a file to whoever finds it; its events stay pending in this account."""
        self.drop_spares()
        with self._ledger.lock:
            self._close_locked()
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
                self._ledger.enter_locked(-self._left.pop(path))

    def abandon(self) -> None:
        """Forget everything without touching it, in the child of a fork: it belongs to the parent."""
        for segment in (*self._segments(), *self._spares):
            segment.abandon()
        self._reset()


def _refuse(_line: bytes) -> NoReturn:
    """Stand in for `MemorySegment.write` while no segment is open."""
    raise ValueError
