"""The background listener of one sink: takes batches from the queue and ships them.

`tick` does all that is due and says when it wants to be called again; the thread only waits and ticks, so that tests
can do the same on a clock of their own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from automagik_telemetry.delivery.exporter import ExportResult, Outcome
from automagik_telemetry.delivery.guard import guard
from automagik_telemetry.delivery.recovery import AdoptedSegment
from automagik_telemetry.delivery.segment import join, split

if TYPE_CHECKING:
    from collections.abc import Callable

    from automagik_telemetry.delivery.breaker import CircuitBreaker
    from automagik_telemetry.delivery.exporter import Exporter
    from automagik_telemetry.delivery.limits import Limits
    from automagik_telemetry.delivery.queue import BatchQueue
    from automagik_telemetry.delivery.segment import Envelope, Segment
    from automagik_telemetry.delivery.spool import Spool

logger = logging.getLogger(__name__)

_RESCAN = 60.0
"""Seconds between looks for segments that other processes left."""
_MAX_DEFERRAL = 86_400.0
"""Seconds that a server, or a clock that jumped, may hold a batch back at most."""


class BatchQueueListener:
    """Ships one queue. `allowed` is asked before each shipment: once it says no, everything queued is purged."""

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
        self.exporter = exporter
        self.breaker = breaker
        self._limits = limits
        self._envelope = envelope
        self._spool = spool
        self._clock = clock
        self._allowed = allowed
        self.last_success: float | None = None
        self.last_error: str | None = None
        self.reset()

    def reset(self) -> None:
        """Start anew without a thread: at first, and in the child of a fork."""
        self.started = False
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._flush_requests = self._flushed = 0
        self._wake = threading.Event()
        self._progress = threading.Condition()
        self._orphans: deque[str] = deque()
        self._next_scan = self._clock()

    def wake(self) -> None:
        """Let the thread look at the queue now."""
        self._wake.set()

    def start(self) -> None:
        """Start the thread, if the interpreter still allows one; without it, events wait on disk."""
        self.started = True
        self._stopping = False
        thread = threading.Thread(target=self._run, name="automagik-telemetry", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self.last_error = f"no thread: {error}"
        else:
            self._thread = thread

    def stop(self) -> None:
        """Ask the thread to end; a request under way is finished."""
        self._stopping = True
        self._wake.set()

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end, at most `timeout` seconds; whether it did."""
        thread, self.started = self._thread, False
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
            return not thread.is_alive()
        return True

    def flush(self, timeout: float) -> bool:
        """Ship all that is queued here, or was left by other processes; whether all was settled within `timeout` s."""
        deadline = self._clock() + timeout
        with self._progress:
            self._next_scan = self._clock()
            self._flush_requests += 1
            request = self._flush_requests
            self._wake.set()
            self._progress.wait_for(
                lambda: self._flushed >= request or self._clock() + self.breaker.remaining() > deadline, timeout
            )
            return self._flushed >= request

    def _run(self) -> None:
        guard.busy = True  # what this thread logs never feeds our own handlers
        while not self._stopping:
            try:
                delay = self.tick()
            except Exception:  # one bad batch must not end all shipping
                logger.debug("shipping failed", exc_info=True)
                self.queue.put_back_taken()
                delay = self.breaker.failed()
            with self._progress:
                self._progress.notify_all()
            self._wake.wait(delay)
            self._wake.clear()

    def tick(self) -> float:
        """Do what is due and return the seconds after which there may be more."""
        if not self._allowed():
            return self._purge()
        buffered = self.queue.write_out()
        self._bound()
        delay = self._ship_next()
        return min(delay, self._limits.write_interval) if buffered else delay

    def _ship_next(self) -> float:
        if (blocked := self.breaker.remaining()) > 0:
            return blocked
        request = self._flush_requests  # one that comes while we look is for the next look
        segment = self.queue.take(now=request > self._flushed) or self._adopt()
        if segment is not None:
            self._ship(segment)
            return self.breaker.remaining()
        if (blocked := self.breaker.remaining()) > 0:
            return blocked
        with self._progress:
            self._flushed = request
        due = self.queue.due_in()
        until_scan = max(0.0, self._next_scan - self._clock()) if self._spool else _RESCAN
        return until_scan if due is None else min(due, until_scan)

    def _ship(self, segment: Segment) -> None:
        try:
            body = segment.body()
        except OSError as error:
            self.last_error = f"unreadable batch: {error.strerror}"
            self.queue.settle(segment, dropped=segment.events, reason="unreadable")
            return
        result = self.exporter.export(body, self._limits.export_timeout)
        if result.outcome is Outcome.TOO_LARGE:
            result = self._ship_parts(body)
        if result.outcome is Outcome.RETRY:
            self._retry_later(segment, result)
            return
        self.breaker.succeeded()
        dropped = segment.events if result.outcome is Outcome.REJECTED else min(result.rejected, segment.events)
        if dropped:
            self.last_error = result.detail
            logger.debug("%d events rejected: %s", dropped, result.detail)
        if dropped < segment.events:
            self.last_success = time.time()
        self.queue.settle(segment, dropped=dropped, reason="rejected")

    def _ship_parts(self, body: bytes) -> ExportResult:
        """Send a body that is too large in halves, down to single events, of which only an offender is rejected.

        The batch stays whole on disk until all parts are settled; what is sent again then carries the same ids.
        """
        envelope, fragments = split(body)
        rejected, detail = 0, ""
        parts = deque([fragments])
        while parts:
            part = parts.popleft()
            result = self.exporter.export(join(envelope, part), self._limits.export_timeout)
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

    def _retry_later(self, segment: Segment, result: ExportResult) -> None:
        self.last_error = result.detail
        delay = self.breaker.failed(min(result.retry_after, _MAX_DEFERRAL))
        logger.debug("next attempt in %.1f s: %s", delay, result.detail)
        if result.retry_after:
            segment.defer(time.time() + delay)
        self.queue.put_back(segment)

    def _adopt(self) -> Segment | None:
        """Take over the oldest segment that another process left, if there is one that may be sent now."""
        if self._spool is None:
            return None
        if self._clock() >= self._next_scan:
            self._next_scan = self._clock() + _RESCAN
            self._orphans = deque(self._spool.names())
        while self._orphans:
            file = self._spool.adopt(self._orphans.popleft())
            if file is None:
                continue
            wait = file.not_before() - time.time()
            if 0 < wait <= _MAX_DEFERRAL:
                file.close()
                self.breaker.pause(wait)
                return None
            try:
                segment = AdoptedSegment(file, self._envelope)
            except OSError:
                file.close()
                continue
            self.queue.adopt(segment, segment.corrupt)
            if segment.events:
                return segment
            self.queue.settle(segment)
        return None

    def _bound(self) -> None:
        """Drop what is too old, and keep room for the next segment by dropping the oldest batch."""
        self.queue.drop_older_than(time.time() - self._limits.max_age)
        if self._spool is None:
            self.queue.drop_oldest("queue_full", keep=self._limits.max_memory_bytes - self._limits.segment_bytes)
            return
        room = self._limits.max_disk_bytes - self._limits.segment_bytes
        self.queue.drop_oldest("queue_full", keep=room)
        if self._clock() >= self._next_scan:
            self._bound_orphans(self._spool, room)

    def _bound_orphans(self, spool: Spool, room: int) -> None:
        """Do the same for what other processes left, which no one else may be there to bound."""
        excess = spool.usage() - room
        oldest = time.time() - self._limits.max_age
        for name in spool.names():
            file = spool.adopt(name)
            if file is None:
                continue
            if file.created > oldest and excess <= 0:
                file.close()
                return
            segment = AdoptedSegment(file, self._envelope)
            excess -= segment.size
            self.queue.adopt(segment, segment.corrupt)
            reason = "expired" if file.created <= oldest else "queue_full"
            self.queue.settle(segment, dropped=segment.events, reason=reason)

    def _purge(self) -> float:
        """Delete everything queued, here and by other processes: consent was withdrawn."""
        self.queue.purge("consent_withdrawn")
        for name in self._spool.names() if self._spool else ():
            if file := self._spool.adopt(name) if self._spool else None:
                file.remove()
        with self._progress:
            self._flushed = self._flush_requests
        return _RESCAN
