"""The pipeline of a sink: queue, worker and stats, and their behaviour at a fork and at the end of the process."""

from __future__ import annotations

import functools
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING

from automagik_telemetry import _fork_lock as fork_lock
from automagik_telemetry import _process as process
from automagik_telemetry._reentrancy import guard
from automagik_telemetry.export._backoff import Backoff
from automagik_telemetry.export._contract import Permission
from automagik_telemetry.export._held_file import created
from automagik_telemetry.export._queue import BatchQueue
from automagik_telemetry.export._stats import delivery_metrics
from automagik_telemetry.export._worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from automagik_telemetry.export._body import Envelope
    from automagik_telemetry.export._contract import Exporter, Limits
    from automagik_telemetry.export._spool import Spool
    from automagik_telemetry.export._stats import DeliveryStats
    from automagik_telemetry.export.metrics import SinkMetrics

_END_TIMEOUT = 0.02
"""Seconds to wait for the end of a thread that is not waiting for a response."""
_FORK_TIMEOUT = 0.5
"""Seconds that a fork waits at most for the workers to end, imports excluded. They take less than 1 ms."""
_FORK_TIMEOUT_OF_REQUEST = 0.05
"""Seconds that a fork waits, once, for a worker that waits for a response."""
_POLL_INTERVAL = 0.000_05  # seconds


