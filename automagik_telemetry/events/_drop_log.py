"""Tells a developer, once and at DEBUG of our own logger, what of an event does not leave, and what to do about it."""

from __future__ import annotations

import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING

import structlog

from automagik_telemetry._log import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automagik_processors import Kind

_MAX_REMEMBERED = 1_000
_MAX_FIELD_CHARACTERS = 100  # characters of a field's name: it is the application's, and may be anything


class DropLog:
    """Logs the fields that `Anonymize` drops or hashes, by event, field and reason; it never receives a value.

    Each is logged once, up to a thousand of them. Raises nothing.
    """

    def __init__(self, catalogue: Mapping[str, Mapping[str, Kind]]) -> None:
        self._catalogue = catalogue
        self._logged: set[tuple[str, str, str]] = set()

        self.is_enabled = partial(logger.isEnabledFor, logging.DEBUG)
        """Return whether the logger takes debug records."""

    def __call__(self, event: str, field: str, reason: str) -> None:
        """Log one dropped field."""
        if not self.is_enabled():
            return
        key = (event, field[:_MAX_FIELD_CHARACTERS], reason)
        # Remembered before it is logged, because a handler of the application's may lead back here.
        if key in self._logged or len(self._logged) >= _MAX_REMEMBERED:
            return
        self._logged.add(key)
        # An application's handler may raise anything, `ProcessorFormatter` a DropEvent, and the event is to go on.
        with contextlib.suppress(Exception, structlog.DropEvent):
            logger.debug(*self._message(*key))

    def _message(self, event: str, field: str, reason: str) -> tuple[str, ...]:
        fields = self._catalogue[event]
        if reason == "unknown_word":
            advice = (
                'is a name that was not declared and leaves as a hash; declare it: automagik_telemetry.declare("...")'
            )
            return f"%s: %s {advice}", event, field
        if reason == "unknown_field":
            return (
                "%s: %r is no field of this event and does not leave; it has %s",
                event,
                field,
                ", ".join(fields) or "none",
            )
        if field in fields:
            return "%s: %s holds what is no %s and does not leave; log a %s", event, field, *[fields[field].name] * 2
        return "%s: %s is not as structlog's conventions have it and does not leave", event, field
