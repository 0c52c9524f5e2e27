"""The telemetry and observability of this process, for integrations: None while off, and never an exception."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from automagik_telemetry._failsafe import attempt
from automagik_telemetry._process import kept
from automagik_telemetry.consent import _commands as commands
from automagik_telemetry.consent import _notice as notice
from automagik_telemetry.events import _names as names
from automagik_telemetry.events._registry import CATALOGUE
from automagik_telemetry.manager import TracingManager, get_tracing_manager, manager_or_none
from automagik_telemetry.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from automagik_telemetry.events.client import TelemetryClient
    from automagik_telemetry.tracing.manager import ObservabilityManager

_asked: weakref.WeakSet[TracingManager] = kept("asked", weakref.WeakSet)


def telemetry() -> TelemetryClient | None:
    """Return the telemetry; None while it is off."""
    manager = manager_or_none()
    return None if manager is None else manager.telemetry


def observability() -> ObservabilityManager | None:
    """Return the observability. None means that it is off, and that content must not be touched."""
    manager = manager_or_none()
    return None if manager is None else manager.observability


def is_on() -> bool:
    """Return whether anything is to be tracked. If not, call the application's function at once."""
    manager = manager_or_none()
    return manager is not None and (manager.telemetry is not None or manager.observability is not None)


def begin(make: Callable[..., Any], *args: Any) -> Any:
    """Return the run that `make` begins. None means that nothing is on, or that `make` failed and was counted."""
    if not is_on():
        return None
    names.close()  # a run or a request begins, or a lifespan
    return record(make, *args)


def record(step: Callable[..., Any], *args: Any) -> Any:
    """Return the result of a step that an event depends on; None if it fails, which is a counted drop."""
    result = attempt(step, *args, default=_FAILED)
    if result is _FAILED:
        attempt(_count_lost)
        return None
    return result


_FAILED = object()


def _count_lost() -> None:
    client = telemetry()
    if client is not None:
        client.drop("not_recorded")


def telemetry_of_command() -> TelemetryClient | None:
    """Return the telemetry for a command. Show the notice if it is due, and send events of earlier processes.

    Our own mounted commands are not tracked, because `off` must delete what was queued, and not send it first.
    """
    client = telemetry()
    if client is None or commands.is_called():
        return None
    manager = get_tracing_manager()
    if manager not in _asked and manager.consent.given:  # else events are only printed, in development mode
        if rule := notice.reason_to_suppress(client.sender, Settings.from_environ(), CATALOGUE):
            manager.suppress(rule)
            return manager.telemetry
        _asked.add(manager)
        client.resume()
    return client
