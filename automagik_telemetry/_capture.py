"""Isolates telemetry in a test: the sinks write to memory, and the environment is that of a new installation.

Everything that is changed here is put on one ExitStack, which restores it in reverse order.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

import structlog

from automagik_processors import Anonymize, Sample
from automagik_telemetry import manager, settings
from automagik_telemetry._failsafe import attempt
from automagik_telemetry._process import is_instance
from automagik_telemetry.consent import _application as application
from automagik_telemetry.consent import _environment as environment
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.consent.decision import Consent
from automagik_telemetry.events import _allowlist as allowlist
from automagik_telemetry.events import _names as names
from automagik_telemetry.events._drop_log import logged_name
from automagik_telemetry.export._contract import Permission
from automagik_telemetry.export._stats import Counts, DeliveryStats, Pending, delivery_metrics
from automagik_telemetry.handlers import _dictconfig as dictconfig
from automagik_telemetry.handlers import _loggers as loggers
from automagik_telemetry.handlers import _structlog as structlog_defaults
from automagik_telemetry.handlers import handler as handlers
from automagik_telemetry.handlers.formatter import ChainFormatter, event_dict
from automagik_telemetry.handlers.handler import BatchQueueHandler
from automagik_telemetry.tracing import spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import ExitStack
    from types import FrameType

    from automagik_processors import Kind
    from automagik_telemetry.export._pipeline import Pipeline
    from automagik_telemetry.export.metrics import SinkMetrics

HASH_KEY: Final = b"automagik_telemetry.testing"
_NO_DIRECTORY: Final = os.path.join(__file__, "state")  # noqa: PTH118 - a string, as the setting is
"""A path below a file, where no directory can be made."""
_ENDPOINT: Final = "http://telemetry.invalid"
"""The endpoint if the application has none. Nothing connects to it."""
_OTHERS: Final = ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES")
"""Variables besides those of settings that are hidden in a test."""
_UNSAMPLED: Final = {"AUTOMAGIK_SAMPLING_RATE": "1", "AUTOMAGIK_TRACES_PER_MINUTE": "1000000000"}
_MAX_NAME: Final = 100  # characters of a name, which may be any message

_imported: dictconfig.Builder | None = None
"""The configuration that a module of the application made while a test imported it, which happens only once."""


class Sent(NamedTuple):
    """An event as it would be sent."""

    name: str
    fields: dict[str, Any]
    level: int
    hashed: tuple[str, ...]
    sample_rate: float
    trace_id: str
    span_id: str
    parent_span_id: str
    kinds: Mapping[str, Kind]


class Recording(Protocol):
    """Receives what would be sent and what would not."""

    def event(self, sent: Sent) -> None:
        """Record an event."""

    def trace(self, event: Mapping[str, Any]) -> None:
        """Record the event of a trace."""

    def drop(self, event: str, field: str | None, reason: str, names: Iterable[str] = ()) -> None:
        """Record a dropped event or field; `names` are the declared ones."""


def begin(stack: ExitStack, recording: Recording, *, sampling: bool) -> None:
    """Begin a capture, and push callbacks that restore everything onto the stack."""
    if reason := environment.unsupported():
        raise RuntimeError(f"Telemetry can't be captured: {reason}.")
    for handler in list(handlers.handlers):  # by the settings outside of the test, because chains are kept
        attempt(lambda: handler.chain)  # noqa: B023 - called at once
    stack.callback(_update_levels)
    stack.callback(names.reopen())
    stack.callback(allowlist.snapshot(names_only=True))
    stack.callback(application.give, application.given())
    application.give(application.given()._replace(debug=""))
    _hide_environment(stack, sampling=sampling)
    _attach(stack, _tap(stack, recording, sampling=sampling))


def _hide_environment(stack: ExitStack, *, sampling: bool) -> None:
    """Hide the developer's own variables and saved choice; those that the test sets count."""
    stack.callback(_restore_variables, {name: value for name, value in os.environ.items() if _is_ours(name)})
    _restore_variables({environment.CAPTURING: "1"})
    stack.callback(settings.defaults.update, dict(settings.defaults))
    stack.callback(settings.defaults.clear)
    settings.defaults.clear()
    settings.defaults.update(
        {
            "AUTOMAGIK_TELEMETRY_ENABLED": "true",
            "AUTOMAGIK_ENABLE_TRACING_IN_CI": "true",
            "AUTOMAGIK_TELEMETRY_ENDPOINT": _ENDPOINT,
            "AUTOMAGIK_STATE_DIR": _NO_DIRECTORY,
            **{settings.variable_of(sink.key): "testing" for sink in settings.TRACE_SINKS.values()},
            **({} if sampling else _UNSAMPLED),
        }
    )
    stack.callback(setattr, preferences, "simulated", preferences.simulated)
    preferences.simulated = preferences.Choices(preferences.Choice(enabled=True))


