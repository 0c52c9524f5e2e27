"""The telemetry and observability of this process, for integrations: None while off, and never an exception."""

from __future__ import annotations

import weakref
from functools import cache
from typing import TYPE_CHECKING

from automagik_telemetry._log import warn
from automagik_telemetry.consent import _notice as notice
from automagik_telemetry.events.catalogue import CATALOGUE
from automagik_telemetry.handlers._dictconfig import ConfigurationError
from automagik_telemetry.manager import TracingManager, get_tracing_manager
from automagik_telemetry.settings import Settings

if TYPE_CHECKING:
    from automagik_telemetry.events.client import TelemetryClient
    from automagik_telemetry.tracing.manager import ObservabilityManager

_asked: weakref.WeakSet[TracingManager] = weakref.WeakSet()


def telemetry() -> TelemetryClient | None:
    """Return the telemetry; None while it is off, or the logging configuration is wrong, which is warned of once."""
    manager = _manager()
    return None if manager is None else manager.telemetry


def observability() -> ObservabilityManager | None:
    """Return the observability; None while it is off, and then no content is to be touched."""
    manager = _manager()
    return None if manager is None else manager.observability


def _manager() -> TracingManager | None:
    try:
        return get_tracing_manager()
    except ConfigurationError as error:
        _warn_once(str(error))
        return None


def telemetry_of_command() -> TelemetryClient | None:
    """Return the telemetry for a command; show the notice if it is due, and send what earlier processes left."""
    client = telemetry()
    if client is None:
        return None
    manager = get_tracing_manager()
    if manager not in _asked:
        if rule := notice.reason_to_suppress(Settings.from_environ(), CATALOGUE):
            manager.suppress(rule)
            return manager.telemetry
        _asked.add(manager)
        client.resume()
    return client


@cache
def _warn_once(message: str) -> None:
    warn("nothing is tracked: %s", message)
