"""The manager of the process: configuration, telemetry facade, flush and shutdown."""

from __future__ import annotations

import contextlib
import errno
import logging
import sys
import threading
import time
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from automagik_telemetry import _process as process
from automagik_telemetry._failsafe import attempt
from automagik_telemetry._fork_lock import importing
from automagik_telemetry._log import inform, warn_once
from automagik_telemetry._log import logger as own_logger
from automagik_telemetry.consent import _application as application
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.consent import decision
from automagik_telemetry.consent._application import debug_mode
from automagik_telemetry.handlers import _dictconfig as dictconfig
from automagik_telemetry.handlers import _loggers as loggers
from automagik_telemetry.handlers import _structlog as structlog_defaults
from automagik_telemetry.handlers._configuration import ConfigurationError, at
from automagik_telemetry.settings import OFF, VERBOSE, Settings, without_credentials

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from structlog.typing import EventDict, WrappedLogger

    from automagik_telemetry.events import Event
    from automagik_telemetry.events.client import TelemetryClient
    from automagik_telemetry.handlers.handler import BatchQueueHandler
    from automagik_telemetry.tracing.manager import ObservabilityManager
    from automagik_telemetry.tracing.provider import TraceProvider

__all__ = ["TracingManager", "configure", "emit_event", "get_tracing_manager"]

_SECONDS_OF_A_CONFIGURATION = 0.05
_RETRY_INTERVAL = 1.0
"""Seconds until the manager is retried after a failure."""


