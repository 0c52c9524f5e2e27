"""The background worker of one sink: takes batches from the queue and exports them.

`tick` does all due work and returns the delay until more. The thread only waits and ticks, so that tests can do the
same on a clock of their own. No call of a caller takes a lock here, so an interrupt can't leave one locked.

Invariants:

- A caller that waits (`Flush`) gets one result. True: every segment that was queued at its call, or left by ended
  processes, is settled. False: that is not possible any more before its deadline.
- Only the worker changes how long the next request is delayed. A caller that waits shortens the delay, but never a
  Retry-After of the server.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections import deque
from itertools import groupby
from operator import attrgetter
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from automagik_telemetry._reentrancy import guard
from automagik_telemetry.export._body import SEPARATOR, gzip, join, split
from automagik_telemetry.export._contract import ExportResult, Outcome, Permission
from automagik_telemetry.export._health import INTERVAL, changes
from automagik_telemetry.export._held_file import created, id_of
from automagik_telemetry.export._recovery import RecoveredSegment
from automagik_telemetry.export._segment import body_of
from automagik_telemetry.export._stats import WorkerState

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence

    from automagik_telemetry.export._backoff import Backoff
    from automagik_telemetry.export._body import Envelope
    from automagik_telemetry.export._contract import Exporter, Limits
    from automagik_telemetry.export._held_file import HeldFile
    from automagik_telemetry.export._queue import BatchQueue
    from automagik_telemetry.export._segment import Segment
    from automagik_telemetry.export._spool import Spool
    from automagik_telemetry.export._stats import DeliveryStats

logger = logging.getLogger(__name__)

_WITHDRAWN = frozenset({Permission.WITHDRAWN, Permission.WITHDRAWN_HERE})

_SCAN_INTERVAL = 60.0
"""Seconds between scans for segments of other processes, and the longest sleep."""
_CONSENT_INTERVAL = 1.0
"""Seconds between checks of consent, at most."""
_POLL_INTERVAL = 0.001
"""Seconds between checks of the end of the thread."""
_MAX_DEFERRAL = 86_400.0
"""Seconds that a server, or a clock that jumped, may delay a batch at most."""
_MIN_FLUSH_DELAY, _MAX_FLUSH_DELAY = 0.1, 1.0
"""Seconds between attempts while a caller waits, doubling from the first to the second; with jitter."""
_MAX_ADOPTED = 64
"""Maximum number of segments of ended processes, each an open file, in one request."""
MAX_REFUSALS = 3
"""Maximum number of retries of a segment that was refused by something other than the endpoint."""


class Flush:
    """A caller that waits until all queued events have been settled.

    It gives up at the first failure if it is not `patient`, else at `deadline`, a time of the worker's clock.
    """

    def __init__(self, timeout: float, clock: Callable[[], float], *, patient: bool) -> None:
        self.patient = patient
        self.deadline = clock() + timeout
        self.segments: set[Segment] = set()
        """Segments that were queued when the worker took it up, and must be settled."""
        self._clock = clock
        self._answer: SimpleQueue[bool] = SimpleQueue()

    def answer(self, *, settled: bool) -> None:
        """Let the caller go on."""
        self.segments = set()  # else the last of them, with its file, would be freed by the caller
        self._answer.put(settled)

    def wait(self) -> bool:
        """Return whether all was settled before the deadline."""
        with contextlib.suppress(Empty):
            return self._answer.get(timeout=max(0.0, self.deadline - self._clock()))
        return False


class Run:
    """One thread's time as the worker. A fork pauses it: the thread ends, and another goes on after the fork."""

    __slots__ = ("ended", "is_paused", "is_slow", "native_id")

    def __init__(self) -> None:
        self.is_paused = False
        self.ended = False
        """True once the thread ends, unless the pause is over by then."""
        self.is_slow = False
        """True if a fork has timed out waiting for the thread since its last tick."""
        self.native_id = 0

    @property
    def is_gone(self) -> bool:
        """True once the thread has ended for the operating system too, which counts it a moment longer than Python."""
        if self.native_id == threading.get_native_id():  # the caller's own, or a greenlet of it
            return True
        return self.ended and not os.path.exists(f"/proc/self/task/{self.native_id}")


