"""The registry of declared events: built-in ones, and those of the application, its libraries and its logging.yaml.

Everything that depends on the declarations reads it: the anonymizer, the drop log, the notice, the commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from automagik_telemetry._failsafe import attempt
from automagik_telemetry._process import is_same, kept
from automagik_telemetry.events._event import Event
from automagik_telemetry.events.catalogue import EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from automagik_processors import Kind

_declared: Final = kept("declared events", dict[str, type[Event]])

CATALOGUE: Final = kept("catalogue of declared events", dict[str, dict[str, "Kind"]])
"""The kinds of the fields of each declared event, in the form that `Anonymize` takes. It grows by `register`."""

EXPIRES: Final = kept("expiry of declared events", dict[str, float])
"""The Unix time from which an event is dropped, for each that expires."""


_callbacks: Final = kept("callbacks of the registry", dict[str, "Callable[[], object]"])


def register(events: Iterable[type[Event]]) -> None:
    """Add events to the registry: all of them, or none if one is wrong.

    A class replaces an earlier version of itself, as after a reload. Sinks that have sent such an event keep the
    earlier version until they are configured again.

    Raises:
        TypeError: An object is not an event class.
        ValueError: An event has no name, or the name of another event.
    """
    new: dict[str, type[Event]] = {}
    for event in _listed(events):
        name = _name_of(event)
        other = new.get(name, _declared.get(name))
        if other is not None and not is_same(other, event):
            raise ValueError(
                f"{_where(event)}: the event {name!r} is declared already, by {_where(other)}. Choose another name."
            )
        new[name] = event
    for name, event in new.items():
        until = event.expires_at()
        if until is None:
            EXPIRES.pop(name, None)
        else:
            EXPIRES[name] = until
        _declared[name] = event
        CATALOGUE[name] = event.kinds()
    for callback in list(_callbacks.values()):
        attempt(callback)


def snapshot() -> Callable[[], None]:
    """Return a function that restores the declared events."""
    declarations: list[Any] = [_declared, CATALOGUE, EXPIRES]
    before = [dict(each) for each in declarations]

    def restore() -> None:
        for live, kept_ones in zip(declarations, before, strict=True):
            live.clear()
            live.update(kept_ones)

    return restore


def reset() -> None:
    """Remove all events but those that are built in."""
    for each in (_declared, CATALOGUE, EXPIRES):
        each.clear()
    register(EVENTS)


def call_when_registered(key: str, callback: Callable[[], object]) -> None:
    """Call back now and after each registration. A later callback with the same key replaces an earlier one."""
    _callbacks[key] = callback
    attempt(callback)


def own_names(declared: Iterable[str]) -> list[str]:
    """Return the names of events that are not built in."""
    built_in = {event.name for event in EVENTS}
    return [name for name in tuple(declared) if name not in built_in]


def is_declared(event: type) -> bool:
    """Return whether the class is in the registry, in this or an earlier version."""
    found = _declared.get(getattr(event, "name", ""))
    return found is event or (found is not None and is_same(found, event))


def declared_events() -> list[type[Event]]:
    """Return all declared events, built-in ones first."""
    return list(_declared.values())


def is_event_class(value: object) -> bool:
    """Return whether an object is a subclass of `Event`, of this or an earlier version."""
    return isinstance(value, type) and value is not Event and any(is_same(base, Event) for base in value.__mro__)


def _listed(events: Any) -> list[Any]:
    if isinstance(events, type | str) or not hasattr(type(events), "__iter__"):
        raise TypeError(f"a list of event classes is needed, got {events!r}")
    return list(events)


def _name_of(event: Any) -> str:
    if not is_event_class(event):
        hint = ". Give the class, not an instance" if is_event_class(type(event)) else ""
        raise TypeError(f"{event!r} is not a subclass of automagik_telemetry.events.Event{hint}")
    name = getattr(event, "name", None)
    if name is None:
        raise ValueError(f'{_where(event)}: the event has no name. Add one, such as name = "checkout.finished".')
    return str(name)


def _where(event: type) -> str:
    return f"{event.__module__}.{event.__qualname__}"


register(EVENTS)