class TracingManager:
    """The state of telemetry in this process. `get_tracing_manager` and `configure` return it.

    Making one reads the environment and attaches the sinks if anything may be sent.

    Attributes:
        telemetry: Records usage events. None while telemetry is off.
        observability: Records full traces. None without a provider.
        config: The settings of the environment, with `telemetry_enabled` as it was decided.
        consent: The level up to which usage may be sent, and the reason.
    """

    def __init__(self, builder: dictconfig.Builder | None = None, error: ConfigurationError | None = None) -> None:
        """Read the environment, and attach the sinks if anything may be sent.

        Args:
            builder: Makes the sinks. Without one, the sinks that are attached are used, else those of logging.yaml.
            error: A mistake in the configuration, if a call did not name the file. It is logged as one warning, and
                nothing is sent.
        """
        managers.add(self)
        settings = Settings.from_environ()
        self.builder = builder
        self.telemetry: TelemetryClient | None = None
        ready = list(loggers.sinks().values()) if builder is None else builder.sinks()
        sender, self.consent = _decided(settings, ready)
        prints = decision.prints_only(settings, sender)
        recorded = prints or self.consent.given
        observed = decision.decide_observability(settings).given
        found: Mapping[str, BatchQueueHandler] = {}
        obstacle = None
        try:
            if error is not None:
                raise error
            if builder is None and not ready and (recorded or observed):
                ready = dictconfig.builder_of(None, settings).sinks()
                sender, self.consent = _decided(settings, ready)
                prints = decision.prints_only(settings, sender)
                recorded = prints or self.consent.given
            found, obstacle = _attached(settings, ready, telemetry=recorded, traces=observed)
        except ConfigurationError as broken:
            if _passes(broken):
                raise
            reason = dictconfig.reason_for_off(broken, settings)
            warn_once(f"telemetry is off: {reason}")
            if prints:
                _print(f"Telemetry is off: {reason}.")
            for sink in loggers.sinks().values():
                sink.setLevel(OFF)
            self.consent, observed, recorded = self.consent.strictest(decision.Consent(OFF, reason)), False, False
        self.observability = _observability(settings, found) if observed else None
        if self.observability is None:
            _record_nothing()
        if sender is not None:
            level = max(sink.configured_level for sink in ready if sink.sender is not None)
            _use(sender, level, self.consent, settings)
        if recorded:
            self._record_usage(found.get("telemetry"), obstacle, prints=bool(debug_mode(settings)))
        self.config = settings._replace(telemetry_enabled=self.consent.given)

    def _record_usage(self, sink: BatchQueueHandler | None, obstacle: str | None, *, prints: bool) -> None:
        """Record usage with the telemetry sink. Without one, no usage is sent; `obstacle` may be the reason."""
        if sink is not None:
            obstacle = sink.obstacle()
        elif obstacle is None:
            obstacle = "the logging configuration has no telemetry sink"
        if self.consent.given and obstacle is not None:
            self.consent = decision.Consent(OFF, obstacle)
        if sink is None:
            return
        # A process that sends no usage must not import this.
        from automagik_telemetry.events.client import TelemetryClient

        self._handler = sink
        self._logger = loggers.place_of(sink)
        sink.on_close = self._look_again
        self.telemetry = TelemetryClient(self._sink)
        structlog_defaults.add_to_defaults(_take_event)
        if why := structlog_obstacle():
            own_logger.debug(why)
        if prints:
            _introduce(sink, self.consent)
        elif self.consent.given and not self.consent.local:
            attempt(_note, sink, self.consent)

    def track(self, event: Event) -> None:
        """Record an event; do nothing while telemetry is off. Nothing is raised.

        Args:
            event: An instance of an event class, such as `FeatureUsageEvent("search")`.
        """
        if self.telemetry is not None:
            self.telemetry.track_event(event)

    def flush(self, timeout: float = 30.0) -> bool:
        """Send all that is queued, and try again until it is sent.

        Args:
            timeout: Seconds to try for, all sinks at the same time.

        Returns:
            Whether every event that was queued was accepted, or dropped and counted, within the time.
        """
        deadline = time.monotonic() + timeout
        sinks = list(loggers.sinks().values())
        waits = [sink.begin_flush(timeout) for sink in sinks]
        settled = [wait() for wait in waits]
        settled += [other.flush(max(0.0, deadline - time.monotonic())) for other in self._providers_besides(sinks)]
        return all(settled)

    def shutdown(self, timeout: float = 5.0) -> bool:
        """Send what is queued, and stop; the next event starts the sinks again.

        It returns as soon as this is done, or the endpoint refuses. What was not sent waits on disk for the next
        process. The end of a process does without it, and waits a tenth of a second at most.

        Args:
            timeout: Seconds to wait at most, for all sinks at the same time.

        Returns:
            Whether every event that was queued was accepted, or dropped and counted.
        """
        deadline = time.monotonic() + timeout
        sinks = list(loggers.sinks().values())
        waits = [sink.begin_flush(timeout, patient=False) for sink in sinks if sink.started]
        settled = [wait() for wait in waits]
        for sink in sinks:
            sink.drain()
        settled += [other.shutdown(max(0.0, deadline - time.monotonic())) for other in self._providers_besides(sinks)]
        return all(settled)

    def _providers_besides(self, sinks: Sequence[logging.Handler]) -> list[TraceProvider]:
        """Return the providers of traces that are not among the sinks."""
        providers = {} if self.observability is None else self.observability.providers
        return [provider for provider in providers.values() if provider.handler not in sinks]

    def suppress(self, reason: str) -> None:
        """Send and record no usage in this process from now on.

        Args:
            reason: The reason, as `consent` will give it.
        """
        for sink in loggers.sinks().values():
            if not sink.for_traces:
                sink.setLevel(OFF)
        self.consent = decision.Consent(OFF, reason)
        self.telemetry = None
        self.config = self.config._replace(telemetry_enabled=False)

    def _sink(self) -> BatchQueueHandler:
        """Return the telemetry sink; attach it again if the application's own configuration has removed it."""
        if self._logger is None or self._handler not in self._logger.handlers:
            self._handler = loggers.sinks().get("telemetry", self._handler)
            loggers.attach([self._handler])
            self._logger = loggers.place_of(self._handler)
        return self._handler

    def _look_again(self) -> None:
        """Schedule a check that attaches the sink again, if it was closed by a configuration that then detaches it."""
        if _manager is self and threading.main_thread().is_alive():  # not at the end of the process
            with contextlib.suppress(RuntimeError):  # no thread can be started
                timer = threading.Timer(_SECONDS_OF_A_CONFIGURATION, self._attach_again)
                timer.daemon = True
                timer.start()

    def _attach_again(self) -> None:
        with _lock:
            if _manager is self and self.telemetry is not None:
                self._sink()