class Worker:
    """Exports one queue. `allowed` is called before requests, at most once a second, and before a flush.

    Once it returns False, everything queued is purged. While it returns None, everything is kept and nothing sent.
    `declared` returns the names that are allowed for events of other processes; None allows any. `health` returns the
    encoded event with these counts, or None if it must not be sent.
    """

    def __init__(  # noqa: PLR0913 - the parts of one machine, each given once
        self,
        *,
        exporter: Exporter,
        backoff: Backoff,
        limits: Limits,
        envelope: Envelope,
        spool: Spool | None,
        stats: DeliveryStats,
        clock: Callable[[], float],
        allowed: Callable[[], Permission] = lambda: Permission.GRANTED,
        declared: Callable[[], Container[str] | None] = lambda: None,
        recorded: Callable[[], Mapping[str, int]] = dict,
        health: Callable[[Mapping[str, int]], bytes | None] | None = None,
    ) -> None:
        self.queue: BatchQueue
        self.exporter = exporter
        self.backoff = backoff
        self._limits = limits
        self._envelope = envelope
        self._spool = spool
        self._stats = stats
        self._clock = clock
        self._allowed = allowed
        self._declared = declared
        self._recorded = recorded
        self._health = health
        self.last_success: float | None = None
        self.last_error: str | None = None
        self.reset()

    def reset(self) -> None:
        """Begin without a thread: initially, and in the child of a fork."""
        self.active: Run | None = None
        """Token of the active worker thread, or None."""
        self._thread_id = 0
        self._running = threading.Lock()
        """Lock of the one thread that works, `_thread_id`."""
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._asked: deque[Flush] = deque()
        self._flushing: list[Flush] = []
        self._flush_delay = _MIN_FLUSH_DELAY
        self._is_held = False
        """True while nothing may be sent."""
        self._orphans: deque[str] = deque()
        self._next_scan = self._next_check = self._clock()

    @property
    def sends_at_end(self) -> bool:
        """True if the queue is sent before the thread ends, because it is in memory only, or due at once."""
        return self._spool is None or not self._limits.schedule_delay

    def wake(self) -> None:
        """Wake the thread to check the queue."""
        self._wake.put(None)

    def start(self) -> bool:
        """Start the thread, if none is active; return False if the interpreter no longer allows one."""
        if self.active is not None:
            return True
        if sys.is_finalizing():  # before Python 3.12 it would be started, and never run
            return False
        self._start_thread()
        return self.active is not None

    def _start_thread(self) -> None:
        run = Run()
        try:
            self.active = run
            threading.Thread(target=self._run, args=(run,), name="automagik-telemetry", daemon=True).start()
        except RuntimeError as error:
            self.active = None
            self.last_error = f"no thread: {error}"
        except BaseException:
            self.active = None  # a thread that was started ends at once
            raise

    def pause(self) -> None:
        """Ask the thread to end before a fork, and leave everything as it is for the next one."""
        run = self.active
        if run is not None:
            run.is_paused = True
            self.wake()

    def pauses(self) -> bool:
        """Return whether the thread is about to end: it was paused, has not ended yet, and is not known to be slow."""
        run = self.active
        return run is not None and not run.is_slow and not run.is_gone

    def go_on(self) -> None:
        """Undo `pause`: let the thread go on, or start another if it has ended."""
        run = self.active
        if run is not None and run.is_paused:
            run.is_slow = run.is_slow or not run.ended
            run.is_paused = False
            if run.ended:  # else it sees that it is not paused any more
                self._start_thread()

    def stop(self) -> None:
        """Signal the thread to end after a request in progress."""
        self.active = None
        self.wake()

    @property
    def is_ending(self) -> bool:
        """True while the thread runs although it was stopped."""
        return self.active is None and self._running.locked()

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end, at most `timeout` seconds; return whether it did.

        `Thread.join` can't be used: before Python 3.13, an interrupted join marks a running thread as stopped.
        """
        left = timeout
        while self._running.locked() and self._thread_id != threading.get_ident():
            if left <= 0:
                return False
            time.sleep(_POLL_INTERVAL)
            left -= _POLL_INTERVAL
        return True

    def ask(self, timeout: float, *, patient: bool = True) -> Flush:
        """Start sending all events that are queued here or were left by other processes, within `timeout` seconds."""
        flush = Flush(timeout, self._clock, patient=patient)
        self._asked.append(flush)
        self.wake()
        return flush

    def _run(self, run: Run) -> None:
        guard.busy = 1  # records of this thread never reach our own handlers
        run.native_id = threading.get_native_id()
        while True:
            self._work(run)
            run.ended = True
            if run.is_paused or self.active is not run:
                return
            run.ended = False  # the fork was over before it could see that

    def _work(self, run: Run) -> None:
        """Work until the thread is stopped, replaced or paused."""
        with self._running:  # the previous thread may still wait for a response
            self._thread_id = threading.get_ident()
            if self.sends_at_end:
                self.exporter.prepare()
            while self.active is run and not run.is_paused:
                try:
                    delay = self.tick()
                except Exception:  # one bad batch must not end all exports
                    logger.debug("export failed", exc_info=True)
                    self.queue.put_back()
                    delay = self._record_failure()
                    self._answer_flushes()
                run.is_slow = False
                if self.active is run and not run.is_paused:
                    self._sleep(delay)
            if self.active is None:
                self._end()
            if self.active is not run:
                self.exporter.shutdown()

    def _end(self) -> None:
        """Leave queued events on disk, after one attempt to send them if there is no disk, or no delay."""
        with contextlib.suppress(Exception):
            permission = self._allowed()
            if permission in _WITHDRAWN:
                self._purge(of_others=permission == Permission.WITHDRAWN)
            elif permission == Permission.GRANTED and self.sends_at_end:
                self.queue.expedite()
                if self.backoff.remaining() <= 0 and (batch := self.queue.take()):
                    self._send(batch)
        self.queue.release()
        self._write_state()
        asked = len(self._asked)
        if self.active is None:  # else the next thread handles the rest
            self._flushing += [self._asked.popleft() for _ in range(asked)]
        self._end_flushes(settled=False)

    def _sleep(self, delay: float) -> None:
        with contextlib.suppress(Empty):
            self._wake.get(timeout=delay)
            while True:
                self._wake.get_nowait()

    def tick(self) -> float:
        """Perform all work that is due, and return the seconds until more may be."""
        while self._asked:
            self._begin_flush(self._asked.popleft())
        if self._clock() >= self._next_check:
            permission = self._allowed()
            if permission in _WITHDRAWN:
                self._purge(of_others=permission == Permission.WITHDRAWN)
                self._end_flushes(settled=True)
                return _SCAN_INTERVAL
            self._is_held = permission == Permission.HELD
            self._next_check = self._clock() + _CONSENT_INTERVAL
        buffered = self.queue.write_out()
        self._bound()
        if self._spool is not None and self._clock() >= self._next_scan:
            self._scan(self._spool)
            self._report_health(self._spool)
        delay = min(self._send_next(), _SCAN_INTERVAL)
        self._answer_flushes()
        return min(delay, self._limits.write_interval) if buffered else delay

    def _begin_flush(self, flush: Flush) -> None:
        """Make all waiting events and the next attempt due."""
        self.queue.expedite()
        flush.segments = self.queue.waiting()
        self._next_scan = self._next_check = self._clock()
        self.backoff.hurry()
        self._flush_delay = _MIN_FLUSH_DELAY
        self._flushing.append(flush)

    def _send_next(self) -> float:
        if self._is_held:
            return _CONSENT_INTERVAL
        if (blocked := self.backoff.remaining()) > 0:
            return blocked
        batch = self.queue.take() or (self._adopt() and self.queue.take())
        if batch:
            self._send(batch)
            self._write_state()
            return self.backoff.remaining()
        due = self.queue.due_in()
        until_scan = self._next_scan - self._clock() if self._spool else _SCAN_INTERVAL
        return max(0.0, min(_SCAN_INTERVAL if due is None else due, until_scan))

    def _end_flushes(self, *, settled: bool) -> None:
        while self._flushing:
            self._flushing.pop().answer(settled=settled)

    def _answer_flushes(self) -> None:
        """Resolve the flushes whose events are all settled, and those that can't succeed any more."""
        if not self._flushing:
            return
        waiting, now = self.queue.waiting(), self._clock()
        others = bool(self._orphans) or any(isinstance(segment, RecoveredSegment) for segment in waiting)
        going_on = []
        for flush in self._flushing:
            wait = self.backoff.held() if flush.patient else self.backoff.remaining()
            if not others and flush.segments.isdisjoint(waiting):
                flush.answer(settled=True)
            elif self._is_held or now + wait > flush.deadline or (wait > 0 and not flush.patient):
                flush.answer(settled=False)
            else:
                going_on.append(flush)
        self._flushing = going_on

    def _send(self, batch: Sequence[Segment]) -> None:
        events = sum(segment.events for segment in batch)
        if events == 0:  # nothing in it may be sent
            self.queue.settle(batch)
            return
        if events <= self._limits.max_export_batch_size:
            result = self.exporter.export(gzip(body_of(batch)), self._limits.export_timeout)
        else:
            result = ExportResult(Outcome.TOO_LARGE)
        if result.outcome == Outcome.TOO_LARGE:
            result = self._send_parts(batch)
        if result.outcome == Outcome.REJECTED and not result.by_endpoint:
            self._refuse(batch, result)
        elif result.outcome == Outcome.RETRY:
            self._retry_later(batch, result)
        else:
            self._settle(batch, result)

    def _settle(self, batch: Sequence[Segment], result: ExportResult) -> None:
        """Count a batch that was accepted or rejected."""
        self.backoff.record_success()
        events = sum(segment.events for segment in batch)
        dropped = events if result.outcome == Outcome.REJECTED else min(result.rejected, events)
        if dropped:
            self.last_error = result.detail
            logger.debug("%d events rejected: %s", dropped, result.detail)
        if dropped < events:
            self.last_success = time.time()
        self.queue.settle(batch, dropped=dropped, reason="rejected")

    def _refuse(self, batch: Sequence[Segment], result: ExportResult) -> None:
        """Retry a batch that something other than the endpoint refused; reject one that was refused too often."""
        spent = [segment for segment in batch if segment.refusals >= MAX_REFUSALS]
        left = [segment for segment in batch if segment.refusals < MAX_REFUSALS]
        for segment in left:
            segment.refuse()
        if spent:
            self._settle(spent, result)
        if left:
            self._retry_later(left, result)

    def _write_state(self) -> None:
        """Write the state for the commands `status` and `doctor`."""
        self.record()
        now = time.time()
        self._stats.write_state(
            WorkerState(
                at=now,
                endpoint=self.exporter.url.partition("?")[0],
                last_success=self.last_success,
                last_error=self.last_error,
                failures=self.backoff.failures,
                retry_at=now + self.backoff.remaining(),
            )
        )

    def record(self) -> None:
        """Write the counts of recorded, cut and sampled-out data."""
        self._stats.record(self._recorded())
        self._stats.write_out()

    def _send_parts(self, batch: Sequence[Segment]) -> ExportResult:
        """Send a batch that is too large in parts, halved down to single events if necessary.

        The batch stays whole on disk until all parts are settled. Events that are sent again have the same IDs.
        """
        parts = deque(self._parts_of(batch))
        rejected, detail = 0, ""
        while parts:
            envelope, part = parts.popleft()
            result = self.exporter.export(gzip(join(envelope, part)), self._limits.export_timeout)
            if result.outcome == Outcome.TOO_LARGE and len(part) > 1:
                middle = len(part) // 2
                parts.extendleft([(envelope, part[middle:]), (envelope, part[:middle])])
            elif result.outcome == Outcome.RETRY or not result.by_endpoint:
                return result
            elif result.outcome == Outcome.SUCCESS:
                rejected += result.rejected
                detail = result.detail or detail
            else:
                rejected += len(part)
                detail = result.detail
        return ExportResult(Outcome.SUCCESS, rejected=rejected, detail=detail)

    def _parts_of(self, batch: Sequence[Segment]) -> Iterator[tuple[Envelope, list[bytes]]]:
        """Yield the events of a batch in parts, each with its envelope."""
        for _, group in groupby(filter(attrgetter("events"), batch), key=attrgetter("envelope")):
            envelope, fragments = split(bytes(body_of(list(group))))
            size = self._limits.max_export_batch_size
            if len(fragments) <= size:
                size = max(1, (len(fragments) + 1) // 2)
            for start in range(0, len(fragments), size):
                yield envelope, fragments[start : start + size]

    def _record_failure(self, retry_after: float = 0.0) -> float:
        """Return the delay before the next attempt, which is short while a caller waits."""
        if not any(flush.patient for flush in self._flushing):
            return self.backoff.record_failure(retry_after)
        at_most, self._flush_delay = self._flush_delay, min(2 * self._flush_delay, _MAX_FLUSH_DELAY)
        return self.backoff.record_failure(retry_after, at_most)

    def _retry_later(self, batch: Sequence[Segment], result: ExportResult) -> None:
        self.last_error = result.detail
        delay = self._record_failure(min(result.retry_after, _MAX_DEFERRAL))
        logger.debug("next attempt in %.1f s: %s", delay, result.detail)
        self.queue.put_back()
        self.queue.trim()
        if result.retry_after:
            until = time.time() + delay
            for segment in batch:
                segment.defer(until)  # any later change of the file would reset this time

    def _bound(self) -> None:
        """Drop batches that are too old, and make room for the next segment by dropping the oldest batch."""
        if self.backoff.failures:
            self.queue.trim()
        self.queue.drop_older_than(self._clock() - self._limits.max_age)
        self.queue.make_room()

    def _scan(self, spool: Spool) -> None:
        """Find segments of other processes, and the delay that the server set for any of them."""
        self._next_scan = self._clock() + _SCAN_INTERVAL
        wait = spool.not_before() - time.time()
        if 0 < wait <= _MAX_DEFERRAL:
            self.backoff.hold(wait)
        names = spool.correct_dates(spool.names())
        self.queue.forget_released(set(map(id_of, names)))
        spool.expire_others()
        if names and (created(names[0]) <= self._oldest() or spool.usage() > self._limits.max_disk_bytes):
            names = self._bound_orphans(spool, names)
        self._orphans = deque(names)

    def _report_health(self, spool: Spool) -> None:
        """Queue the event of the client's health, if no process has done so for a day."""
        if self._health is None or self._is_held or not spool.claim_health(INTERVAL):
            return
        self.record()
        counts = changes(spool.totals())
        line = self._health({**counts, "pending": spool.waiting().events})
        if line is not None:
            self._stats.report(counts)
            self.queue.append(line + SEPARATOR)

    def _oldest(self) -> float:
        return time.time() - self._limits.max_age

    def _bound_orphans(self, spool: Spool, names: list[str]) -> list[str]:
        """Drop orphans that are too old, and the oldest ones beyond the size limit; return the names of the rest."""
        sizes: dict[str, int] = {}
        for name in names:
            if (file := spool.adopt(name)) is not None:
                with contextlib.suppress(OSError):
                    sizes[name] = file.trim()
                file.close()
        excess = sum(sizes.values()) - self._limits.max_disk_bytes
        for name in list(sizes):
            expired = created(name) <= self._oldest()
            if (expired or excess > 0) and (file := spool.adopt(name)) is not None:
                excess -= sizes.pop(name)
                self._drop(file, "expired" if expired else "queue_full")
        return list(sizes)

    def _adopt(self) -> bool:
        """Take over the oldest segments of other processes, as many as a request carries; return whether any."""
        limits = self._limits
        adopted: list[RecoveredSegment] = []
        size = events = 0
        while self._orphans and self._spool is not None and len(adopted) < _MAX_ADOPTED:
            segment = self._recovered(self._spool.adopt(self._orphans.popleft()))
            if segment is None:
                continue
            adopted.append(segment)
            size, events = size + segment.size, events + segment.events
            if size >= limits.max_export_batch_bytes or events >= limits.max_export_batch_size:
                break
        self.queue.adopt(adopted)
        return bool(adopted)

    def _recovered(self, file: HeldFile | None) -> RecoveredSegment | None:
        """Return the events of another process's segment that can be sent; None if it can't be read."""
        if file is None:
            return None
        try:
            segment = RecoveredSegment(file, self._envelope)
        except OSError:
            file.close()
            return None
        segment.verify(self._envelope, self._declared())
        return segment

    def _drop(self, file: HeldFile, reason: str) -> None:
        if (segment := self._recovered(file)) is not None:
            self.queue.adopt([segment])
            self.queue.settle([segment], dropped=segment.events, reason=reason)

    def _purge(self, *, of_others: bool) -> None:
        """Delete the queued events of this process, or of all processes, because consent was withdrawn."""
        self.queue.purge("consent_withdrawn")
        for name in self._spool.names() if self._spool and of_others else ():
            if self._spool is not None and (file := self._spool.adopt(name)) is not None:
                self._drop(file, "consent_withdrawn")
