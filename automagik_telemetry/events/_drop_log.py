"""Reports of dropped events and of dropped and hashed fields, with a remedy, and their log at DEBUG of our logger."""

from __future__ import annotations

import contextlib
import logging
import re
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING

import structlog

from automagik_processors._scalars import word_of
from automagik_telemetry._log import logger
from automagik_telemetry._reentrancy import guard

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from automagik_processors import Kind

_MAX_REMEMBERED = 1_000
_MAX_FIELD_CHARACTERS = 100  # characters of a field's name: it is the application's, and may be anything
_MAX_EVENT_CHARACTERS = 64
# The name of an event, as a developer writes it. Any other message may hold a value, and is not shown.
_EVENT = re.compile(r"[A-Za-z]\w*(?:[.:-]\w+)+", re.ASCII)


class DropLog:
    """Logs each event that is not declared, and each field that `Anonymize` drops or hashes.

    Each is logged once per event, field and reason. It never receives a value. At most a thousand are logged. Raises
    nothing.
    """

    def __init__(self, catalogue: Mapping[str, Mapping[str, Kind]]) -> None:
        self._catalogue = catalogue
        self._logged: set[tuple[str, str, str]] = set()

        self.is_enabled = partial(logger.isEnabledFor, logging.DEBUG)
        """Return whether the logger takes debug records."""

    def __call__(self, event: str, field: str, reason: str) -> None:
        """Log one dropped field."""
        key = (event, field[:_MAX_FIELD_CHARACTERS], reason)
        if self.is_enabled() and self._is_new(key):
            self._log(about_field(self._catalogue[event], *key))

    def unknown(self, event: object) -> None:
        """Log an event that is not declared, if it has the form or nearly the name of one."""
        if self.is_enabled() and (name := event_name(event, self._catalogue)) and self._is_new((name, "", "")):
            self._log(about_event(name, self._catalogue))

    def _is_new(self, key: tuple[str, str, str]) -> bool:
        # Added before it is logged, because a handler of the application may call this again.
        if key in self._logged or len(self._logged) >= _MAX_REMEMBERED:
            return False
        self._logged.add(key)
        return True

    @staticmethod
    def _log(text: str) -> None:
        # An application's handler may raise anything, and `ProcessorFormatter` a DropEvent. The event is still sent.
        with guard, contextlib.suppress(Exception, structlog.DropEvent):
            logger.debug("%s", text)


def logged_name(event: object) -> str | None:
    """Return the name under which an event is logged: a string, or that of a structlog event dict; else None."""
    return word_of(event.get("event") if type(event) is dict else event)


def event_name(event: object, catalogue: Iterable[str]) -> str | None:
    """Return the name of an event that is not declared; None for another message, which may hold a value."""
    name = logged_name(event)
    if name is None or not 0 < len(name) <= _MAX_EVENT_CHARACTERS or not name.isprintable():
        return None
    return name if _EVENT.fullmatch(name) or _nearest(name, catalogue, 0.8) else None


def about_event(name: str, catalogue: Iterable[str]) -> str:
    """Return a report of an event that is not declared."""
    near = _nearest(name, catalogue)
    remedy = f"Did you mean {near}?" if near else "List the declared events: automagik-telemetry events"
    return f"{name} is not a declared event and is dropped. {remedy}"


def about_field(fields: Mapping[str, Kind], event: str, field: str, reason: str) -> str:
    """Return a report of a field that is dropped or hashed. The value is never part of it."""
    if reason == "unknown_word":
        if getattr(fields.get(field), "allowed", None) is not None:
            remedy = "It is sent as a hash. Add it to the field's allowed values"
            return f"{event}: {field} holds a string that is not an allowed value. {remedy}"
        remedy = 'It is sent as a hash. Call automagik_telemetry.declare("...")'
        return f"{event}: {field} holds a string that is not on the allowlist. {remedy}"
    if reason == "unknown_field":
        near = _nearest(field, fields)
        remedy = f"Did you mean {near}?" if near else f"The fields are: {', '.join(fields) or 'none'}"
        return f"{event}: {field!r} is not a field of this event and is dropped. {remedy}"
    if field in fields:
        return f"{event}: {field} is not a valid {fields[field].name} and is dropped"
    return f"{event}: {field} does not follow structlog's conventions and is dropped"


def _nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    found = get_close_matches(name.lower(), list(known), 1, cutoff)
    return found[0] if found else None