def _use(sender: application.Application, level: int, consent: decision.Consent, settings: Settings) -> None:
    """Record the application of this process and its level; on disk, if it was granted or refused consent."""
    application.use(sender, level)
    if consent.asked:
        # A process of an application that was never asked must not import this.
        from automagik_telemetry.consent._records import remember

        remember(sender, settings)


class _Unavailable(TracingManager):
    """Records nothing, because the manager can't be made now. The next call of `get_tracing_manager` tries again."""

    def __init__(self, error: Exception) -> None:
        self.builder = None
        self.telemetry = None
        self.observability = None
        self.consent = decision.Consent(OFF, f"telemetry can't start now: {type(error).__name__}")
        self.config = Settings.from_environ()._replace(telemetry_enabled=False)

    def flush(self, timeout: float = 30.0) -> bool:
        """Send nothing. Earlier events may still be queued."""
        del timeout
        return False


_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def _passes(error: ConfigurationError) -> bool:
    """Return whether a configuration may be read another time, because the process lacked a resource."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _PASSING


managers: weakref.WeakSet[TracingManager] = process.kept("managers", weakref.WeakSet)
"""All managers of the process, which the application may still hold."""
_manager: TracingManager | None = globals().get("_manager")  # a reload keeps it
_retry_at = 0.0
_lock = threading.Lock()
_maker: int | None = None
"""The thread that makes a manager."""


def _made(builder: dictconfig.Builder | None = None, error: ConfigurationError | None = None) -> TracingManager:
    """Make a manager while this thread holds the lock. It logs, so that handlers of the application may ask for one."""
    global _maker  # noqa: PLW0603 - as the lock
    _maker = threading.get_ident()
    try:
        return TracingManager(builder, error)
    finally:
        _maker = None


def get_tracing_manager() -> TracingManager:
    """Return the manager of the process, which is made at the first call.

    A mistake in the logging configuration is one warning, and telemetry is off. For any other failure, such as no free
    descriptor, a manager that records nothing is returned, and the next call tries again.

    Returns:
        The manager.
    """
    global _manager  # noqa: PLW0603 - one per process is the contract
    if _manager is None:
        if _maker == threading.get_ident():  # a handler or stream of the application logs while one is being made
            return _Unavailable(RuntimeError())
        try:
            with importing, _lock:
                if _manager is None:
                    _manager = _made()
        except Exception as error:
            return _Unavailable(error)
        _register_libraries(_manager)
    return _manager


def current() -> TracingManager | None:
    """Return the manager of the process, if it has been made."""
    return _manager


def manager_or_none() -> TracingManager | None:
    """Return the process's manager; None if it can't be made. It is retried after a second. Raises nothing."""
    global _retry_at  # noqa: PLW0603 - as the manager, of which there is one
    if _manager is None and time.monotonic() < _retry_at:
        return None
    manager = None
    with contextlib.suppress(Exception):  # the settings can't be read
        manager = get_tracing_manager()
    if _manager is None:
        _retry_at = time.monotonic() + _RETRY_INTERVAL
    return manager


def configure(  # noqa: PLR0913 - keywords, each with a default
    path: str | os.PathLike[str] | None = None,
    *,
    service_name: str | None = None,
    service_version: str | None = None,
    organization: str | None = None,
    endpoint: str | None = None,
    privacy_url: str | None = None,
    allow: Iterable[str] = (),
    events: Iterable[type[Event]] = (),
    sample_rate: float | None = None,
    debug: bool | Literal["verbose"] = False,
) -> TracingManager:
    """Attach the sinks of a logging.yaml, and return the manager: an application's one line at start-up.

    Only adds: every handler and stream of the application gets what it would get without this call, and structlog's
    settings stay as they are. A handler that is attached to the logger `automagik` itself later is the exception.

    Arguments come before parameters in logging.yaml, and these before variables of the environment. Exceptions are
    AUTOMAGIK_TELEMETRY_ENDPOINT, AUTOMAGIK_SAMPLING_RATE and AUTOMAGIK_TELEMETRY_DEBUG, which come before everything.

    Args:
        path: Your own logging configuration, whose handlers and levels are added as well. Default: the file that
            AUTOMAGIK_LOGGING_CONFIG names, else the one in the package. A mistake in either of these is one warning,
            and telemetry is off.
        service_name: The name of your application. Default: AUTOMAGIK_SERVICE_NAME, else OTEL_SERVICE_NAME, else
            "automagik-agents".
        service_version: Its version. Default: AUTOMAGIK_SERVICE_VERSION, else `service.version` in
            OTEL_RESOURCE_ATTRIBUTES, else that of the distribution of the calling module, else "unknown".
        organization: The organization that it belongs to. By default none.
        endpoint: The URL of the OTLP endpoint that telemetry is sent to. Only Automagik Agents have a default;
            another application without an endpoint has no telemetry sink.
        privacy_url: The URL of your page about this telemetry, which the notice names. By default the notice names
            the command that shows all events.
        allow: Names that are sent verbatim, in addition to those that are declared elsewhere. See `declare`.
        events: Event classes of the application, which may be sent from then on. They are added to those of earlier
            calls.
        sample_rate: Sampling rate of events without an error, from 0 to 1, in place of the one in logging.yaml.
        debug: True prints each event to stderr as it would be sent, and each thing that is not sent, with the reason.
            Nothing is sent, and no ID or file is made. "verbose" prints, and sends where consent is given.

    Returns:
        The manager, which replaces that of an earlier call.

    Raises:
        ConfigurationError: The file at `path`, or one of the events, has a mistake. Nothing was changed.
        TypeError: An argument is of another type. Nothing was changed.
        ValueError: An argument is empty, too long, not printable or out of range. Nothing was changed.
    """
    arguments = application.checked(
        {
            "service_name": service_name,
            "service_version": service_version,
            "organization": organization,
            "endpoint": endpoint,
            "privacy_url": privacy_url,
        },
        sample_rate,
        debug,
        application.package_of(sys._getframe(1).f_globals),  # noqa: SLF001 - CPython's way to find the caller
    )
    manager = _configured(path, arguments, _checked_names(allow), events)
    _register_libraries(manager)
    return manager


def _configured(
    path: str | os.PathLike[str] | None, arguments: application.Given, names: list[str], events: Iterable[type[Event]]
) -> TracingManager:
    global _manager  # noqa: PLW0603 - see `get_tracing_manager`
    with importing:
        builder, mistake = _built(path, arguments, events)
        if names:
            _declare(names)
        if builder is None:
            if mistake is not None and _passes(mistake):
                return _Unavailable(mistake)
            with _lock:
                _manager = _made(_manager.builder if _manager else None, mistake)
                return _manager
        with _lock:
            if _manager is not None and _manager.builder is not None:
                _manager.builder.remove_from_loggers()
            sinks = loggers.sinks().values()
            loggers.detach()
            builder.add_to_loggers()
            for sink in sinks:
                sink.on_close = None  # it is replaced, not detached by the application
                sink.is_replaced = True
                sink.close()
            _manager = _made(builder)
            return _manager


def _built(
    path: str | os.PathLike[str] | None, arguments: application.Given, events: Iterable[type[Event]]
) -> tuple[dictconfig.Builder | None, ConfigurationError | None]:
    """Build the sinks and register the events. Of a file that the call did not name, return the mistake.

    Raises ConfigurationError for any other mistake, and changes nothing then.
    """
    undo = _undo_declarations()
    before = application.give(arguments)
    builder, mistake = None, None
    try:
        try:
            builder = dictconfig.built(path, Settings.from_environ())
        except ConfigurationError as error:
            if path is not None:
                raise
            mistake = error
        _register(events)
    except ConfigurationError:
        if builder is not None:
            builder.close()
        application.give(before)
        undo()
        raise
    return builder, mistake


def _undo_declarations() -> Callable[[], None]:
    """Return a function that restores the declared events and strings, without importing what is not needed."""
    modules = ("automagik_telemetry.events._allowlist", "automagik_telemetry.events._registry")
    restores = {name: sys.modules[name].snapshot() for name in modules if name in sys.modules}

    def undo() -> None:
        for name in modules:
            if name in restores:
                restores[name]()
            elif name in sys.modules:
                sys.modules[name].reset()

    return undo


def _checked_names(allow: object) -> list[str]:
    """Return the names to allow. Raises TypeError or ValueError if one can't be declared."""
    if isinstance(allow, str) or not isinstance(allow, Iterable):
        raise TypeError(f'allow must be a list of names, such as ["my-agent"], got {type(allow).__name__}')
    names = list(allow)
    if names:
        # Most applications need no more than the names that are built in.
        from automagik_telemetry.events._allowlist import check_names

        try:
            check_names(*names)
        except (TypeError, ValueError) as error:
            raise type(error)(f"allow: {error}") from None
    return names


