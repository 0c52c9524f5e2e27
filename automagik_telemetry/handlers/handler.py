"""The standard library handler in front of a sink: encodes a record by its formatter and queues the bytes."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import weakref
from typing import TYPE_CHECKING, Any, TypeVar, cast

import structlog

from automagik_telemetry import _fork_lock as fork_lock
from automagik_telemetry._fork_lock import importing
from automagik_telemetry._reentrancy import guard
from automagik_telemetry.export._body import SEPARATOR
from automagik_telemetry.export._stats import DeliveryStats, Pending, delivery_metrics
from automagik_telemetry.handlers.formatter import ChainFormatter
from automagik_telemetry.settings import LEVELS, OFF

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from automagik_telemetry.export._pipeline import Pipeline

logger = logging.getLogger(__name__)

_Method = TypeVar("_Method", bound="Callable[..., Any]")


def _unwinding(method: _Method) -> _Method:
    """Let go of all that the thread holds when a method is interrupted."""

    @functools.wraps(method)
    def unwinding(self: BatchQueueHandler, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the method's
        if guard.busy:  # it is called within our own work, which unwinds by itself
            return method(self, *args, **kwargs)
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            self._unwind()
            raise

    return cast("_Method", unwinding)


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
        event, to which `permitted` says before each request whether what is queued may still be sent.
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

    def permitted(self) -> bool:
        """Ask anew how much may leave; whether what was queued until now still may."""
        before = self.level
        self.level = max(self.configured_level, self._strictest())
        return self.level <= before and self.level < OFF

    def handle(self, record: logging.LogRecord) -> bool:
        """Encode and queue the record if the filters let it through.

        Without the handler's lock, for the queue has its own. This is the hot path of every event.
        """
        if self.filters:
            passed = self.filter(record)
            if not passed:
                return False
            record = passed if isinstance(passed, logging.LogRecord) else record
        self.take(record.msg, record.levelno, record.created, record.__dict__, record)
        return True

    def take(
        self,
        name: object,
        level: int,
        created: float,
        fields: Mapping[str, Any],
        record: logging.LogRecord | None = None,
    ) -> None:
        """Encode and queue an event, see `ChainFormatter.encode_event`; the caller has asked level and filters.

        Each event passes here. No Exception leaves; a BaseException, of a signal handler, finds nothing left locked.
        """
        if guard.busy:
            self.stats.drop("reentrant")
            return
        line = None
        try:
            try:
                chain = self.formatter
                if type(chain) is ChainFormatter:
                    event = chain.encode_event(name, level, created, fields)
                else:  # not made yet, or an application's own subclass, which takes records; what it logs is not sent
                    with guard:
                        event = self.chain.encode(record or _record(name, level, created, fields))
                pipeline = self._pipeline or self._start()
                line = event + SEPARATOR
                pipeline.append(line)
            except structlog.DropEvent as drop:
                reason = getattr(drop, "reason", "processor")
                if reason != "unknown_event" and self._pipeline is None:
                    self._start()  # so that the count outlives the process, as that of a queued event does
                self.stats.drop(reason)
            except Exception as error:  # noqa: BLE001 - nothing of ours reaches the application as an exception
                self._unwind()
                if line is None or self._pipeline is None or not self._pipeline.queue.holds(line):
                    self._fail(error)
        except BaseException:
            self._unwind()
            raise

    def _unwind(self) -> None:
        """Let go of all that this thread holds, because an exception can arrive between any two steps."""
        guard.busy = 0
        fork_lock.leave()
        self.stats.unlock()

    def emit(self, record: logging.LogRecord) -> None:
        """See `handle`, which logging calls."""
        self.handle(record)

    def flush(self) -> None:
        """Do nothing: logging calls this while the process ends, which waits for nobody. See `force_flush`."""

    @_unwinding
    def resume(self) -> None:
        """Send in the background what earlier processes left, if anything. Raises nothing."""
        if self.level < OFF:
            with contextlib.suppress(Exception):
                (self._pipeline or self._start()).resume()

    @_unwinding
    def force_flush(self, timeout: float = 30.0) -> bool:
        """Send all that is queued here, or was left by earlier processes; whether all was settled in `timeout` s."""
        if self.level >= OFF:
            return True
        if guard.busy:  # a signal handler that interrupts a logging call, which may hold what a flush would wait for
            return False
        return (self._pipeline or self._start()).flush(timeout)

    @_unwinding
    def close(self) -> None:
        """Drain: what is queued waits on disk. The next event starts the handler again."""
        if self._pipeline is not None:
            self._pipeline.close()
        super().close()

    @_unwinding
    def metrics(self) -> dict[str, Any]:
        """Return the sink's delivery stats; see `Pipeline.metrics`."""
        if self._pipeline is not None:
            return self._pipeline.metrics()
        tracer = delivery_metrics(self.stats.own(), self.stats.recovered(), Pending(), None)
        backoff = {"state": "closed", "failures": 0, "retry_in": 0.0}
        return {"tracer": tracer, "circuit_breaker": backoff, "last_success": None, "last_error": None}

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
        with guard:
            with importing:
                built = self._build(self.chain, self.stats, self.permitted)
            pipeline: Pipeline = self.__dict__.setdefault("_built", built)
            self._pipeline = pipeline
            if pipeline is built:
                self.stats.attach(built.spool)
            return pipeline

    def _fail(self, error: Exception) -> None:
        """Count an event as lost and say so once, on our own logger; the class alone, for messages hold values."""
        self.stats.drop("processor_error")
        if not self._warned:
            self._warned = True
            with contextlib.suppress(Exception):  # of the application's own handlers
                logger.warning("sink %s dropped an event: %s; more are only counted", self.sink, type(error).__name__)

    def after_fork_in_child(self) -> None:
        """Begin anew at the next event: whatever was built is the parent's, and so is its session."""
        self.__dict__.pop("_built", None)
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.abandon()
        self.stats.abandon()


def _record(name: object, level: int, created: float, fields: Mapping[str, Any]) -> logging.LogRecord:
    return logging.makeLogRecord({**fields, "msg": name, "levelno": level, "created": created})


_handlers: weakref.WeakSet[BatchQueueHandler] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for handler in list(_handlers):
        handler.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
