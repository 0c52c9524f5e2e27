"""Checks spans and records against the catalogue, and turns declared events into typed rows."""

from __future__ import annotations

import time
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Final

from automagik_telemetry.collector._catalogue import MAX_DURATION, flag, number, word
from automagik_telemetry.collector._schema import TRACES
from automagik_telemetry.events._event import EVENT_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from automagik_telemetry.collector._catalogue import Catalogue, Declared
    from automagik_telemetry.collector._rows import Row
    from automagik_telemetry.collector._schema import Table

MIN_SAMPLE_RATE: Final = 1e-4
MAX_AGE: Final = 8 * 86_400
MAX_AHEAD: Final = 86_400
MAX_UNDECLARED_NAMES: Final = 200
"""Maximum number of names of undeclared events that are stored, so that a report stays readable."""

_NANOSECONDS: Final = 1_000_000_000
_PREFIX: Final = "event."
_COMMON: Final = frozenset(
    {"system.os", "system.python_version", "system.architecture", "sample_rate", "log.record.uid", "event.name"}
)
"""The attributes that every event may have."""
_RESOURCE: Final = frozenset(
    {
        "service.name",
        "service.version",
        "service.organization",
        "user.id",
        "session.id",
        "telemetry.sdk.name",
        "telemetry.sdk.version",
        "telemetry.sdk.language",
    }
)