def _declare(names: list[str]) -> None:
    from automagik_telemetry.events._allowlist import declare

    declare(*names)


def _register(events: Iterable[type[Event]]) -> None:
    """Register an application's own events. Raises ConfigurationError."""
    if events == ():
        return
    # A process that declares no events and sends none need not import the built-in ones.
    from automagik_telemetry.events._registry import register

    with at("events"):
        register(events)


def _register_libraries(manager: TracingManager) -> None:
    """Register the events of installed libraries, if any may be sent. It holds no lock, because it imports them."""
    if manager.telemetry is not None:
        from automagik_telemetry.events._entry_points import register_libraries

        attempt(register_libraries)


def swap(other: TracingManager | None) -> TracingManager | None:
    """Set the manager of the process, and return the previous one. With None, the next call makes one."""
    global _manager
    with _lock:
        before, _manager = _manager, other
    return before


def emit_event(_logger: WrappedLogger, method_name: str, event_dict: EventDict) -> EventDict:
    """Log events of the catalogue to our sinks as well, while telemetry is on: a structlog processor.

    Put it into an application's own chain, where the event's fields are complete and not yet rendered. Leave it out if
    the chain ends in a standard logger below `automagik`, which takes the events already.

    Args:
        _logger: The wrapped logger, which is not used.
        method_name: The name of the logger's method, such as "info".
        event_dict: The event. Its name is under "event".

    Returns:
        `event_dict`, unchanged.
    """
    with contextlib.suppress(Exception):  # the application's own log call goes on
        if (manager := manager_or_none()) is not None and manager.telemetry is not None:
            manager.telemetry.log(method_name, event_dict)
    return event_dict


