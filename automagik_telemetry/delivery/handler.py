"""The standard library handler in front of a sink: encodes a record by its formatter and queues the bytes."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import weakref
from typing import TYPE_CHECKING, Any

import structlog

from automagik_telemetry.delivery.chain import ChainFormatter, no_line
from automagik_telemetry.delivery.envelope import SEPARATOR
from automagik_telemetry.delivery.fork_lock import importing
from automagik_telemetry.delivery.guard import guard
from automagik_telemetry.delivery.stats import DeliveryStats, Pending, delivery_metrics
from automagik_telemetry.settings import LEVELS, OFF

if TYPE_CHECKING:
    from collections.abc import Callable

    from automagik_telemetry.delivery.chain import UsualLine
    from automagik_telemetry.delivery.pipeline import Pipeline

logger = logging.getLogger(__name__)


class BatchQueueHandler(logging.Handler):
    """Queues what its formatter, a `ChainFormatter`, makes of a record.

    Nothing is opened, started or created before the first event, and nothing at all while `level` is OFF: `strictest`
    says how much may leave, and no `setLevel` goes below it. No exception leaves the handler and it prints nothing;
    what goes wrong is a counted drop.
    """

    for_traces = False
    """Whether it takes whole traces, and nothing else."""

    def __init__(
        self,
        name: str,
        *,
        strictest: Callable[[], int],
        verify: Callable[[ChainFormatter], object],
        pipeline: Callable[[ChainFormatter, DeliveryStats, Callable[[], bool]], Pipeline],
    ) -> None:
        """Make the handler of the sink `name`.

        `verify` raises ValueError for a chain that can't serve the sink; `pipeline` builds the machinery at the first
        event, to which `permitted` says before each shipment whether what is queued may still leave.
        """
        super().__init__()
        # So that a configuration file may say OFF: this is the name of the number, as `logging` wants it.
        logging.addLevelName(OFF, "OFF")
        self.sink = name
        self.stats = DeliveryStats()
        self._strictest = strictest
        self._verify = verify
        self._build = pipeline
        self._pipeline: Pipeline | None = None
        self._warned = False
        self._encode: Callable[[logging.LogRecord], bytes] = self._encode_by_chain
        self._usual_line: UsualLine = no_line
        self._append: Callable[[bytes], None] = self._append_first
        self.chain_later: Callable[[], ChainFormatter] | None = None
        """Returns the chain when it is first needed, for a sink that was off when it was made."""
        self.setLevel(logging.NOTSET)
        _handlers.add(self)

    def setLevel(self, level: int | str) -> None:  # noqa: N802 - logging's name
        """Set the level, a number or a name including OFF; it never goes below what the user allows."""
        if level is False:  # what YAML makes of a bare OFF
            level = OFF
        elif isinstance(level, str):
            level = LEVELS.get(level, level)
        super().setLevel(level)
        self.configured_level = self.level
        """The level that was set, whatever the user allows."""
        self.level = max(self.configured_level, self._strictest())

    def setFormatter(self, fmt: logging.Formatter | None) -> None:  # noqa: N802 - logging's name
        """Set the chain of processors."""
        super().setFormatter(fmt)
        if type(fmt) is ChainFormatter:
            self._encode, self._usual_line = fmt.encode, fmt.usual_line
        else:  # a host's own subclass is asked for every event
            self._encode, self._usual_line = self._encode_by_chain, no_line

    def permitted(self) -> bool:
        """Ask anew how much may leave; whether what was queued until now still may."""
        before = self.level
        self.level = max(self.configured_level, self._strictest())
        return self.level <= before and self.level < OFF

    def handle(self, record: logging.LogRecord) -> bool:
        """Encode and queue the record if the filters let it through.

        Without a lock, for the queue needs none. This is the hot path of every event.
        """
        if self.filters:
            passed = self.filter(record)
            if not passed:
                return False
            record = passed if isinstance(passed, logging.LogRecord) else record
        if guard.busy:
            self.stats.drop("reentrant")
            return True
        try:
            # What a record has beside its fields is no field, so that most need no dict of their own.
            line = self._usual_line(record.msg, record.levelno, record.created, record.__dict__)
            self._append(self._encode(record) + SEPARATOR if line is None else line)
        except structlog.DropEvent as drop:
            self.stats.drop(getattr(drop, "reason", "processor"))
        except Exception as error:  # noqa: BLE001 - nothing of ours reaches the host as an exception
            self._fail(error)
        return True

    def take_event(self, event: str, level: int, fields: dict[str, Any]) -> bool:
        """Encode and queue an event without a record, if it is usual; False if it needs one, and nothing was done.

        `fields` are looked at as `Fused.encode` does it, and may hold others and None.
        """
        if self.filters or guard.busy or level < self.level:
            return False
        try:
            return self._take(self._usual_line(event, level, time.time(), fields))
        except structlog.DropEvent:
            return False
        except Exception as error:  # noqa: BLE001 - see `handle`
            self._fail(error)
            return True

    def _take(self, line: bytes | None) -> bool:
        """Queue an encoded event, if there is one; whether there was."""
        if line is None:
            return False
        try:
            self._append(line)
        except Exception as error:  # noqa: BLE001 - see `handle`
            self._fail(error)
        return True

    def _encode_by_chain(self, record: logging.LogRecord) -> bytes:
        """Encode by whatever chain there is."""
        with guard:
            return self.chain.encode(record)

    def _append_first(self, line: bytes) -> None:
        """Stand in for the queue until it is made, which the first event does."""
        with guard:
            self._start()
        self._append(line)

    def emit(self, record: logging.LogRecord) -> None:
        """See `handle`, which logging calls."""
        self.handle(record)

    def flush(self) -> None:
        """Do nothing: logging calls this while the process ends, which waits for nobody. See `force_flush`."""

    def resume(self) -> None:
        """Ship in the background what earlier processes left, if anything. Raises nothing."""
        if self.level < OFF:
            with contextlib.suppress(Exception):
                (self._pipeline or self._start()).resume()

    def force_flush(self, timeout: float = 30.0) -> bool:
        """Ship all that is queued here, or was left by earlier processes; whether all was settled in `timeout` s."""
        if self.level >= OFF:
            return True
        if guard.busy:  # a signal handler that interrupts a logging call, which may hold what a flush would wait for
            return False
        return (self._pipeline or self._start()).flush(timeout)

    def close(self) -> None:
        """Drain: what is queued waits on disk. The next event starts the handler again."""
        if self._pipeline is not None:
            self._pipeline.close()
        super().close()

    def metrics(self) -> dict[str, Any]:
        """Return the sink's account; see `Pipeline.metrics`."""
        if self._pipeline is not None:
            return self._pipeline.metrics()
        tracer = delivery_metrics(self.stats.own(), self.stats.recovered(), Pending(), None)
        breaker = {"state": "closed", "failures": 0, "retry_in": 0.0}
        return {"tracer": tracer, "circuit_breaker": breaker, "last_success": None, "last_error": None}

    def check(self) -> None:
        """Raise TypeError if the formatter is no chain of processors, and ValueError if it can't serve the endpoint."""
        self._verify(self.chain)

    @property
    def chain(self) -> ChainFormatter:
        """The processors that an event goes through. Raises TypeError if the formatter is none of ours."""
        if self.formatter is None and self.chain_later is not None:
            self.setFormatter(self.chain_later())
        if not isinstance(self.formatter, ChainFormatter):
            raise TypeError(f"sink {self.sink!r} needs a ChainFormatter, not {type(self.formatter).__name__}")
        return self.formatter

    def build(self) -> Pipeline:
        """Return new machinery that would send this sink's events, at rest, for who only looks at it."""
        return self._build(self.chain, DeliveryStats(), self.permitted)

    def _start(self) -> Pipeline:
        # Several may build in turn, and the first wins: a child of a fork must find nothing half made.
        with importing:
            built = self._build(self.chain, self.stats, self.permitted)
        self._pipeline = self.__dict__.setdefault("_built", built)
        if self._pipeline is built:
            self.stats.attach(built.spool)
        self._append = self._pipeline.append
        return self._pipeline

    def _fail(self, error: Exception) -> None:
        """Count an event as lost and say so once, on our own logger; the class alone, for messages hold values."""
        self.stats.drop("processor_error")
        if not self._warned:
            self._warned = True
            with contextlib.suppress(Exception):  # of the host's own handlers
                logger.warning("sink %s dropped an event: %s; more are only counted", self.sink, type(error).__name__)

    def after_fork_in_child(self) -> None:
        """Begin anew at the next event: whatever was built is the parent's, and so is its session."""
        self.__dict__.pop("_built", None)
        self._append = self._append_first
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.abandon()
        self.stats.abandon()


_handlers: weakref.WeakSet[BatchQueueHandler] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for handler in list(_handlers):
        handler.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
