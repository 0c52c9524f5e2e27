"""The logging handler of a sink, which encodes records by its formatter and queues the bytes."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
import weakref
from typing import TYPE_CHECKING, Any, TypeVar, cast

import structlog

from automagik_telemetry import _fork_lock as fork_lock
from automagik_telemetry import _process as process
from automagik_telemetry._failsafe import attempt, class_name, is_from_signal
from automagik_telemetry._fork_lock import importing
from automagik_telemetry._log import warn
from automagik_telemetry._reentrancy import guard
from automagik_telemetry.consent._environment import opt_outs
from automagik_telemetry.export._body import SEPARATOR
from automagik_telemetry.export._contract import Permission
from automagik_telemetry.export._stats import DeliveryStats, Pending, delivery_metrics
from automagik_telemetry.handlers._record import own_fields
from automagik_telemetry.handlers.formatter import ChainFormatter
from automagik_telemetry.settings import LEVELS, OFF

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from automagik_telemetry.consent._application import Application
    from automagik_telemetry.consent.decision import Consent
    from automagik_telemetry.export._pipeline import Pipeline
    from automagik_telemetry.export.metrics import SinkMetrics

made: Callable[[BatchQueueHandler], object] | None = None
"""Called with each new handler, while a test captures telemetry."""
_LEAVES_NO_TRACE = frozenset({"unknown_event", "consent_withdrawn"})
"""Reasons of drops that do not open the queue only to be counted."""

_Method = TypeVar("_Method", bound="Callable[..., Any]")


def _unwinding(method: _Method) -> _Method:
    """Release everything that the thread holds when a method is interrupted."""

    @functools.wraps(method)
    def unwinding(self: BatchQueueHandler, *args: Any, **kwargs: Any) -> Any:
        if guard.busy:  # it is called within our own work, which unwinds by itself
            return method(self, *args, **kwargs)
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            self._unwind()
            raise

    return cast("_Method", unwinding)


class BatchQueueHandler(logging.Handler, metaclass=process.LoadedTwice):
    """Queues the encoded bytes that its formatter, a `ChainFormatter`, makes of a record.

    Nothing is opened, started or created before the first event, and nothing at all while `level` is OFF. No exception
    leaves the handler and it prints nothing; a failure is a counted drop. `telemetry_handler` returns one, as do
    the functions of other sinks.

    Args:
        name: The name of the sink, such as "telemetry".
        consent: Returns the consent of the user; no `setLevel` goes below its level.
        verify: Raises ValueError for a chain that can't serve the sink.
        pipeline: Builds the queue and the exporter at the first event. It takes the chain, the stats and a function
            that returns, before each request, whether queued events may still be sent.
    """

    for_traces = False
    """True if the handler takes only whole traces."""

    def __init__(
        self,
        name: str,
        *,
        consent: Callable[[], Consent],
        verify: Callable[[ChainFormatter], object],
        pipeline: Callable[[ChainFormatter, DeliveryStats, Callable[[], Permission]], Pipeline],
    ) -> None:
        """Make the handler of the sink `name`.

        `verify` raises ValueError for a chain that can't serve the sink; `pipeline` builds the machinery at the first
        event, which calls `permitted` before each request to check whether queued events may still be sent.
        """
        super().__init__()
        # So that a configuration file may contain OFF: `logging` needs the name of the number.
        logging.addLevelName(OFF, "OFF")
        self.sink = name
        self.stats = DeliveryStats()
        self._consent = consent
        self._decided_with: tuple[object, ...] | None = None
        self._verify = verify
        self._build = pipeline
        self._pipeline: Pipeline | None = None
        self._is_first = True
        self.is_replaced = False
        """True once another handler of the same sink has replaced it."""
        self._warned = False
        self.chain_later: Callable[[], ChainFormatter] | None = None
        """Returns the chain at first need, for a sink that was off when it was made."""
        self.on_close: Callable[[], object] | None = None
        """Called after each `close`, as by the application's `dictConfig`, which may also detach the handler."""
        self.of_application: Callable[[str, str], BatchQueueHandler | None] = lambda _name, _folder: None
        """Returns the same sink of the application with the given name, if the given folder belongs to it."""
        self.endpoint: Callable[[], str | None] = lambda: None
        """Returns the endpoint of the sink, if it has one."""
        self.sender: Application | None = None
        """The application, as the sink has it."""
        self.hash_key: Callable[[], bytes] | None = None
        """Returns the hash key of the sink's own, which replaces that of the process in its chain."""
        self.obstacle: Callable[[], str | None] = lambda: None
        """Returns the reason why the sink can't send from this application, and the remedy; None if it can."""
        self.on_first: Callable[[object], bool] = lambda _name: True
        """Called with the name of each event until it returns True."""
        self.on_dropped: Callable[[object, str, str | None], object] = lambda _name, _reason, _logger: None
        """Called with the name of each event that is not sent, the reason, and the name of its logger."""
        self.setLevel(logging.NOTSET)
        handlers.add(self)
        if made is not None:
            made(self)

    def setLevel(self, level: int | str) -> None:  # noqa: N802 - logging's name
        """Set the level. It never goes below the level that the user allows.

        Args:
            level: A number, or a name including OFF; False counts as OFF, because YAML reads a bare OFF so.
        """
        if level is False:  # YAML parses a bare OFF as False
            level = OFF
        elif isinstance(level, str):
            level = LEVELS.get(level, level)
        super().setLevel(level)
        self.configured_level = self.level
        """The level that was set, whatever the user allows."""
        self.level = max(self.configured_level, self._decide().level)

    def setFormatter(self, fmt: logging.Formatter | None) -> None:  # noqa: N802 - logging's name
        """Set the formatter, and count the fields that its chain drops because of a wrong kind of value.

        Args:
            fmt: The formatter, a `ChainFormatter`.
        """
        if isinstance(fmt, ChainFormatter):
            fmt = self._with_own_key(fmt)
            fmt.report_wrong_kinds(self.stats.drop_field)
        super().setFormatter(fmt)

    def _with_own_key(self, chain: ChainFormatter) -> ChainFormatter:
        return chain if self.hash_key is None else chain.for_sink(self, self.hash_key)

    def permitted(self) -> Permission:
        """Read the user's choice again.

        Returns:
            The consent to send what is queued. A stricter level withdraws it for all that is queued.
        """
        before, seen = self.level, opt_outs()
        consent = self._consent()
        level = max(self.configured_level, consent.level)
        if level > before and consent.refused is None:
            return Permission.HELD  # it was granted, and no one has withdrawn it: events are recorded until it is known
        # In this order: an event that comes meanwhile, after a variable has changed, decides again.
        self._decided_with = None
        self.level = level
        self._decided_with = seen
        if level <= before and level < OFF:
            return Permission.GRANTED
        return Permission.WITHDRAWN if consent.refused == "everywhere" else Permission.WITHDRAWN_HERE

    def _ask(self) -> Permission:
        """Call `permitted` by its name, because a test changes the class of the handler."""
        return self.permitted()

    def _decide(self) -> Consent:
        seen = opt_outs()
        consent = self._consent()
        self._decided_with = seen
        return consent

    def _prepare(self, name: object, level: int) -> None:
        """Prepare for the first event, and for the first one after an opt-out variable has changed.

        Raises Dropped if the event may no longer be recorded.
        """
        if opt_outs() != self._decided_with:
            with guard:
                consent = attempt(self._decide)
            if consent is not None and consent.refused is not None:
                self.level = max(self.configured_level, consent.level)
                if self._pipeline is not None:
                    self._pipeline.worker.wake()  # it deletes what was queued
            if level < self.level:
                from automagik_processors.exceptions import Dropped  # a process that sends nothing must not import it

                raise Dropped("consent_withdrawn")
        if self._is_first:
            self._is_first = not attempt(self.on_first, name)

    def handle(self, record: logging.LogRecord) -> bool:
        """Encode and queue the record if the filters let it through.

        It does not take the handler's lock, because the queue has its own. This is the hot path of every event.

        Args:
            record: The record.

        Returns:
            True if the filters let it through.
        """
        if self.filters:
            passed = self.filter(record)
            if not passed:
                return False
            record = passed if isinstance(passed, logging.LogRecord) else record
        fields = record.__dict__
        if "otelTraceID" in fields:
            fields = own_fields(fields)
        self.take(record.msg, record.levelno, record.created, fields, record)
        return True

    def take(
        self,
        name: object,
        level: int,
        created: float,
        fields: Mapping[str, Any],
        record: logging.LogRecord | None = None,
    ) -> None:
        """Encode and queue an event. The caller has checked level and filters.

        Each event passes here. No Exception leaves, and no SystemExit of a processor. Any other BaseException, such as
        a signal handler's, passes and finds nothing left locked.

        Args:
            name: The event's name, or an event dict of structlog's.
            level: A level of `logging`.
            created: Unix time in seconds.
            fields: The fields of the event.
            record: The record that the event came in, if there is one.
        """
        if guard.busy:
            self.stats.drop("reentrant")
            return
        event = line = None
        try:
            try:
                # Opt-outs are compared at each event, because the process may end before the worker looks.
                if self._is_first or opt_outs() != self._decided_with:
                    with importing:
                        self._prepare(name, level)
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
                if reason not in _LEAVES_NO_TRACE and self._pipeline is None:
                    attempt(self._start)  # the count outlives the process, as that of a queued event does
                self.stats.drop(reason)
                attempt(self.on_dropped, name, reason, None if record is None else record.name)
            except (Exception, SystemExit) as error:  # nothing of ours reaches the application as an exception
                # Of a SystemExit only a processor's is ours; a signal handler's ends the process.
                if isinstance(error, SystemExit) and is_from_signal(error):
                    raise
                self._unwind()
                if line is None or self._pipeline is None or not self._pipeline.queue.holds(line):
                    reason = "processor_error" if event is None else "not_started"
                    self._fail(error, reason)
                    attempt(self.on_dropped, name, reason, None)
        except BaseException:
            self._unwind()
            raise

    @_unwinding
    def keep(
        self,
        name: str,
        level: int,
        make: Callable[[Callable[[Mapping[str, Any]], bytes]], bytes],
        *,
        is_part: bool = False,
    ) -> Callable[[], None] | None:
        """Keep the event of work that begins, for the next process to send if this one dies. Nothing is raised.

        It is encoded as any other event, and outlives the process only in a folder of queued events.

        Args:
            name: The event's name.
            level: A level of `logging`.
            make: Returns the encoded event. It takes the function that encodes the event's fields.
            is_part: Whether it is a part of work whose beginning is kept. Parts leave room for the beginning of other
                work. The default is False.

        Returns:
            A function that discards the event when the work has ended; None if it is not kept.
        """
        if level < self.level or self.filters or guard.busy:
            return None
        try:
            if opt_outs() != self._decided_with and level < self._consent().level:
                return None
            line = make(functools.partial(self._encode, name, level)) + SEPARATOR
            return (self._pipeline or self._start()).keep(line, is_part=is_part)
        except structlog.DropEvent:
            return None
        except (Exception, SystemExit) as error:  # as above; a failing processor is counted when the work ends
            if isinstance(error, SystemExit) and is_from_signal(error):
                raise
            self._unwind()
            return None

    def _encode(self, name: str, level: int, fields: Mapping[str, Any]) -> bytes:
        chain = self.chain
        if type(chain) is ChainFormatter:
            return chain.encode_event(name, level, time.time(), fields)
        with guard:  # as in `take`
            return chain.encode(_record(name, level, time.time(), fields))

    def _unwind(self) -> None:
        """Release everything that this thread holds, because an exception can arrive between any two steps."""
        guard.busy = 0
        fork_lock.release_all()
        self.stats.unlock()

    def emit(self, record: logging.LogRecord) -> None:
        """Encode and queue the record; `logging` calls this.

        Args:
            record: The record.
        """
        self.handle(record)

    def flush(self) -> None:
        """Do nothing. `logging` calls this at exit, which must not be delayed. See `force_flush`."""

    @_unwinding
    def resume(self) -> None:
        """Send the events of earlier processes in the background, if there are any. Nothing is raised."""
        if self.level < OFF:
            with contextlib.suppress(Exception):
                (self._pipeline or self._start()).resume()

    @property
    def started(self) -> bool:
        """True if the handler has had an event, and may hold some."""
        return self._pipeline is not None

    @_unwinding
    def begin_flush(self, timeout: float, *, patient: bool = True) -> Callable[[], bool]:
        """Start sending all events that are queued here or were left by earlier processes; see `force_flush`.

        Args:
            timeout: Seconds to try for.
            patient: Try again after a failure, as long as there is time.

        Returns:
            A function that waits, and returns whether all was accepted, or dropped and counted. Several sinks may send
            at the same time.
        """
        if self.level >= OFF and self._pipeline is None:
            return lambda: True
        if guard.busy:  # a signal handler that interrupts a logging call, which may hold what a flush would wait for
            return lambda: False
        try:
            return (self._pipeline or self._start()).begin_flush(float(timeout), patient=patient)
        except Exception:  # no descriptor is free, memory is short, a module can't be imported: another time
            self._unwind()
            return lambda: False

    @_unwinding
    def force_flush(self, timeout: float = 30.0) -> bool:
        """Send all events that are queued here or were left by earlier processes, and retry until they are sent.

        Args:
            timeout: Seconds to try for.

        Returns:
            Whether all was accepted, or dropped and counted, within the time.
        """
        return self.begin_flush(timeout)()

    @_unwinding
    def shutdown(self, timeout: float = 5.0) -> bool:
        """Send what is queued, and stop; the next event starts the handler again.

        It returns at once if the endpoint refuses. Unsent events wait on disk for the next process.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether all was accepted, or dropped and counted.
        """
        settled = not self.started or self.begin_flush(timeout, patient=False)()
        self.drain()
        return settled

    @_unwinding
    def drain(self) -> None:
        """Stop sending; queued events wait on disk. The next event starts the handler again."""
        if self._pipeline is not None:
            self._pipeline.close()

    @_unwinding
    def withdraw(self) -> None:
        """Stop sending, and delete what is queued, because consent was withdrawn."""
        self.drain()
        # A worker that waits for a response has kept its segments locked, so that no other process can delete them.
        if self._pipeline is not None and self._pipeline.worker.is_ending:
            self._pipeline.queue.purge("consent_withdrawn")

    def close(self) -> None:
        """Do what `drain` does, when `logging` closes the handler, as in a `dictConfig` or at the end of a process."""
        self.drain()
        super().close()
        if self.on_close is not None:
            self.on_close()

    @_unwinding
    def metrics(self) -> SinkMetrics:
        """Return the delivery stats of the sink.

        Returns:
            Counts of events, the state of the backoff, and the last success and error.
        """
        if self._pipeline is not None:
            return self._pipeline.metrics()
        own, recovered, fields = self.stats.own(), self.stats.recovered(), self.stats.dropped_fields()
        tracer = delivery_metrics(own, recovered, Pending(), None, fields)
        return {
            "tracer": tracer,
            "circuit_breaker": {"state": "closed", "failures": 0, "retry_in": 0.0},
            "last_success": None,
            "last_error": None,
        }

    def check(self) -> None:
        """Raise TypeError if the formatter is not a chain of processors; ValueError if it can't serve the endpoint."""
        self._verify(self.chain)

    @property
    def chain(self) -> ChainFormatter:
        """The processors that an event goes through. Raises TypeError if the formatter is not a `ChainFormatter`."""
        if self.formatter is None and self.chain_later is not None:
            self.setFormatter(self.chain_later())
        if not isinstance(self.formatter, ChainFormatter):
            raise TypeError(f"sink {self.sink!r} needs a ChainFormatter, not {type(self.formatter).__name__}")
        return self.formatter

    def build(self) -> Pipeline:
        """Make a queue and an exporter as this sink has them, without starting them, for inspection.

        Returns:
            The pipeline, at rest.
        """
        return self._build(self.chain, DeliveryStats(), self.permitted)

    def _start(self) -> Pipeline:
        # Several threads may build at once, and the first wins: a child of a fork must find nothing half made.
        with guard:
            with importing:
                built = self._build(self.chain, self.stats, self._ask)
            pipeline: Pipeline = vars(self).setdefault("_built", built)
            self._pipeline = pipeline
            if pipeline is built:
                self.stats.attach(built.spool)
            return pipeline

    def _fail(self, error: BaseException, reason: str) -> None:
        """Count a lost event and log one warning on our own logger, of the class alone because messages hold values."""
        self.stats.drop(reason)
        if not self._warned:
            self._warned = True
            with contextlib.suppress(Exception):  # of the application's own handlers
                warn("sink %s dropped an event: %s; more are only counted", self.sink, class_name(type(error)))

    def after_fork_in_child(self) -> None:
        """Start again at the next event. Everything that was built, and the session, belongs to the parent."""
        vars(self).pop("_built", None)
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.abandon()
        self.stats.abandon()
        if isinstance(self.formatter, ChainFormatter):
            self._with_own_key(self.formatter)  # the child's endpoint may be another, and so its key


def _record(name: object, level: int, created: float, fields: Mapping[str, Any]) -> logging.LogRecord:
    return logging.makeLogRecord({**fields, "msg": name, "levelno": level, "created": created})


handlers: weakref.WeakSet[BatchQueueHandler] = process.kept("handlers", weakref.WeakSet)
"""All handlers of the process."""


def _after_fork_in_child() -> None:
    for handler in list(handlers):
        handler.after_fork_in_child()


process.at_fork(__name__, after_in_child=_after_fork_in_child)