def structlog_obstacle() -> str | None:
    """Return the reason why events logged with structlog are not taken, and the remedy; else None."""
    if structlog_defaults.is_used(emit_event, _take_event):
        return None
    return (
        "events that are logged with structlog are not taken, because the application configured a chain without us. "
        "To take them: put automagik_telemetry.emit_event into structlog.configure(processors=[...])"
    )


def _take_event(_logger: WrappedLogger, method_name: str, event_dict: EventDict) -> EventDict:
    """Do what `emit_event` does, among structlog's default processors, unless that is there as well."""
    with contextlib.suppress(Exception):  # as above
        if _manager is not None and (client := _manager.telemetry) and not structlog_defaults.is_used(emit_event):
            client.log(method_name, event_dict)
    return event_dict


def _introduce(sink: BatchQueueHandler, consent: decision.Consent) -> None:
    """Print what development mode does in this process."""
    obstacle = sink.obstacle()
    lines = ["Development mode: events are printed, and nothing is sent."]
    if consent.local:
        lines = ["Development mode: events are printed and recorded, and nothing is sent."]
    elif consent.given:
        endpoint = without_credentials(sink.endpoint() or "nowhere")
        lines = [f"Development mode: events are printed, and sent to {endpoint}."]
    elif debug_mode(Settings.from_environ()) == VERBOSE and obstacle is None:
        lines.append(f"Telemetry is off: {consent.reason}.")
    if obstacle is not None:
        lines.append(f"Without development mode nothing is sent either: {obstacle}.")
    _print(*lines)


