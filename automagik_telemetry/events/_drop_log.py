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

_MOST_REMEMBERED = 1_000
_LONGEST_FIELD = 100  # characters of a field's name: it is the host's, and may be anything


class Withheld:
    """What `Anonymize` calls with event, field and reason; it never hears of values, so none is told.

    Each is told once, up to a thousand of them; beyond, nobody is told of more. Raises nothing.
    """

    def __init__(self, catalogue: Mapping[str, Mapping[str, Kind]]) -> None:
        self._catalogue = catalogue
        self._told: set[tuple[str, str, str]] = set()

        self.hears = partial(logger.isEnabledFor, logging.DEBUG)
        """Whether anyone is there to be told."""

    def __call__(self, event: str, field: str, reason: str) -> None:
        """Tell of one field."""
        if not self.hears():
            return
        told = (event, field[:_LONGEST_FIELD], reason)
        # Remembered before it is told, for a handler of the host's may lead back here.
        if told in self._told or len(self._told) >= _MOST_REMEMBERED:
            return
        self._told.add(told)
        # A host's handler may raise anything, `ProcessorFormatter` a DropEvent, and the event is to go on.
        with contextlib.suppress(Exception, structlog.DropEvent):
            logger.debug(*self._message(*told))

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
