"""The background listener of one sink: takes batches from the queue and ships them.

`tick` does all that is due and says when it wants to be called again; the thread only waits and ticks, so that tests
can do the same on a clock of their own.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from automagik_telemetry.delivery.compression import gzip
from automagik_telemetry.delivery.envelope import join, split
from automagik_telemetry.delivery.exporter import ExportResult, Outcome
from automagik_telemetry.delivery.guard import guard
from automagik_telemetry.delivery.recovery import AdoptedSegment
from automagik_telemetry.delivery.spool import created
from automagik_telemetry.delivery.told import Teller, Told

if TYPE_CHECKING:
    from collections.abc import Callable

    from automagik_telemetry.delivery.batch import Batch
    from automagik_telemetry.delivery.breaker import CircuitBreaker
    from automagik_telemetry.delivery.envelope import Envelope
    from automagik_telemetry.delivery.exporter import Exporter
    from automagik_telemetry.delivery.ledger import Ledger
    from automagik_telemetry.delivery.limits import Limits
    from automagik_telemetry.delivery.queue import BatchQueue
    from automagik_telemetry.delivery.spool import HeldFile, Spool

logger = logging.getLogger(__name__)

_RESCAN = 60.0
"""Seconds between looks for segments that other processes left, and the longest sleep."""
_MOMENT = 1.0
"""Seconds between questions whether events may leave, and between entries in the account on disk, at least."""
_MAX_DEFERRAL = 86_400.0
"""Seconds that a server, or a clock that jumped, may hold a batch back at most."""


class BatchQueueListener:
    """Ships one queue. `allowed` is asked before shipments, once a second at most, and before a flush.

    Once it says no, everything queued is purged.
    """

    def __init__(  # noqa: PLR0913 - the parts of one machine, each given once
        self,
        *,
        exporter: Exporter,
        breaker: CircuitBreaker,
        limits: Limits,
        envelope: Envelope,
        spool: Spool | None,
        clock: Callable[[], float],
        allowed: Callable[[], bool] = lambda: True,
    ) -> None:
        self.queue: BatchQueue
        self.ledger: Ledger
        self.exporter = exporter
        self.breaker = breaker
        self._limits = limits
        self._envelope = envelope
        self._spool = spool
        self._clock = clock
        self._allowed = allowed
        self.last_success: float | None = None
        self.last_error: str | None = None
        self._teller = None if spool is None else Teller(spool.directory)
        self.reset()

    def reset(self) -> None:
        """Start anew without a thread: at first, and in the child of a fork."""
        self.running: object | None = None
        """Stands for the thread that is to go on; None while there is none."""
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()
        # Not an Event, which a signal handler must not set while the thread that it interrupts does.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._progress = threading.Condition()
        self._flushes_asked = 0
        self._flushes_begun = 0
        self._flushes_done = 0
        self._orphans: deque[str] = deque()
        self._scratch = bytearray()
        self._next_scan = self._next_question = self._next_entry = self._clock()
        self._untold = False
        if self._teller is not None:
            self._teller.reset()

    def wake(self) -> None:
        """Let the thread look at the queue now."""
        self._wake.put(None)

    def start(self) -> bool:
        """Start the thread, if it does not run; False if the interpreter no longer allows one."""
        if sys.is_finalizing():  # before Python 3.12 it would be started, and never run
            return False
        with self._starting:
            if self.running is None:
                token = object()
                thread = threading.Thread(
                    target=self._run, args=(token, self._thread), name="automagik-telemetry", daemon=True
                )
                self.running = token
                try:
                    thread.start()
                except RuntimeError as error:
                    self.running = None
                    self.last_error = f"no thread: {error}"
                    return False
                self._thread = thread
        return True

    def stop(self) -> None:
        """Ask the thread to end; a request under way is finished."""
        self.running = None
        self.wake()

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end, at most `timeout` seconds; whether it did."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def flush(self, timeout: float) -> bool:
        """Ship all that is queued here, or was left by other processes; whether all was settled within `timeout` s."""
        deadline = self._clock() + timeout
        with self._progress:
            self._flushes_asked += 1
            flush = self._flushes_asked
            self.wake()
            self._progress.wait_for(lambda: self._is_over(flush, deadline), timeout)
            return self._flushes_done >= flush

    def _is_over(self, flush: int, deadline: float) -> bool:
        too_late = self._clock() + self.breaker.remaining() > deadline
        return self._flushes_done >= flush or self.running is None or too_late

    def _run(self, token: object, previous: threading.Thread | None) -> None:
        guard.busy = 1  # what this thread logs never feeds our own handlers
        if previous is not None:
            previous.join()  # it may still wait for an answer
        if self._spool is None:
            self.exporter.prepare()
        while self.running is token:
            try:
                delay = self.tick()
            except Exception:  # one bad batch must not end all shipping
                logger.debug("shipping failed", exc_info=True)
                self.queue.put_back()
                delay = self.breaker.failed()
            with self._progress:
                self._progress.notify_all()
            if self.running is token:
                self._sleep(delay)
        if self.running is None and self._spool is None:
            self._ship_last()
        self.exporter.shutdown()
        self._scratch = bytearray()
        if self.running is None:
            self.queue.release()
        self._tell()
        with self._progress:
            self._progress.notify_all()

    def _ship_last(self) -> None:
        """Try once to ship what is in memory only, before it is lost; whoever stops us waits but a moment."""
        with contextlib.suppress(Exception):
            self.queue.rotate()
            if self._allowed() and self.breaker.remaining() <= 0 and (batch := self.queue.take()) is not None:
                self._ship(batch)

    def _sleep(self, delay: float) -> None:
        with contextlib.suppress(Empty):
            self._wake.get(timeout=delay)
            while True:
                self._wake.get_nowait()

    def tick(self) -> float:
        """Do what is due and return the seconds after which there may be more."""
        if (asked := self._flushes_asked) > self._flushes_begun:
            self._flushes_begun = asked
            self._next_scan = self._next_question = self._clock()
            self.queue.rotate()
        if self._clock() >= self._next_question:
            if not self._allowed():
                self._purge()
                self._end_flush()
                return _RESCAN
            self._next_question = self._clock() + _MOMENT
        buffered = self.queue.write_out()
        self._bound()
        if self._spool is not None and self._clock() >= self._next_scan:
            self._scan(self._spool)
        delay = min(self._ship_next(), _RESCAN)
        return min(delay, self._limits.write_interval) if buffered else delay

    def _ship_next(self) -> float:
        if (blocked := self.breaker.remaining()) > 0:
            return blocked
        batch = self.queue.take() or self._adopt()
        if batch is not None:
            self._ship(batch)
            self._untold = self._teller is not None
            if self.breaker.failures or self._clock() >= self._next_entry:
                self._tell()
            return self.breaker.remaining()
        now = self._clock()
        if now >= self._next_entry or self._flushes_done < self._flushes_begun:
            self._tell()
        self._end_flush()
        due = self.queue.due_in()
        if due is None:
            self.queue.drop_spares()
            self._scratch = bytearray()  # what it holds was sent, and may be what users say
            due = _RESCAN
        until_entry = self._next_entry - now if self._untold else _RESCAN
        until_scan = self._next_scan - now if self._spool else _RESCAN
        return max(0.0, min(due, until_entry, until_scan))

    def _end_flush(self) -> None:
        with self._progress:
            self._flushes_done = self._flushes_begun

    def _ship(self, batch: Batch) -> None:
        try:
            with batch.body(self._scratch) as body:
                compressed = gzip(body)
        except OSError as error:
            self.last_error = f"unreadable batch: {error.strerror}"
            self.queue.settle(batch, dropped=batch.events, reason="unreadable")
            return
        if batch.events <= self._limits.max_export_batch_size:
            result = self.exporter.export(compressed, self._limits.export_timeout)
        else:
            result = ExportResult(Outcome.TOO_LARGE)
        if result.outcome is Outcome.TOO_LARGE:
            result = self._ship_parts(batch)
        if result.outcome is Outcome.RETRY:
            self._retry_later(batch, result)
            return
        self.breaker.succeeded()
        dropped = batch.events if result.outcome is Outcome.REJECTED else min(result.rejected, batch.events)
        if dropped:
            self.last_error = result.detail
            logger.debug("%d events rejected: %s", dropped, result.detail)
        if dropped < batch.events:
            self.last_success = time.time()
        self.queue.settle(batch, dropped=dropped, reason="rejected")

    def _tell(self) -> None:
        """Say on disk how it stands, for `status` and `doctor`, which are processes of their own."""
        if self._teller is not None and self._untold:
            self._untold = False
            self._next_entry = self._clock() + _MOMENT
            now = Told(
                endpoint=self.exporter.url.partition("?")[0],
                last_success=self.last_success,
                last_error=self.last_error,
                failures=self.breaker.failures,
                retry_at=time.time() + self.breaker.remaining(),
            )
            self._teller.tell(self.ledger, now)

    def _ship_parts(self, batch: Batch) -> ExportResult:
        """Send a batch that is too large in parts, halved down to single events, of which only an offender is rejected.

        The batch stays whole on disk until all parts are settled; what is sent again then carries the same ids.
        """
        with batch.body(self._scratch) as body:
            envelope, fragments = split(bytes(body))
        size = self._limits.max_export_batch_size
        if len(fragments) <= size:
            size = max(1, (len(fragments) + 1) // 2)
        parts = deque(fragments[start : start + size] for start in range(0, len(fragments), size))
        rejected, detail = 0, ""
        while parts:
            part = parts.popleft()
            result = self.exporter.export(gzip(join(envelope, part)), self._limits.export_timeout)
            if result.outcome is Outcome.TOO_LARGE and len(part) > 1:
                middle = len(part) // 2
                parts.extendleft([part[middle:], part[:middle]])
            elif result.outcome is Outcome.RETRY:
                return result
            elif result.outcome is Outcome.SUCCESS:
                rejected += result.rejected
                detail = result.detail or detail
            else:
                rejected += len(part)
                detail = result.detail
        return ExportResult(Outcome.SUCCESS, rejected=rejected, detail=detail)

    def _retry_later(self, batch: Batch, result: ExportResult) -> None:
        self.last_error = result.detail
        delay = self.breaker.failed(min(result.retry_after, _MAX_DEFERRAL))
        logger.debug("next attempt in %.1f s: %s", delay, result.detail)
        self.queue.put_back()
        self.queue.trim_full()
        if result.retry_after:
            batch.defer(time.time() + delay)  # which no change of the file may follow

    def _bound(self) -> None:
        """Drop what is too old, and keep room for the next segment by dropping the oldest batch."""
        limits = self._limits
        if self.breaker.failures:
            self.queue.trim_full()
        self.queue.drop_older_than(self._clock() - limits.max_age)
        room = limits.max_disk_bytes if self._spool else limits.max_memory_bytes
        self.queue.drop_oldest("queue_full", keep=room - limits.segment_bytes)

    def _scan(self, spool: Spool) -> None:
        """Look for what other processes left, and for how long the server told any of them to wait."""
        self._next_scan = self._clock() + _RESCAN
        wait = spool.not_before() - time.time()
        if 0 < wait <= _MAX_DEFERRAL:
            self.breaker.pause(wait)
        names = spool.names()
        self.queue.forget_left({spool.path(name) for name in names})
        if names and (created(names[0]) <= self._oldest() or spool.usage() > self._limits.max_disk_bytes):
            names = self._bound_orphans(spool, names)
        self._orphans = deque(names)

    def _oldest(self) -> float:
        return time.time() - self._limits.max_age

    def _bound_orphans(self, spool: Spool, names: list[str]) -> list[str]:
        """Drop orphans that are too old, and the oldest of those that take too much room; return the others' names."""
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

    def _adopt(self) -> Batch | None:
        """Take over the oldest segment that another process left, if there is one."""
        while self._orphans and self._spool is not None:
            file = self._spool.adopt(self._orphans.popleft())
            batch = self._take_over(file) if file is not None else None
            if batch is not None and batch.events:
                return batch
            if batch is not None:
                self.queue.settle(batch)
        return None

    def _take_over(self, file: HeldFile) -> Batch | None:
        try:
            segment = AdoptedSegment(file, self._envelope)
        except OSError:
            file.close()
            return None
        return self.queue.adopt(segment)

    def _drop(self, file: HeldFile, reason: str) -> None:
        batch = self._take_over(file)
        if batch is not None:
            self.queue.settle(batch, dropped=batch.events, reason=reason)

    def _purge(self) -> None:
        """Delete everything queued, here and by other processes: consent was withdrawn."""
        self.queue.purge("consent_withdrawn")
        for name in self._spool.names() if self._spool else ():
            if self._spool is not None and (file := self._spool.adopt(name)) is not None:
                self._drop(file, "consent_withdrawn")