def _note(sink: BatchQueueHandler, consent: decision.Consent) -> None:
    """Log recipient and opt-out on our own logger at INFO, once for each recipient."""
    settings = Settings.from_environ()
    scope = sink.sender.scope(settings) if sink.sender is not None else None
    is_test = preferences.simulated is not None
    if scope is None or scope in _noted or is_test or not own_logger.isEnabledFor(logging.INFO):
        return
    _noted.add(scope)
    from automagik_telemetry.consent._commands import command  # only a process that logs it needs this

    off = command("off", application=scope.application)
    inform(
        "telemetry of %s is on (%s): it is sent to %s. To opt out: %s, or DO_NOT_TRACK=1",
        scope.application,
        consent.reason,
        scope.recipient,
        off,
    )


_noted: set[application.Scope] = process.kept("noted", set)


def _print(*lines: str) -> None:
    # Only development mode needs this.
    from automagik_telemetry.events._debug import write

    write(list(lines))


def _decided(
    settings: Settings, sinks: Iterable[BatchQueueHandler]
) -> tuple[application.Application | None, decision.Consent]:
    """Return the application as the telemetry sink has it, and its consent. Of several sinks the loosest counts.

    Without a sink it is not known where this process sends, and the consent is that of any application.
    """
    senders = [sink.sender for sink in sinks if sink.sender is not None]
    if not senders:
        return None, decision.decide_any(settings)
    decided = [(sender, decision.decide_telemetry(settings, sender=sender)) for sender in senders]
    return min(decided, key=lambda each: each[1].level)


def _attached(
    settings: Settings, sinks: Sequence[BatchQueueHandler], *, telemetry: bool, traces: bool
) -> tuple[dict[str, BatchQueueHandler], str | None]:
    """Attach the sinks that may send. Return those that are attached, and the reason why there is none for telemetry.

    A sink without an endpoint is attached in development mode only.
    """
    if not telemetry and not traces:
        return {}, None
    prints = bool(debug_mode(settings))
    obstacles = [sink.obstacle() for sink in sinks]
    loggers.attach(
        [
            sink
            for sink, obstacle in zip(sinks, obstacles, strict=True)
            if (traces if sink.for_traces else telemetry and (prints or obstacle is None))
        ]
    )
    found = {name: sink for name, sink in loggers.sinks().items() if prints or sink.obstacle() is None}
    return found, next(filter(None, obstacles), None)


def _observability(settings: Settings, found: Mapping[str, BatchQueueHandler]) -> ObservabilityManager | None:
    """Return the manager of all providers that are configured; None if there are none."""
    # A process that traces nothing need not import this.
    from automagik_telemetry.tracing.manager import ObservabilityManager, installed_providers, sampler_of

    others = installed_providers()
    sinks = {name: sink for name, sink in found.items() if sink.for_traces and sink.level < OFF}
    handlers: dict[str, logging.Handler] = {**sinks, **others}
    # Wherever a file has put the sink, no handler beside it may get the content of traces.
    loggers.attach_for_traces(handlers.values())
    return ObservabilityManager(handlers, sampler_of(settings)) if handlers else None


def _record_nothing() -> None:
    """Disconnect the recorder of spans, if its module has been imported."""
    if "automagik_telemetry.tracing.spans" in sys.modules:
        from automagik_telemetry.tracing import spans

        spans.record_with(None)


def release(name: str | None, reason: str | None = None) -> None:
    """Release the queued events of this process, so that the caller can delete them.

    Do nothing if this process is not the application with this `name`; None stands for any.

    With a `reason`, no more usage is sent or recorded in this process, and what it can't release at once is deleted.
    """
    if name is not None and name != application.used().scope_name(Settings.from_environ()):
        return
    if reason is not None:
        for manager in list(managers):
            manager.suppress(reason)
    for sink in loggers.sinks().values():
        if not sink.for_traces:
            release_sink = sink.drain if reason is None else sink.withdraw
            release_sink()


def _delete_queued(name: str) -> None:
    """Delete what an application has queued, because its user has withdrawn consent."""
    from automagik_telemetry.export._purge import purge  # only a process that withdraws consent needs this

    attempt(release, name, "consent was withdrawn")
    attempt(purge, name, Settings.from_environ())


application.on_withdrawal["queue"] = _delete_queued


def _after_fork_in_child() -> None:
    global _lock, _maker
    _lock, _maker = threading.Lock(), None


process.at_fork(__name__, after_in_child=_after_fork_in_child)
