"""The one object that applications ask for: what is configured, the telemetry facade, flush and shutdown."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from automagik_telemetry._fork_lock import importing
from automagik_telemetry.consent import decision
from automagik_telemetry.handlers import _dictconfig as dictconfig
from automagik_telemetry.handlers import _loggers as loggers
from automagik_telemetry.handlers._structlog import configure_structlog
from automagik_telemetry.settings import OFF, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automagik_telemetry.events.client import TelemetryClient
    from automagik_telemetry.handlers.handler import BatchQueueHandler
    from automagik_telemetry.tracing.manager import ObservabilityManager


class TracingManager:
    """`config` says what holds, `telemetry` is None when off, `observability` is None without a provider."""

    def __init__(self) -> None:
        """Read the environment, and attach the sinks if anything may leave. Raises ConfigurationError."""
        settings = Settings.from_environ()
        self._logger = logging.getLogger(loggers.LOGGER)
        self.consent = decision.decide_telemetry(settings)
        self.telemetry: TelemetryClient | None = None
        observed = decision.decide_observability(settings).given
        found = _sinks(settings, telemetry=self.consent.given, traces=observed)
        self.observability = _observability(settings, found) if observed else None
        if self.observability is None:
            _record_nothing()
        if self.consent.given:
            if "telemetry" in found:
                # A process that sends no usage need not import this.
                from automagik_telemetry.events.client import TelemetryClient  # noqa: PLC0415 - see above

                self._handler = found["telemetry"]
                self.telemetry = TelemetryClient(self._sink)
            else:
                self.consent = decision.Consent(OFF, "the logging configuration has no telemetry sink")
        self.config = settings._replace(telemetry_enabled=self.consent.given)

    def flush(self, timeout: float = 30.0) -> bool:
        """Send all that is queued, and return whether all was settled within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        settled = [sink.force_flush(max(0.0, deadline - time.monotonic())) for sink in loggers.sinks().values()]
        if self.observability is not None:
            settled.append(self.observability.flush(max(0.0, deadline - time.monotonic())))
        return all(settled)

    def shutdown(self) -> None:
        """Stop sending; what is queued waits on disk for the next process. The next event starts it again."""
        for sink in loggers.sinks().values():
            sink.close()
        if self.observability is not None:
            self.observability.shutdown()

    def suppress(self, rule: str) -> None:
        """Send and record no usage in this process from now on, for the reason that `rule` gives."""
        for sink in loggers.sinks().values():
            if not sink.for_traces:
                sink.setLevel(OFF)
        self.consent = decision.Consent(OFF, rule)
        self.telemetry = None
        self.config = self.config._replace(telemetry_enabled=False)

    def _sink(self) -> BatchQueueHandler:
        """Return the telemetry sink; attach it again if the application's own configuration has removed it."""
        if self._handler not in self._logger.handlers:
            found = loggers.sinks().get("telemetry")
            if found is None:
                loggers.attach([self._handler])
            else:
                self._handler = found
        return self._handler


_manager: TracingManager | None = None
_lock = threading.Lock()


def get_tracing_manager() -> TracingManager:
    """Return the process's manager, made at the first call. Raises ConfigurationError for a bad logging.yaml."""
    global _manager  # noqa: PLW0603 - one per process is the contract
    if _manager is None:
        with importing, _lock:
            if _manager is None:
                _manager = TracingManager()
    return _manager


def configure(path: str | os.PathLike[str] | None = None) -> TracingManager:
    """Set logging up as a logging.yaml says, and return the manager: an application's one line at start-up.

    `path` is your own file, by default the one that AUTOMAGIK_LOGGING_CONFIG names, else the one that comes with the
    package. Loggers, handlers and structlog settings that it does not name, or that the application made, stay as they
    are. Raises ConfigurationError, before anything is changed.
    """
    global _manager  # noqa: PLW0603 - see `get_tracing_manager`
    with importing:
        builder = dictconfig.builder_of(path, Settings.from_environ())
        for name in builder.names():
            builder.handler(name)
        with _lock:
            before = loggers.sinks().values()
            loggers.reset_own_loggers()
            builder.configure_loggers()
            after = loggers.sinks().values()
            for sink in before:
                if sink not in after:
                    sink.close()
            configure_structlog()
            _manager = TracingManager()
            return _manager


def _sinks(settings: Settings, *, telemetry: bool, traces: bool) -> dict[str, BatchQueueHandler]:
    """Return the sinks that are attached; else attach those of logging.yaml that may send, and nothing else in it."""
    if not telemetry and not traces:
        return {}
    if found := loggers.sinks():
        return found
    builder = dictconfig.builder_of(None, settings)
    built = [handler for name in builder.names() if (handler := builder.sink(name)) is not None]
    loggers.attach([sink for sink in built if (traces if sink.for_traces else telemetry)])
    return loggers.sinks()


def _observability(settings: Settings, found: Mapping[str, BatchQueueHandler]) -> ObservabilityManager | None:
    """Return the manager of all providers that are configured; None if there are none."""
    # A process that traces nothing need not import this.
    from automagik_telemetry.tracing.manager import ObservabilityManager, installed_providers, sampler_of  # noqa: PLC0415 - see above

    others = installed_providers()
    sinks = {name: sink for name, sink in found.items() if sink.for_traces and sink.level < OFF}
    handlers: dict[str, logging.Handler] = {**sinks, **others}
    # Wherever a file has put the sink: what traces hold is for no handler beside it.
    loggers.attach_for_traces(handlers.values())
    return ObservabilityManager(handlers, sampler_of(settings)) if handlers else None


def _record_nothing() -> None:
    """Let spans be recorded by nobody, which is so where nothing has imported them."""
    if "automagik_telemetry.tracing.spans" in sys.modules:
        from automagik_telemetry.tracing import spans  # noqa: PLC0415 - see above

        spans.record_with(None)


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603 - it may be held by a thread that the child does not have
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