def _is_ours(name: str) -> bool:
    return name.startswith("AUTOMAGIK_") or name in _OTHERS or name in {row[0] for row in settings.describe()}


def _restore_variables(before: Mapping[str, str]) -> None:
    """Set this package's variables to these values, and delete its other ones."""
    for name in [name for name in os.environ if _is_ours(name) and name not in before]:
        del os.environ[name]
    os.environ.update(before)


def _update_levels() -> None:
    for handler in list(handlers.handlers):
        handler.setLevel(handler.configured_level)


class _Call(threading.local):
    """The event that a thread is logging."""

    def __init__(self) -> None:
        self.line: bytes | None = None
        self.reason: str | None = None
        self.is_open = False
        self.is_examined = False


_call = _Call()


class _Stats(DeliveryStats):
    """Delivery stats that report each drop, too."""

    recording: Recording

    def drop(self, reason: str, events: int = 1) -> None:
        """Count dropped events."""
        super().drop(reason, events)
        if _call.is_open:
            _call.reason = reason
        else:
            self.recording.drop("", None, reason)

    def drop_field(self, event: str, field: str) -> None:
        """Count a dropped value, unless the event is only examined."""
        if not _call.is_examined:
            super().drop_field(event, field)


class _Memory:
    """A pipeline without queue, worker and exporter. Events are pending until a flush."""

    def __init__(self, stats: DeliveryStats) -> None:
        self._stats = stats
        self._pending = self._sent = 0
        self.queue = self.worker = self

    def append(self, line: bytes) -> None:
        _call.line = line
        with self._stats.lock:
            self._pending += 1

    def holds(self, line: bytes) -> bool:
        return _call.line is line

    def start(self) -> bool:
        return True

    def wake(self) -> None:
        """Do nothing: there is no worker."""

    def resume(self) -> None:
        """Do nothing: no other process has left anything."""

    def begin_flush(self, _timeout: float, *, patient: bool = True) -> Callable[[], bool]:
        del patient
        with self._stats.lock:
            self._sent, self._pending = self._sent + self._pending, 0
        return lambda: True

    def close(self) -> None:
        """Do nothing: there is no worker."""

    def abandon(self) -> None:
        """Do nothing, as above."""

    def metrics(self) -> SinkMetrics:
        with self._stats.lock:
            own = Counts(self._sent, self._stats.own().dropped)
            fields, pending = self._stats.dropped_fields(), Pending(self._pending)
        return {
            "tracer": delivery_metrics(own, Counts(0, {}), pending, "memory", fields),
            "circuit_breaker": {"state": "closed", "failures": 0, "retry_in": 0.0},
            "last_success": None,
            "last_error": None,
        }