class Gate:
    """Decides what is stored of each span and record.

    Args:
        catalogue: The declared events.
        strict: Refuse what is not declared. Otherwise it is stored, but undeclared events are kept apart.
        events_only: Refuse spans and records that are not events, because only events are stored.
        undeclared: The names of undeclared events that are stored already.
        clock: Returns the Unix time.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        strict: bool = False,
        events_only: bool = False,
        undeclared: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalogue = catalogue
        self._strict = strict
        self._events_only = strict or events_only
        self._clock = clock
        self._undeclared = set(undeclared)

    def admit(self, table: Table, row: Row, refused: Counter[str]) -> tuple[bool, Row | None]:
        """Return whether to store a row, which is changed to what may be stored, and its event, if it is one.

        Args:
            table: The table that the row is for.
            row: The row.
            refused: Numbers of items and of values that were refused, by reason, to which it adds.
        """
        event, attributes = _event(table, row)
        declared = self._catalogue.events.get(event)
        if declared is None and not _looks_like_event(event, attributes):
            if self._events_only:
                refused["not_an_event"] += 1
            return not self._events_only, None
        if declared is None and self._strict:
            refused["undeclared_event"] += 1
            return False, None
        seconds = row["Timestamp"] / _NANOSECONDS - self._clock()
        if not -MAX_AGE <= seconds <= MAX_AHEAD:
            refused["time"] += 1
            return False, None
        rate = attributes.get("sample_rate")
        if rate is not None and not MIN_SAMPLE_RATE <= (number(rate) or 0) <= 1:
            refused["sample_rate"] += 1
            return False, None
        if declared is None and not self._has_room(event):
            refused["undeclared_event"] += 1
            return not self._events_only, None
        return True, self._typed(table, row, event, declared, refused)

    def migrated(self, table: Table, row: Row) -> Row | None:
        """Return the event in a row that an earlier version stored, whatever its time; None if it is not an event."""
        event, attributes = _event(table, row)
        declared = self._catalogue.events.get(event)
        if declared is None and not (_looks_like_event(event, attributes) and self._has_room(event)):
            return None
        return self._typed(table, row, event, declared, Counter())

    def _has_room(self, event: str) -> bool:
        """Return whether an undeclared event may be stored: it already is, or there are fewer than the maximum."""
        if event in self._undeclared:
            return True
        if len(self._undeclared) >= MAX_UNDECLARED_NAMES:
            return False
        self._undeclared.add(event)
        return True

    def _typed(self, table: Table, row: Row, event: str, declared: Declared | None, refused: Counter[str]) -> Row:
        """Return the typed row of an event. What a strict receiver refuses is removed from `row`."""
        attributes = row[_ATTRIBUTES[table.name]]
        resource = row["ResourceAttributes"]
        found = _undeclared_values(attributes) if declared is None else self._values(attributes, declared, refused)
        if table is TRACES and declared is not None:
            _add_from_span(row, declared, found)
        typed = {
            "time": row["Timestamp"] // _NANOSECONDS,
            "install": word(resource.get("user.id", "")),
            "session": zlib.crc32(resource.get("session.id", "").encode()),
            "service": word(row["ServiceName"]),
            "version": word(resource.get("service.version", "")),
            "os": word(attributes.get("system.os", "")),
            "python": word(attributes.get("system.python_version", "")),
            "event": event,
            "declared": declared is not None,
            "weight": _weight(attributes.get("sample_rate")),
        }
        if declared is not None:
            parts = [str(found[name]) for name in declared.naming if name in found]
            if parts:
                typed["name"] = " ".join(parts)
            typed |= {declared.columns[name]: value for name, value in found.items() if name in declared.columns}
        else:
            typed |= found
        if self._strict:
            _strip(table, row, refused)
        return typed

    def _values(self, attributes: dict[str, str], declared: Declared, refused: Counter[str]) -> Row:
        """Return the values of declared fields. Older clients send them without a prefix."""
        found: Row = {}
        wrong: list[str] = []
        for key, text in attributes.items():
            field = declared.fields.get(key.removeprefix(_PREFIX))
            if field is None:
                if self._strict and (key not in _COMMON or word(text) is None):
                    refused["invalid_value" if key in _COMMON else "undeclared_field"] += 1
                    wrong.append(key)
            elif text:
                value = field.read(text)
                if value is None:
                    refused["invalid_value"] += 1
                    wrong.append(key)
                else:
                    found[field.name] = value
        if self._strict:
            for key in wrong:
                del attributes[key]
        return found


_ATTRIBUTES: Final = {"otel_traces": "SpanAttributes", "otel_logs": "LogAttributes"}
# Columns that events of this library leave empty, and those that they fill with a short text.
_FOREIGN: Final = {
    "otel_traces": ("TraceState", "StatusMessage", "Events.Name", "Links.SpanId"),
    "otel_logs": ("ScopeAttributes",),
}
_SHORT: Final = {
    "otel_traces": ("ServiceName", "ScopeName", "ScopeVersion"),
    "otel_logs": (
        *("ServiceName", "ScopeName", "ScopeVersion", "SeverityText", "Body"),
        *("ResourceSchemaUrl", "ScopeSchemaUrl"),
    ),
}


def _strip(table: Table, row: Row, refused: Counter[str]) -> None:
    """Remove from a row what events of this library do not have, such as error messages and host attributes."""
    resource = row["ResourceAttributes"]
    kept = {key: value for key, value in resource.items() if key in _RESOURCE and word(value) is not None}
    refused["undeclared_field"] += len(resource) - len(kept)
    row["ResourceAttributes"] = kept
    foreign = [column for column in _FOREIGN[table.name] if row[column]]
    foreign += [column for column in _SHORT[table.name] if word(row[column]) is None]
    refused["undeclared_field"] += len(foreign)
    for column in foreign:
        # The columns of a span's events and links are one list each.
        group = column.partition(".")[0] + "."
        for each in [name for name in row if name == column or name.startswith(group)]:
            row[each] = type(row[each])()


def _event(table: Table, row: Row) -> tuple[str, dict[str, str]]:
    """Return the name of the event and the attributes of a row."""
    return (row["SpanName"] if table is TRACES else row["EventName"]), row[_ATTRIBUTES[table.name]]


def _looks_like_event(event: str, attributes: dict[str, str]) -> bool:
    """Return whether a span or record has the form of an event of this library, which other products' do not."""
    return "system.os" in attributes and EVENT_NAME.fullmatch(event) is not None and word(event) is not None


def _add_from_span(row: Row, declared: Declared, found: Row) -> None:
    """Add what a span without such an attribute has: its duration and its status."""
    if "duration_ms" in declared.fields and "duration_ms" not in found:
        found["duration_ms"] = min(row["Duration"] / 1e6, MAX_DURATION)
    if "success" in declared.fields and "success" not in found and row["StatusCode"] != "Unset":
        found["success"] = row["StatusCode"] == "Ok"


def _undeclared_values(attributes: dict[str, str]) -> Row:
    """Return the fields of an undeclared event that have the same meaning in every event."""
    found: Row = {
        "success": flag(attributes.get("event.success", "")),
        "duration_ms": number(attributes.get("event.duration_ms", ""), MAX_DURATION),
    }
    return {name: value for name, value in found.items() if value is not None}


def _weight(rate: str | None) -> float:
    """Return the weight of an event, the inverse of its sampling rate."""
    value = number(rate) if rate is not None else None
    return 1 / value if value is not None and MIN_SAMPLE_RATE <= value <= 1 else 1.0
