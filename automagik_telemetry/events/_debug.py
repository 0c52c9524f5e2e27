"""Development mode: prints each event to stderr as it would be sent, and what is not sent, with the reason."""

from __future__ import annotations

import contextlib
import sys
import textwrap
import threading
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog

from automagik_telemetry._reentrancy import guard
from automagik_telemetry.events._drop_log import about_event, about_field, event_name, logged_name
from automagik_telemetry.events._registry import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from automagik_processors import Kind

_WIDTH: Final = 79
_PREFIX: Final = "telemetry: "
_MAX_FIELD_CHARACTERS: Final = 100
_MAX_REPORTS: Final = 50
"""Maximum number of fields that are reported of one event."""
_MAX_LOGGERS: Final = 1_000
_SYSTEM: Final = "system."
_REASONS: Final = {
    "consent_withdrawn": "consent was withdrawn",
    "sampled": "it was sampled out",
    "processor": "a processor dropped it",
    "processor_error": "a processor failed",
    "not_recorded": "an object of the application could not be read",
    "not_started": "the queue could not be opened",
}


class Printer:
    """Prints what becomes of each event, one line or a small block for each. Raises nothing.

    A value that is not sent is never passed to it. Printed strings are those of the encoded event, and names of fields.
    """

    def __init__(self, catalogue: Mapping[str, Mapping[str, Kind]]) -> None:
        self._catalogue = catalogue
        self._reports = threading.local()
        self._loggers: set[str] = set()

    def field(self, event: str, field: str, reason: str) -> None:
        """Keep the report of a field, until its event is printed."""
        reports = self._kept()
        if len(reports) < _MAX_REPORTS:
            name = field[:_MAX_FIELD_CHARACTERS]
            reports.append(about_field(self._catalogue[event], event, name, reason))

    def sent(self, event: bytes) -> None:
        """Print an encoded event, and the reports of its fields."""
        with contextlib.suppress(Exception):
            decoded = orjson.loads(event)
            name = decoded.get("name") or decoded.get("eventName")
            pairs = [(pair["key"], next(iter(pair["value"].values()))) for pair in decoded["attributes"]]
            fields = [
                f"{key.removeprefix('event.')}={_shown(value)}"
                for key, value in pairs
                if not key.startswith(_SYSTEM) and key != "log.record.uid"
            ]
            self._print(" ".join([name, *fields]))

    def dropped(self, event: object, reason: str, logger: str = "structlog", level: str = "") -> None:
        """Print an event that is not sent."""
        with contextlib.suppress(Exception):
            name = _name(event, self._catalogue)
            if reason == "unknown_event":
                self._unknown(event, logger)
            elif reason == "not_an_event":
                self._print(f"A {event} is not an instance of a declared event class, and is dropped.")
            elif reason == "below_level":
                self._print(f"{name} is not sent, because its level is below {level}, the level of the sink.")
            else:
                self._print(f"{name or 'An event'} is not sent, because {_REASONS.get(reason, reason)}.")

    def _unknown(self, event: object, logger: str) -> None:
        if name := event_name(event, self._catalogue):
            self._print(about_event(name, self._catalogue))
        elif logger not in self._loggers and len(self._loggers) < _MAX_LOGGERS:
            self._loggers.add(logger)
            self._print(f"Messages of {logger} that are not events are not sent. This is shown once.")

    def _print(self, first: str) -> None:
        reports = self._kept()
        lines = [first, *reports]
        reports.clear()
        write(lines)

    def _kept(self) -> list[str]:
        kept: list[str] = self._reports.__dict__.setdefault("kept", [])
        return kept


@cache
def printer() -> Printer:
    """Return the printer of the process."""
    return Printer(CATALOGUE)


def write(lines: list[str]) -> None:
    """Write lines to stderr, wrapped and in one call. The stream may be closed, missing or of any class."""
    wrapped = [
        textwrap.fill(line, _WIDTH, initial_indent=_PREFIX, subsequent_indent=" " * 4, break_on_hyphens=False)
        for line in lines
    ]
    text = "\n".join(wrapped) + "\n"
    with (
        guard,
        contextlib.suppress(Exception, structlog.DropEvent),
    ):  # an application's stream may log, and raise anything
        stream = sys.stderr
        try:
            stream.write(text)
        except UnicodeError:
            stream.write(text.encode("ascii", "backslashreplace").decode())
        stream.flush()


def _name(event: object, catalogue: Container[str]) -> str | None:
    name = logged_name(event)
    return name if name is not None and name in catalogue else None


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value if value.isprintable() and value and " " not in value else ascii(value)
    return str(value).lower()