class Pipeline:
    """The queue, worker and stats of a handler. It is made at the first event, because it opens the state directory."""

    sends = True
    """False for a pipeline that only prints."""

    def __init__(  # noqa: PLR0913 - the parts of one machine, each given once
        self,
        *,
        envelope: Envelope,
        exporter: Exporter,
        stats: DeliveryStats,
        limits: Limits,
        spool: Spool | None,
        durable: bool = True,
        allowed: Callable[[], Permission] = lambda: Permission.GRANTED,
        declared: Callable[[], Container[str] | None] = lambda: None,
        recorded: Callable[[], Mapping[str, int]] = dict,
        health: Callable[[Mapping[str, int]], bytes | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the parts, without starting the worker.

        `spool` is the destination's folder, which holds the stats, and the segments if they are `durable`. See the
        worker for `allowed`, `declared` and `health`. `recorded` returns counts of what was recorded, hashed, cut or
        sampled out before it was queued, to be kept with the stats.
        """
        self.stats = stats
        self.limits = limits
        self.spool = spool
        self._durable = spool if durable else None
        self._ended = _exiting.is_set()
        self.worker = Worker(
            exporter=exporter,
            backoff=Backoff(clock),
            limits=limits,
            envelope=envelope,
            spool=self._durable,
            stats=stats,
            clock=clock,
            allowed=allowed,
            declared=declared,
            recorded=recorded,
            health=health,
        )
        self.queue = BatchQueue(
            envelope=envelope, stats=stats, limits=limits, spool=self._durable, clock=clock, wake=self._wake
        )
        self.worker.queue = self.queue
        _pipelines.add(self)

    def append(self, line: bytes) -> None:
        """Queue an encoded event and its separator."""
        self.queue.append(line)

    def keep(self, line: bytes, *, is_part: bool = False) -> Callable[[], None] | None:
        """Keep the event of work that begins, for the next process to send if this one dies before the work ends.

        Return a function that discards it, or None if it can't be kept. See the journal for `is_part`.
        """
        return None if self._ended else self.queue.journal.begin(line, is_part=is_part)

    def _wake(self) -> bool:
        """Wake the worker, started if necessary; return whether there is one."""
        if self.worker.active is None and (self._ended or not self.worker.start()):
            return False
        self.worker.wake()
        return True

    def resume(self) -> None:
        """Start the worker if earlier processes left events to send."""
        if not self._ended and self._left():
            self.worker.start()

    def begin_flush(self, timeout: float, *, patient: bool = True) -> Callable[[], bool]:
        """Start sending all events, and return a function that waits for it, at most `timeout` seconds from now.

        It returns whether all was accepted, or dropped and counted. If not `patient`, it gives up at the first failure.
        """
        if not patient and not self.queue.pending().own and not self._left():
            return lambda: True
        deadline = time.monotonic() + timeout
        replaced = [each for each in list(_pipelines) if each.worker.is_ending and self._shares_folder(each)]
        if not self._ended:
            flush = self.worker.ask(timeout, patient=patient)  # before the start, so that the first attempt is its own
            if self.worker.start():
                if replaced:
                    return functools.partial(self._flush_after, replaced, deadline, patient=patient)
                return flush.wait
        return lambda: not self.queue.pending().own

    def _shares_folder(self, other: Pipeline) -> bool:
        return (
            other is not self
            and other.spool is not None
            and self.spool is not None
            and (other.spool.directory == self.spool.directory)
        )

    def _flush_after(self, replaced: list[Pipeline], deadline: float, *, patient: bool) -> bool:
        """Flush when the workers of replaced pipelines have ended, which until then hold events."""
        for other in replaced:
            if not other.worker.join(max(0.0, deadline - time.monotonic())):
                return False
        return self.begin_flush(max(0.0, deadline - time.monotonic()), patient=patient)()

    def flush(self, timeout: float) -> bool:
        """Send all events now, and wait for it."""
        return self.begin_flush(timeout)()

    def _left(self) -> list[str]:
        return [] if self._durable is None else self._durable.names()

    def begin_exit(self) -> Callable[[], bool] | None:
        """Start sending the events of processes that ended too soon to send them, if there are many.

        Returns a function that waits for it, or None if the end of this process should not wait.
        """
        spool, limits, worker = self._durable, self.limits, self.worker
        if spool is None or self._ended or worker.active is None or worker.backoff.failures:
            return None
        left = spool.left()
        is_old = bool(left) and time.time() - created(left[0]) >= limits.backlog_age
        is_much = is_old or len(left) >= limits.backlog_segments
        if not is_much or spool.not_before() > time.time() or not spool.claim_exit(limits.backlog_interval):
            return None
        return worker.ask(limits.backlog_timeout, patient=False).wait

    def close(self, timeout: float | None = None) -> None:
        """Stop sending after a request in progress, for at most `timeout` seconds. The rest waits on disk."""
        if self._ended:
            return
        self.worker.stop()
        if guard.busy:  # a signal handler can't wait for the logging call that it interrupts; the worker will release
            return
        if self.worker.join(self.limits.exit_timeout if timeout is None else timeout):
            self.queue.release()
        else:
            self.queue.write_out()

    def end(self, deadline: float) -> None:
        """Close permanently, until `deadline` (of `time.monotonic()`) at most. From now on events only go to disk."""
        # Only a response is worth the wait: a thread that imports, looks up a name or computes is abandoned.
        waits = self.worker.exporter.under_way or (self.worker.sends_at_end and self.queue.pending().own)
        patience = deadline - time.monotonic() if waits else _END_TIMEOUT
        self.close(max(0.0, patience))
        self.worker.record()
        self.queue.journal.close()
        self._ended = True

    def metrics(self) -> SinkMetrics:
        """Return the stats, the backoff and the last success and error; sizes in bytes, times in Unix seconds."""
        with self.stats.lock:
            pending, own, recovered = self.queue.pending(), self.stats.own(), self.stats.recovered()
        backoff = self.worker.backoff
        return {
            "tracer": delivery_metrics(own, recovered, pending, self.queue.storage, self.stats.dropped_fields()),
            "circuit_breaker": {
                "state": backoff.state,
                "failures": backoff.failures,
                "retry_in": backoff.remaining(),
            },
            "last_success": self.worker.last_success,
            "last_error": self.worker.last_error,
        }

    def abandon(self) -> None:
        """Discard queue, thread and connections in the child of a fork, because they are the parent's."""
        self._ended = False
        self.queue.abandon()
        self.worker.reset()
        self.worker.exporter.abandon()


_pipelines: weakref.WeakSet[Pipeline] = process.kept("pipelines", weakref.WeakSet)
_exiting = process.kept("exiting", threading.Event)
"""Set when the process is ending. A pipeline that is made then sends nothing."""


def _at_exit() -> None:
    """Stop all workers at once, so that the process waits for the slowest, not for the sum."""
    _exiting.set()
    pipelines = list(_pipelines)
    deadline = time.monotonic() + max((pipeline.limits.exit_timeout for pipeline in pipelines), default=0.0)
    backlogs = {pipeline: wait for pipeline in pipelines if (wait := pipeline.begin_exit()) is not None}
    for pipeline in pipelines:
        if pipeline not in backlogs:
            pipeline.worker.stop()
    for pipeline, wait in backlogs.items():
        if (wait() or pipeline.worker.last_success) and pipeline.spool is not None:
            pipeline.spool.succeed_at_exit()
    for pipeline in pipelines:
        pipeline.worker.stop()
        pipeline.end(deadline)
    process.end_as_interrupted()  # which the worker's imports would change


def _before_fork() -> None:
    """Let the workers end, because Python 3.12 and later warn of a fork while there are other threads.

    A worker that waits for a response continues, because a fork must not wait for the network.
    """
    workers = [pipeline.worker for pipeline in list(_pipelines)]
    for worker in workers:
        worker.pause()
    begin = time.monotonic()
    while left := [worker for worker in workers if worker.pauses()]:
        under_way = any(worker.exporter.under_way for worker in left)
        if fork_lock.is_importing():  # for which the fork waits anyway
            begin = time.monotonic()
        elif time.monotonic() - begin > (_FORK_TIMEOUT_OF_REQUEST if under_way else _FORK_TIMEOUT):
            break
        time.sleep(_POLL_INTERVAL)


def _after_fork_in_parent() -> None:
    if not fork_lock.is_forking():  # else the last of them does it
        for pipeline in list(_pipelines):
            pipeline.worker.go_on()


process.at_exit(__name__, _at_exit)
if sys.version_info >= (3, 12):  # the others do not warn
    process.at_fork(__name__, before=_before_fork, after_in_parent=_after_fork_in_parent)
