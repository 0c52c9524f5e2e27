"""The declared events, as the receiver checks and stores them: built-in ones, and those of applications' catalogues."""

from __future__ import annotations

import json
import math
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from automagik_processors.kinds import Count, Duration, Word
from automagik_telemetry.collector._errors import CatalogueError
from automagik_telemetry.events._event import EVENT_NAME, FIELD_NAME
from automagik_telemetry.events.catalogue import EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

TYPES: Final = {"flag": "BOOLEAN", "count": "BIGINT", "duration": "DOUBLE", "measure": "DOUBLE", "word": "VARCHAR"}
"""The DuckDB type of the column of each kind of field."""

COLUMNS: Final = {
    "time": "TIMESTAMP_S",
    "day": "DATE",
    "install": "UINTEGER",
    "session": "UINTEGER",
    "service": "VARCHAR",
    "version": "VARCHAR",
    "os": "VARCHAR",
    "python": "VARCHAR",
    "event": "VARCHAR",
    "name": "VARCHAR",
    "declared": "BOOLEAN",
    "weight": "DOUBLE",
}
"""The columns that every event has. The others are fields of declared events."""

_NAMING_FIELDS: Final = {
    "agent.run": ("agent_name",),
    "api.request": ("method", "endpoint"),
    "cli.command": ("command",),
    "feature.used": ("feature_name",),
    "tool.executed": ("tool_name",),
    "workflow.completed": ("workflow_name",),
    "workflow.started": ("workflow_name",),
}
"""The fields from which the name of the thing is made that an event is about. The column `name` has it."""

_IN_NAME: Final = {event: fields[-1] for event, fields in _NAMING_FIELDS.items()}
"""The fields that have no column of their own, because `name` has them."""

MAX_WORD_CHARACTERS: Final = 128
_MAX_FIELDS: Final = 500
_MAX_COUNT: Final = Count().maximum
MAX_DURATION: Final = Duration().maximum
"""The longest duration, in milliseconds."""

_MAX_COUNT_DIGITS: Final = 13
_HASH: Final = re.compile(r"custom-[0-9a-f]{16}")
_REMEDY: Final = "Make one: automagik-telemetry events --json --import MODULE > FILE"


class Field(NamedTuple):
    """A declared field."""

    name: str
    kind: str
    read: Callable[[str], bool | float | str | None]
    """Returns the value in a text, or None if it is not one of this kind."""


class Declared:
    """A declared event.

    Attributes:
        name: Its name.
        fields: Its fields by name.
        columns: The column of each field, by the name of the field, but of one that the column `name` has.
        naming: The fields that make up the name of the thing that the event is about.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.fields: dict[str, Field] = {}
        self.columns: dict[str, str] = {}
        self.naming = _NAMING_FIELDS.get(name, ())


class Catalogue:
    """All declared events.

    Args:
        files: Catalogues of applications, which `automagik-telemetry events --json` prints.

    Raises:
        CatalogueError: A file can't be read, or has a mistake.
    """

    def __init__(self, files: Iterable[Path] = ()) -> None:
        self.events: dict[str, Declared] = {}
        for event in EVENTS:
            for name, kind in event.kinds().items():
                allowed = kind.allowed if isinstance(kind, Word) else None
                maximum = getattr(kind, "maximum", None)
                self._event(event.name).fields[name] = Field(name, kind.name, _reader(kind.name, allowed, maximum))
            self._event(event.name)  # also one without fields
        for file in files:
            self._load(file)
        self.assign_columns(COLUMNS)
        if sum(len(event.fields) for event in self.events.values()) > _MAX_FIELDS:
            raise CatalogueError(f"The catalogues have more than {_MAX_FIELDS} fields. Declare fewer.")

    def assign_columns(self, existing: Mapping[str, str]) -> dict[str, str]:
        """Give each field a column, and return those that the table does not have yet.

        Fields of one name share a column if they have the same type. Otherwise the kind is added to the column's name.

        Args:
            existing: The types of the table's columns, by name.
        """
        columns = dict(existing)
        for event in self.events.values():
            for field in event.fields.values():
                if field.name == _IN_NAME.get(event.name):
                    continue
                wanted = TYPES[field.kind]
                column = field.name
                while column in COLUMNS or columns.get(column, wanted) != wanted:
                    column = f"{column}_{field.kind}"
                event.columns[field.name] = column
                columns[column] = wanted
        return {name: kind for name, kind in columns.items() if name not in existing}

    def _event(self, name: str) -> Declared:
        if name not in self.events:
            self.events[name] = Declared(name)
        return self.events[name]

    def _load(self, file: Path) -> None:
        try:
            events = json.loads(file.read_text(encoding="utf-8"))["events"]
            for event in events:
                declared = self._event(_matching(EVENT_NAME, event["event"]))
                for field in event["fields"]:
                    self._add(file, declared, field)
        except OSError as error:
            raise CatalogueError(f"The catalogue {file} can't be read: {error.strerror}.") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CatalogueError(f"{file} is not a catalogue of events. {_REMEDY}") from error

    def _add(self, file: Path, event: Declared, described: dict[str, Any]) -> None:
        name, kind = _matching(FIELD_NAME, described["field"]), described["kind"]
        if kind not in TYPES:
            raise CatalogueError(
                f"{file}: the kind of {event.name}.{name} must be one of {', '.join(TYPES)}, got {kind!r}."
            )
        earlier = event.fields.get(name)
        if earlier is None:
            allowed = described.get("allowed")
            event.fields[name] = Field(name, kind, _reader(kind, None if allowed is None else frozenset(allowed), None))
        elif earlier.kind != kind:
            raise CatalogueError(
                f"{file}: {event.name}.{name} is a {kind}, but is declared already as a {earlier.kind}. Rename one."
            )


def word(text: str, allowed: frozenset[str] | None = None) -> str | None:
    """Return a word: an allowed value or a hash or, if all are allowed, up to 128 printable characters."""
    if allowed is None:
        return text if len(text) <= MAX_WORD_CHARACTERS and text.isprintable() else None
    return text if text in allowed or _HASH.fullmatch(text) else None


def number(text: str, maximum: float = math.inf) -> float | None:
    """Return a finite number from 0, at most `maximum`."""
    found = _real(text)
    return None if found is None or found < 0 else min(found, maximum)


def flag(text: str) -> bool | None:
    """Return a boolean."""
    return True if text == "true" else False if text == "false" else None


def _count(text: str, maximum: int) -> int | None:
    if not (len(text) <= _MAX_COUNT_DIGITS and text.isascii() and text.isdecimal()):
        return None
    found = int(text)
    return found if found <= maximum else None


def _real(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _reader(
    kind: str, allowed: frozenset[str] | None, maximum: float | None
) -> Callable[[str], bool | float | str | None]:
    match kind:
        case "flag":
            return flag
        case "count":
            return partial(_count, maximum=_MAX_COUNT if maximum is None else int(maximum))
        case "duration":
            return partial(number, maximum=MAX_DURATION if maximum is None else maximum)
        case "measure":
            return _real
        case _:
            return partial(word, allowed=allowed)


def _matching(pattern: re.Pattern[str], name: str) -> str:
    if not pattern.fullmatch(name):
        raise ValueError(name)
    return name