class _Tap(BatchQueueHandler):
    """A sink in a test. Its class is changed in place, because the application may hold it."""

    recording: Recording
    stack: ExitStack
    sampling: bool
    given: logging.Formatter | None

    def enter(self, recording: Recording, stack: ExitStack, *, sampling: bool) -> None:
        """Begin to record."""
        self.recording, self.stack, self.sampling = recording, stack, sampling
        self.stats = _Stats()
        self.stats.recording = recording
        self._pipeline = None
        self._is_first = True
        self.setFormatter(vars(self).get("given", self.formatter))
        self.setLevel(self.configured_level)

    def leave(self, plain: type[BatchQueueHandler], before: dict[str, Any]) -> None:
        """Become what the sink was before, with a chain if it had none yet."""
        given = self.given
        for name in (
            "recording",
            "stack",
            "sampling",
            "given",
            "stats",
            "formatter",
            "_pipeline",
            "_is_first",
            "on_close",
        ):
            if name in before:
                setattr(self, name, before[name])
            else:
                vars(self).pop(name, None)
        self.__class__ = plain  # type: ignore[assignment]  # as before
        chain = given if self.formatter is None else self.formatter
        if isinstance(chain, ChainFormatter):
            plain.setFormatter(self, chain)

    def setFormatter(self, fmt: logging.Formatter | None) -> None:  # noqa: N802 - logging's name
        """Set the formatter, without sampling and with the hash key of tests."""
        self.given = fmt
        if isinstance(fmt, ChainFormatter):
            for processor in fmt.processors:
                if isinstance(processor, Anonymize):
                    self.stack.callback(processor.use_key(HASH_KEY))
            if not self.sampling:
                fmt = _unsampled(fmt)
        super().setFormatter(fmt)

    def _with_own_key(self, chain: ChainFormatter) -> ChainFormatter:
        """Keep the hash key of tests."""
        return chain

    def permitted(self) -> Permission:
        """Hold what the sink had queued before: the settings of a test are not the user's."""
        return Permission.HELD

    def _start(self) -> Pipeline:
        self._pipeline = cast("Pipeline", _Memory(self.stats))
        return self._pipeline

    def keep(self, name: str, level: int, make: Callable[..., bytes], *, is_part: bool = False) -> None:
        """Keep nothing: a test's process leaves nothing behind."""

    def take(
        self,
        name: object,
        level: int,
        created: float,
        fields: Mapping[str, Any],
        record: logging.LogRecord | None = None,
    ) -> None:
        """Do what every sink does, and record the outcome."""
        if _call.is_examined:
            return
        outer = _call.is_open, _call.line, _call.reason
        _call.is_open, _call.line, _call.reason = True, None, None
        try:
            super().take(name, level, created, fields, record)
            line, reason = _call.line, _call.reason
        finally:
            _call.is_open, _call.line, _call.reason = outer
        _call.is_examined = True
        try:
            attempt(self._record, name, level, created, fields, line, reason)
        finally:
            _call.is_examined = False

    def _record(  # noqa: PLR0913, PLR0917 - an event and its outcome
        self, name: Any, level: int, created: float, fields: Mapping[str, Any], line: bytes | None, reason: str | None
    ) -> None:
        shown = (logged_name(name) or "")[:_MAX_NAME]
        step = next((each for each in self.chain.processors if isinstance(each, Anonymize)), None)
        if line is None:
            names = step.catalogue if step is not None and reason == "unknown_event" else ()
            self.recording.drop(shown, None, reason or "not_recorded", names)
            return
        event = event_dict(logging.makeLogRecord({**fields, "msg": name, "levelno": level, "created": created}))
        if self.for_traces:
            with contextlib.suppress(structlog.DropEvent):  # as below
                for processor in self.chain.processors[:-1]:
                    event = processor(None, event["level"], event)
            self.recording.trace(event)
            return
        kinds = {} if step is None else step.catalogue.get(shown, {})
        lost = self._fields_not_sent(event, step)
        hashed = tuple(field for field, why in lost if why == "unknown_word")
        self.recording.event(_decoded(json.loads(line.rstrip(b",\n")), level, hashed, kinds, _prefix(self.chain)))
        for field, why in lost:
            if why != "unknown_word":
                self.recording.drop(shown, field[:_MAX_NAME], why, kinds if why == "unknown_field" else ())

    def _fields_not_sent(self, event: dict[str, Any], step: Anonymize | None) -> list[tuple[str, str]]:
        """Return the fields of an event that are dropped or hashed, with the reason."""
        # A processor with a state of its own may drop the event now.
        with contextlib.suppress(structlog.DropEvent):
            for processor in self.chain.processors[:-1]:
                if step is not None and processor is step:
                    return list(step.dropped_fields(event, step(None, event["level"], event)))
                event = processor(None, event["level"], event)
        return []


def _unsampled(chain: ChainFormatter) -> ChainFormatter:
    samples = [each for each in chain.processors if is_instance(each, Sample)]
    if type(chain) is not ChainFormatter or all(each.keeps_all for each in samples):
        return chain
    return ChainFormatter([Sample() if each in samples else each for each in chain.processors])


def _prefix(chain: ChainFormatter) -> str:
    encoder = getattr(chain.processors[-1], "encodes_with", chain.processors[-1])
    return getattr(getattr(encoder, "attributes", None), "prefix", "")


