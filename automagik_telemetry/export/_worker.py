"""The background worker of one sink: takes batches from the queue and exports them.

`tick` does all that is due and returns when there may be more; the thread only waits and ticks, so that tests can do
the same on a clock of their own. Nothing that a caller does here takes a lock: an interrupt can't leave one taken.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

from automagik_telemetry._reentrancy import guard
from automagik_telemetry.export._body import gzip, join, split
from automagik_telemetry.export._contract import ExportResult, Outcome
from automagik_telemetry.export._held_file import created
from automagik_telemetry.export._recovery import RecoveredSegment
from automagik_telemetry.export._segment import body_of
from automagik_telemetry.export._stats import WorkerState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from automagik_telemetry.export._backoff import Backoff
    from automagik_telemetry.export._body import Envelope
    from automagik_telemetry.export._contract import Exporter, Limits
    from automagik_telemetry.export._held_file import HeldFile
    from automagik_telemetry.export._queue import BatchQueue
    from automagik_telemetry.export._segment import Segment
    from automagik_telemetry.export._spool import Spool
    from automagik_telemetry.export._stats import DeliveryStats

logger = logging.getLogger(__name__)

_SCAN_INTERVAL = 60.0
"""Seconds between looks for segments that other processes left, and the longest sleep."""
_CONSENT_INTERVAL = 1.0
"""Seconds between checks of consent, at most."""
_POLL_INTERVAL = 0.001
"""Seconds between looks whether the thread has ended."""
_MAX_DEFERRAL = 86_400.0
"""Seconds that a server, or a clock that jumped, may delay a batch at most."""


class _Flush(NamedTuple):
    """A caller that waits for all that is queued, until `deadline`; `answer` gets whether all was settled."""

    deadline: float
    answer: SimpleQueue[bool]


class Worker:
    """Exports one queue. `allowed` is asked before requests, once a second at most, and before a flush.

    Once it returns False, everything queued is purged.
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
        allowed: Callable[[], bool] = lambda: True,
        recorded: Callable[[], Mapping[str, int]] = dict,
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
        self._recorded = recorded
        self.last_success: float | None = None
        self.last_error: str | None = None
        self.reset()

    def reset(self) -> None:
        """Begin without a thread: at first, and in the child of a fork."""
        self.active: object | None = None
        """Token of the active worker thread, or None."""
        self._thread_id = 0
        self._running = threading.Lock()
        """Held by the one thread that works, `_thread_id`."""
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._asked: deque[_Flush] = deque()
        self._flushing: list[_Flush] = []
        self._orphans: deque[str] = deque()
        self._next_scan = self._next_check = self._clock()

    def wake(self) -> None:
        """Let the thread look at the queue now."""
        self._wake.put(None)

    def start(self) -> bool:
        """Start the thread, if none is active; return False if the interpreter no longer allows one."""
        if self.active is not None:
            return True
        if sys.is_finalizing():  # before Python 3.12 it would be started, and never run
            return False
        token = object()
        try:
            self.active = token
            threading.Thread(target=self._run, args=(token,), name="automagik-telemetry", daemon=True).start()
        except RuntimeError as error:
            self.active = None
            self.last_error = f"no thread: {error}"
            return False
        except BaseException:
            self.active = None  # a thread that was started ends at once
            raise
        return True

    def stop(self) -> None:
        """Ask the thread to end; a request under way is finished."""
        self.active = None
        self.wake()

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end, at most `timeout` seconds; return whether it did.

        `Thread.join` is of no use: before Python 3.13, one that is interrupted takes a running thread for stopped.
        """
        left = timeout
        while self._running.locked() and self._thread_id != threading.get_ident():
            if left <= 0:
                return False
            time.sleep(_POLL_INTERVAL)
            left -= _POLL_INTERVAL
        return True

    def flush(self, timeout: float) -> bool:
        """Send all that is queued here, or was left by other processes.

        Returns whether all was settled within `timeout` seconds.
        """
        flush = _Flush(self._clock() + timeout, SimpleQueue())
        self._asked.append(flush)
        self.wake()
        with contextlib.suppress(Empty):
            return flush.answer.get(timeout=timeout)
        return False

    def _run(self, token: object) -> None:
        guard.busy = 1  # what this thread logs never feeds our own handlers
        with self._running:  # the one before may still wait for an answer
            self._thread_id = threading.get_ident()
            if self._spool is None:
                self.exporter.prepare()
            while self.active is token:
                try:
                    delay = self.tick()
                except Exception:  # one bad batch must not end all exports
                    logger.debug("export failed", exc_info=True)
                    self.queue.put_back()
                    delay = self.backoff.record_failure()
                self._end_late_flushes()
                if self.active is token:
                    self._sleep(delay)
            if self.active is None:
                self._end()
            self.exporter.shutdown()

    def _end(self) -> None:
        """Leave what is queued on disk; what is in memory alone has this one chance."""
        if self._spool is None:
            with contextlib.suppress(Exception):
                self.queue.expedite()
                if self._allowed() and self.backoff.remaining() <= 0 and (batch := self.queue.take()):
                    self._send(batch)
        self.queue.release()
        self._write_state()
        asked = len(self._asked)
        if self.active is None:  # else the next thread has the rest
            self._flushing += [self._asked.popleft() for _ in range(asked)]
        self._end_flushes(settled=False)

    def _sleep(self, delay: float) -> None:
        with contextlib.suppress(Empty):
            self._wake.get(timeout=delay)
            while True:
                self._wake.get_nowait()

    def tick(self) -> float:
        """Do what is due and return the seconds after which there may be more."""
        while self._asked:
            self._flushing.append(self._asked.popleft())
            self._next_scan = self._next_check = self._clock()
            self.queue.expedite()
        if self._clock() >= self._next_check:
            if not self._allowed():
                self._purge()
                self._end_flushes(settled=True)
                return _SCAN_INTERVAL
            self._next_check = self._clock() + _CONSENT_INTERVAL
        buffered = self.queue.write_out()
        self._bound()
        if self._spool is not None and self._clock() >= self._next_scan:
            self._scan(self._spool)
        delay = min(self._send_next(), _SCAN_INTERVAL)
        return min(delay, self._limits.write_interval) if buffered else delay

    def _send_next(self) -> float:
        if (blocked := self.backoff.remaining()) > 0:
            return blocked
        batch = self.queue.take() or self._adopt()
        if batch:
            self._send(batch)
            self._write_state()
            return self.backoff.remaining()
        self._end_flushes(settled=True)
        due = self.queue.due_in()
        until_scan = self._next_scan - self._clock() if self._spool else _SCAN_INTERVAL
        return max(0.0, min(_SCAN_INTERVAL if due is None else due, until_scan))

    def _end_flushes(self, *, settled: bool) -> None:
        while self._flushing:
            self._flushing.pop().answer.put(settled)

    def _end_late_flushes(self) -> None:
        """Answer those that would end before the next attempt."""
        wait = self.backoff.remaining()
        if wait > 0:
            late = [flush for flush in self._flushing if self._clock() + wait > flush.deadline]
            self._flushing = [flush for flush in self._flushing if flush not in late]
            for flush in late:
                flush.answer.put(item=False)

    def _send(self, batch: Sequence[Segment]) -> None:
        events = sum(segment.events for segment in batch)
        if events == 0:  # every line was damaged
            self.queue.settle(batch)
            return
        if events <= self._limits.max_export_batch_size:
            result = self.exporter.export(gzip(body_of(batch)), self._limits.export_timeout)
        else:
            result = ExportResult(Outcome.TOO_LARGE)
        if result.outcome is Outcome.TOO_LARGE:
            result = self._send_parts(batch)
        if result.outcome is Outcome.RETRY:
            self._retry_later(batch, result)
            return
        self.backoff.record_success()
        dropped = events if result.outcome is Outcome.REJECTED else min(result.rejected, events)
        if dropped:
            self.last_error = result.detail
            logger.debug("%d events rejected: %s", dropped, result.detail)
        if dropped < events:
            self.last_success = time.time()
        self.queue.settle(batch, dropped=dropped, reason="rejected")

    def _write_state(self) -> None:
        """Write the state for `status` and `doctor`, which are processes of their own."""
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
        """Write the counts of what was recorded, cut or sampled out before it was logged."""
        self._stats.record(self._recorded())
        self._stats.write_out()

    def _send_parts(self, batch: Sequence[Segment]) -> ExportResult:
        """Send a batch that is too large in parts, halved down to single events, of which only an offender is rejected.

        The batch stays whole on disk until all parts are settled; what is sent again then carries the same ids.
        """
        envelope, fragments = split(bytes(body_of(batch)))
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

    def _retry_later(self, batch: Sequence[Segment], result: ExportResult) -> None:
        self.last_error = result.detail
        delay = self.backoff.record_failure(min(result.retry_after, _MAX_DEFERRAL))
        logger.debug("next attempt in %.1f s: %s", delay, result.detail)
        self.queue.put_back()
        self.queue.trim()
        if result.retry_after:
            until = time.time() + delay
            for segment in batch:
                segment.defer(until)  # which no change of the file may follow

    def _bound(self) -> None:
        """Drop what is too old, and keep room for the next segment by dropping the oldest batch."""
        limits = self._limits
        if self.backoff.failures:
            self.queue.trim()
        self.queue.drop_older_than(self._clock() - limits.max_age)
        room = limits.max_disk_bytes if self._spool else limits.max_memory_bytes
        self.queue.drop_oldest("queue_full", keep=room - limits.segment_bytes)

    def _scan(self, spool: Spool) -> None:
        """Look for what other processes left, and for how long the server told any of them to wait."""
        self._next_scan = self._clock() + _SCAN_INTERVAL
        wait = spool.not_before() - time.time()
        if 0 < wait <= _MAX_DEFERRAL:
            self.backoff.hold(wait)
        names = spool.names()
        self.queue.forget_released({spool.path(name) for name in names})
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

    def _adopt(self) -> list[Segment]:
        """Take over the oldest segment that another process left, if there is one."""
        while self._orphans and self._spool is not None:
            file = self._spool.adopt(self._orphans.popleft())
            if file is not None and (batch := self._take_over(file)):
                return batch
        return []

    def _take_over(self, file: HeldFile) -> list[Segment]:
        try:
            segment = RecoveredSegment(file, self._envelope)
        except OSError:
            file.close()
            return []
        return self.queue.adopt(segment)

    def _drop(self, file: HeldFile, reason: str) -> None:
        batch = self._take_over(file)
        self.queue.settle(batch, dropped=sum(segment.events for segment in batch), reason=reason)

    def _purge(self) -> None:
        """Delete everything queued, here and by other processes: consent was withdrawn."""
        self.queue.purge("consent_withdrawn")
        for name in self._spool.names() if self._spool else ():
            if self._spool is not None and (file := self._spool.adopt(name)) is not None:
                self._drop(file, "consent_withdrawn")
