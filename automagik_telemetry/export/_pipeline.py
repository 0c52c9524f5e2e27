"""One sink at work: its queue, worker and stats, and what a fork and the end of the process do to them."""

from __future__ import annotations

import atexit
import time
import weakref
from typing import TYPE_CHECKING, Any

from automagik_telemetry._reentrancy import guard
from automagik_telemetry.export._backoff import Backoff
from automagik_telemetry.export._queue import BatchQueue
from automagik_telemetry.export._stats import delivery_metrics
from automagik_telemetry.export._worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from automagik_telemetry.export._body import Envelope
    from automagik_telemetry.export._contract import Exporter, Limits
    from automagik_telemetry.export._spool import Spool
    from automagik_telemetry.export._stats import DeliveryStats

_END_TIMEOUT = 0.02
"""Seconds that a thread may take to end that is not waiting for an answer."""


class Pipeline:
    """What a handler needs from its first event on. Made then, and not before: making it opens the state directory."""

    def __init__(  # noqa: PLR0913 - the parts of one machine, each given once
        self,
        *,
        envelope: Envelope,
        exporter: Exporter,
        stats: DeliveryStats,
        limits: Limits,
        spool: Spool | None,
        durable: bool = True,
        allowed: Callable[[], bool] = lambda: True,
        recorded: Callable[[], Mapping[str, int]] = dict,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the machinery, at rest.

        `spool` is the destination's folder, which holds the stats, and the segments if they are `durable`. `recorded`
        returns counts of what was recorded, cut or sampled out before it was logged, to be kept with the stats.
        """
        self.stats = stats
        self.limits = limits
        self.spool = spool
        self._durable = spool if durable else None
        self._ended = _exiting
        self.worker = Worker(
            exporter=exporter,
            backoff=Backoff(clock),
            limits=limits,
            envelope=envelope,
            spool=self._durable,
            stats=stats,
            clock=clock,
            allowed=allowed,
            recorded=recorded,
        )
        self.queue = BatchQueue(
            envelope=envelope, stats=stats, limits=limits, spool=self._durable, clock=clock, wake=self._wake
        )
        self.worker.queue = self.queue
        _pipelines.add(self)

    def append(self, line: bytes) -> None:
        """Queue an encoded event and its separator."""
        self.queue.append(line)

    def _wake(self) -> bool:
        """Let the worker look at the queue, started if it does not run; return whether there is one."""
        if self.worker.active is None and (self._ended or not self.worker.start()):
            return False
        self.worker.wake()
        return True

    def resume(self) -> None:
        """Start the worker if earlier processes left something to send."""
        if self._durable is not None and not self._ended and self._durable.names():
            self.worker.start()

    def flush(self, timeout: float) -> bool:
        """Send everything now; return whether all was settled within `timeout` seconds."""
        if self._ended or not self.worker.start():
            return not self.queue.pending().own
        return self.worker.flush(timeout)

    def close(self, timeout: float | None = None) -> None:
        """Stop sending, waiting at most `timeout` seconds for a request under way; the rest waits on disk."""
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
        """Close for good, until `deadline` (of `time.monotonic()`) at most: from now on events only go to disk."""
        # Only an answer is worth waiting for: a thread that imports, looks up a name or computes is left behind.
        # What is in memory alone has this one chance.
        waits = self.worker.exporter.under_way or (self._durable is None and self.queue.pending().own)
        patience = deadline - time.monotonic() if waits else _END_TIMEOUT
        self.close(max(0.0, patience))
        self.worker.record()
        self._ended = True

    def metrics(self) -> dict[str, Any]:
        """Return the stats, the backoff and the last success and error; sizes in bytes, times in Unix seconds."""
        with self.stats.lock:
            pending, own, recovered = self.queue.pending(), self.stats.own(), self.stats.recovered()
        backoff = self.worker.backoff
        return {
            "tracer": delivery_metrics(own, recovered, pending, self.queue.storage),
            "circuit_breaker": {
                "state": backoff.state,
                "failures": backoff.failures,
                "retry_in": backoff.remaining(),
            },
            "last_success": self.worker.last_success,
            "last_error": self.worker.last_error,
        }

    def abandon(self) -> None:
        """Let go, in the child of a fork: the queue, the thread and the connections are the parent's."""
        self._ended = False
        self.queue.abandon()
        self.worker.reset()
        self.worker.exporter.abandon()


_pipelines: weakref.WeakSet[Pipeline] = weakref.WeakSet()
_exiting = False
"""Whether the process is ending: a pipeline that is made then sends nothing any more."""


def _at_exit() -> None:
    """Stop all workers at once, so that the end of the process waits for the slowest and not for the sum."""
    global _exiting  # noqa: PLW0603 - one process, one end
    _exiting = True
    pipelines = list(_pipelines)
    for pipeline in pipelines:
        pipeline.worker.stop()
    deadline = time.monotonic() + max((pipeline.limits.exit_timeout for pipeline in pipelines), default=0.0)
    for pipeline in pipelines:
        pipeline.end(deadline)


atexit.register(_at_exit)