def _decoded(
    encoded: Mapping[str, Any], level: int, hashed: tuple[str, ...], kinds: Mapping[str, Kind], prefix: str
) -> Sent:
    """Return an event from its OTLP span or log record."""
    values = {pair["key"]: _value(pair["value"]) for pair in encoded["attributes"]}
    ours = {"sample_rate", "log.record.uid", "system.os", "system.architecture", "system.python_version"}
    return Sent(
        name=encoded.get("name") or encoded.get("eventName") or "",
        fields={
            key.removeprefix(prefix): value
            for key, value in values.items()
            if key.startswith(prefix) and (prefix or key not in ours)
        },
        level=level,
        hashed=hashed,
        sample_rate=values.get("sample_rate", 1.0),
        trace_id=encoded.get("traceId", ""),
        span_id=encoded.get("spanId", ""),
        parent_span_id=encoded.get("parentSpanId", ""),
        kinds=kinds,
    )


def _value(value: Mapping[str, Any]) -> Any:
    ((kind, content),) = value.items()
    if kind == "intValue":
        return int(content)
    if kind == "arrayValue":
        return [_value(each) for each in content["values"]]
    return content


class _Made:
    """The sinks that a module of the application made while a test imported it, which happens only once."""

    def __init__(self) -> None:
        self.configured: list[BatchQueueHandler] = []
        """Those of our own configuration."""
        self.attached: list[BatchQueueHandler] = []
        """Those that the application attached itself."""

    def add(self, handler: BatchQueueHandler, frame: FrameType | None) -> None:
        """Add a handler if the frame is that of an import."""
        is_configured = False
        while frame is not None:
            is_configured = is_configured or frame.f_code is dictconfig.Builder.handler.__code__
            if (frame.f_code.co_filename, frame.f_code.co_name) == ("<frozen importlib._bootstrap>", "_load_unlocked"):
                (self.configured if is_configured else self.attached).append(handler)
                return
            frame = frame.f_back


_taps: dict[type[BatchQueueHandler], type[_Tap]] = {}


def _tap(stack: ExitStack, recording: Recording, *, sampling: bool) -> _Made:
    """Tap all sinks, and those that are made from now on."""

    def tap(handler: BatchQueueHandler) -> None:
        plain, attributes = handler.__class__, vars(handler).copy()
        if not issubclass(plain, _Tap):
            if plain not in _taps:
                _taps[plain] = type(f"Captured{plain.__name__}", (_Tap, plain), {})
            handler.__class__ = _taps[plain]
        tapped = cast("_Tap", handler)
        stack.callback(tapped.leave, plain, attributes)
        tapped.enter(recording, stack, sampling=sampling)

    made = _Made()

    def tap_new(handler: BatchQueueHandler) -> None:
        tap(handler)
        made.add(handler, inspect.currentframe())

    stack.callback(setattr, handlers, "made", handlers.made)
    for handler in list(handlers.handlers):
        tap(handler)
    handlers.made = tap_new
    return made


def _attach(stack: ExitStack, made: _Made) -> None:
    """Turn the managers of the process on, or make the first one."""
    stack.callback(spans.record_with, spans.record_with(None))
    stack.callback(structlog_defaults.snapshot())
    stack.callback(loggers.snapshot(), made.attached.__contains__)
    known = {each: vars(each).copy() for each in list(manager.managers)}
    before = manager.swap(None)
    stack.callback(_restore_managers, before, known, made)
    if before is not None:
        manager.TracingManager.__init__(before, before.builder)  # the application may hold it
        current = before
    else:
        if _imported is not None:
            _imported.add_to_loggers()
        current = manager.TracingManager(_imported)
    manager.swap(current)
    for each in known:
        if each is not current:
            vars(each).update(vars(current))


def _restore_managers(
    before: manager.TracingManager | None, known: Mapping[manager.TracingManager, dict[str, Any]], made: _Made
) -> None:
    """Restore the previous managers, and turn off those that were made since."""
    global _imported  # noqa: PLW0603 - a module is imported once
    current = manager.swap(before)
    for each in list(manager.managers):
        if each in known:
            vars(each).clear()
            vars(each).update(known[each])
        else:
            each.telemetry = each.observability = None
            each.consent = Consent(settings.OFF, "the test has ended")
            each.config = each.config._replace(telemetry_enabled=False)
    builder = None if current is None else current.builder
    earlier = None if before is None else before.builder
    if builder is not None and builder is not earlier:
        if any(sink in made.configured for sink in builder.sinks()):
            _imported = builder
        builder.remove_from_loggers()
        if earlier is not None:
            earlier.add_to_loggers()
