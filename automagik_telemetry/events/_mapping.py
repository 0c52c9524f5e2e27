"""Events that are declared by mappings, as in the `events:` section of logging.yaml."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from automagik_telemetry.events._event import KINDS, Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_ATTRIBUTES: Final = ("owner", "since", "expires", "deprecated")
_KEYS: Final = ("description", "level", *_ATTRIBUTES, "fields")
_LEVELS: Final = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
_ARGUMENTS: Final = {
    "count": ("maximum",),
    "duration": ("maximum",),
    "measure": ("minimum", "maximum"),
    "word": ("allowed",),
    "flag": (),
}
"""The arguments of each kind, besides its description."""
_MODULE: Final = "logging.yaml"
"""The module of classes that are made here, so that a file that is read again replaces its own events only."""


def events_of(section: object) -> list[type[Event]]:
    """Return the classes of events that a mapping declares.

    Raises:
        TypeError: A part has the wrong type.
        ValueError: A part has a wrong value. The message begins with the path of the key.
    """
    events = _mapping(section, "events")
    return [_event(name, _mapping(events[name], f"events.{name}")) for name in events]


def _event(name: object, entry: dict[Any, Any]) -> type[Event]:
    where = f"events.{name}"
    _check_keys(entry, _KEYS, where)
    fields = _mapping(entry.get("fields", {}), f"{where}.fields")
    body: dict[str, Any] = {"__doc__": _text(entry, "description", where), "name": name, "__module__": _MODULE}
    level = entry.get("level", "INFO")
    if not isinstance(level, str) or level not in _LEVELS:
        raise ValueError(f"{where}.level: {level!r} is not allowed; allowed are {', '.join(_LEVELS)}")
    body["level"] = _LEVELS[level]
    body |= {key: entry[key] for key in _ATTRIBUTES if entry.get(key) is not None}
    for field in fields:
        if not isinstance(field, str) or field in body or field.startswith("__"):
            raise ValueError(f"{where}.fields.{field}: not a valid name of a field. Choose another")
        body[field] = _field(_mapping(fields[field], f"{where}.fields.{field}"), f"{where}.fields.{field}")
    try:
        return type(where, (Event,), body)
    except (TypeError, ValueError) as error:
        path, _, text = str(error).removeprefix(f"{where}.").partition(": ")
        raise type(error)(f"{where}.{f'fields.{path}' if path in fields else path}: {text}") from None


def _field(entry: dict[Any, Any], where: str) -> Any:
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        near = get_close_matches(str(kind), KINDS, 1)
        hint = f"; did you mean {near[0]}?" if near else ";"
        raise ValueError(f"{where}.kind: {kind!r} is not a kind of field{hint} Allowed are {', '.join(KINDS)}")
    _check_keys(entry, ("kind", "description", *_ARGUMENTS[kind]), where)
    arguments = {key: entry[key] for key in _ARGUMENTS[kind] if key in entry}
    if kind == "measure" and len(arguments) < len(_ARGUMENTS[kind]):
        raise ValueError(f"{where}: a measure needs minimum and maximum")
    sentence = _text(entry, "description", where)
    return _at(where, lambda: KINDS[kind](sentence, default=None, **arguments))


def _at(where: str, make: Callable[[], Any]) -> Any:
    """Return the result of `make`. Its exceptions get the path of the key."""
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: {error}") from None


def _mapping(value: object, where: str) -> dict[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"{where}: a mapping is needed, got {type(value).__name__} {value!r}")
    return value


def _check_keys(entry: dict[Any, Any], allowed: Iterable[str], where: str) -> None:
    allowed = tuple(allowed)
    for key in entry:
        if key not in allowed:
            near = get_close_matches(str(key), allowed, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ValueError(f"{where}.{key}: unknown; {hint}Allowed are {', '.join(allowed)}")


def _text(entry: dict[Any, Any], key: str, where: str) -> str:
    text = entry.get(key)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{where}.{key}: a sentence is needed, got {text!r}")
    return text
