"""One sink at work: its queue, listener and ledger, and what a fork and the end of the process do to them."""

from __future__ import annotations

import atexit
import time
import weakref
from typing import TYPE_CHECKING, Any

from automagik_telemetry.delivery.breaker import CircuitBreaker
from automagik_telemetry.delivery.guard import guard
from automagik_telemetry.delivery.listener import BatchQueueListener
from automagik_telemetry.delivery.queue import BatchQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from automagik_telemetry.delivery.envelope import Envelope
    from automagik_telemetry.delivery.exporter import Exporter
    from automagik_telemetry.delivery.ledger import Ledger
    from automagik_telemetry.delivery.limits import Limits
    from automagik_telemetry.delivery.spool import Spool

_MOMENT = 0.02
"""Seconds that a thread may take to end that is not waiting for an answer."""


class Pipeline:
    """What a handler needs from its first event on. Made then, and not before: making it opens the state directory."""

    def __init__(  # noqa: PLR0913 - the parts of one machine, each given once
        self,
        *,
        envelope: Envelope,
        exporter: Exporter,
        ledger: Ledger,
        limits: Limits,
        spool: Spool | None,
        allowed: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ledger = ledger
        self.limits = limits
        self.spool = spool
        self._ended = _exiting
        self.listener = BatchQueueListener(
            exporter=exporter,
            breaker=CircuitBreaker(clock),
            limits=limits,
            envelope=envelope,
            spool=spool,
            clock=clock,
            allowed=allowed,
        )
        self.queue = BatchQueue(
            envelope=envelope, ledger=ledger, limits=limits, spool=spool, clock=clock, wake=self._wake
        )
        self.append = self.queue.append
        self.listener.queue = self.queue
        self.listener.ledger = ledger
        _pipelines.add(self)

    def _wake(self) -> bool:
        """Let the listener look at the queue, started if it does not run; whether there is one."""
        if self.listener.running is None and (self._ended or not self.listener.start()):
            return False
        self.listener.wake()
        return True

    def resume(self) -> None:
        """Start the listener if earlier processes left something to ship."""
        if self.spool is not None and not self._ended and self.spool.names():
            self.listener.start()

    def flush(self, timeout: float) -> bool:
        """Ship everything now; whether all was settled within `timeout` seconds."""
        if self._ended or not self.listener.start():
            return not self.queue.pending
        return self.listener.flush(timeout)

    def close(self, timeout: float | None = None) -> None:
        """Stop shipping, waiting at most `timeout` seconds for a request under way; the rest waits on disk."""
        if self._ended:
            return
        self.listener.stop()
        self.queue.leave()
        if guard.busy:  # a signal handler can't wait for the logging call that it interrupts; the listener will release
            return
        if self.listener.join(self.limits.exit_timeout if timeout is None else timeout):
            self.queue.release()
        else:
            self.queue.write_out()

    def end(self, deadline: float) -> None:
        """Close for good, until `deadline` (of `time.monotonic()`) at most: from now on events only go to disk."""
        # Only an answer is worth waiting for: a thread that imports, looks up a name or computes is left behind.
        # What is in memory alone has this one chance.
        waits = self.listener.exporter.under_way or (self.spool is None and self.queue.pending)
        patience = deadline - time.monotonic() if waits else _MOMENT
        self.close(max(0.0, patience))
        self._ended = True

    def metrics(self) -> dict[str, Any]:
        """Return the account, the breaker and the last success and error; sizes in bytes, times in Unix seconds."""
        with self.ledger.lock:
            filling = self.queue.filling  # asked once, for more may come at any moment
            tracer: dict[str, Any] = {**self.ledger.snapshot_locked(), "pending": self.queue.waiting + filling}
            tracer["queued"] += filling
        tracer["pending_bytes"] = self.queue.bytes
        tracer["storage"] = self.queue.storage
        return {
            "tracer": tracer,
            "circuit_breaker": {
                "state": self.listener.breaker.state,
                "failures": self.listener.breaker.failures,
                "retry_in": self.listener.breaker.remaining(),
            },
            "last_success": self.listener.last_success,
            "last_error": self.listener.last_error,
        }

    def abandon(self) -> None:
        """Let go, in the child of a fork: the queue, the thread and the connections are the parent's."""
        self._ended = False
        self.queue.abandon()
        self.listener.reset()
        self.listener.exporter.abandon()


_pipelines: weakref.WeakSet[Pipeline] = weakref.WeakSet()
_exiting = False
"""Whether the process is ending: a pipeline that is made then ships nothing any more."""


def _at_exit() -> None:
    """Stop all listeners at once, so that the end of the process waits for the slowest and not for the sum."""
    global _exiting  # noqa: PLW0603 - one process, one end
    _exiting = True
    pipelines = list(_pipelines)
    for pipeline in pipelines:
        pipeline.listener.stop()
    deadline = time.monotonic() + max((pipeline.limits.exit_timeout for pipeline in pipelines), default=0.0)
    for pipeline in pipelines:
        pipeline.end(deadline)


atexit.register(_at_exit)
