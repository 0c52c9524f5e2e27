"""What can be saved of a segment that another process left: every whole event, whatever happened to the rest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

from automagik_telemetry.export._body import SEPARATOR, Envelope
from automagik_telemetry.export._segment import Segment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automagik_telemetry.export._held_file import HeldFile

_HEX = re.compile(r"[0-9a-f]+")
_ID_LENGTHS = {"traceId": 32, "spanId": 16}
_LOG_RECORD_KEYS = frozenset(
    {"timeUnixNano", "observedTimeUnixNano", "severityNumber", "severityText", "eventName", "body", "attributes"}
    | {"droppedAttributesCount", "flags", "traceId", "spanId"}
)
"""The fields of an OTLP log record."""
_START = re.compile(rb'(?=\{"(?:traceId|timeUnixNano)":")')
_READ_LIMIT = 16 * 1024 * 1024


class RecoveredSegment(Segment):
    """A segment that another process left, read back from its file: its whole events, and how many are corrupt.

    A line is an event, and whole if it is a JSON object whose ids are ids; a log record may have none. The last line
    may be torn, the closing brackets may be there or not, and the unused rest of a preallocated file is zeros. A head
    that is not one is replaced by ours, `envelope.head`.
    """

    recovered = True
    storage = "buffered"

    @property
    def is_open(self) -> bool:
        """Return False: nothing is appended to it."""
        return False

    def __init__(self, file: HeldFile, envelope: Envelope) -> None:
        """Read the file. Raises OSError if it can't be read."""
        self.file = file
        self.created = self.due = 0.0
        self.corrupt = 0
        content = file.read(_READ_LIMIT).rstrip(b"\0").removesuffix(envelope.tail)
        self.size = len(content)
        head, _, rest = content.partition(b"\n")
        self.envelope = Envelope(head + b"\n", envelope.tail)
        if _shape(self.envelope) != _shape(envelope):
            self.envelope = envelope
            _, *swallowed = _START.split(head)  # the first event, if it was the newline after the head that is damaged
            rest = b"".join(swallowed) + b"\n" + rest
        self._fragments = list(self._whole(rest.split(b"\n")))
        self.events = len(self._fragments)

    def _whole(self, lines: list[bytes]) -> Iterator[bytes]:
        in_damage = False
        for part in (part for line in lines for part in _parts(line)):
            if (event := _event(part)) is not None:
                yield event
                in_damage = False
            elif part.startswith(b"{") or (len(part) > len(self.envelope.tail) and not in_damage):
                # What doesn't begin like an event is the rest of the damaged one before it, or of the closing brackets.
                self.corrupt += 1
                in_damage = True

    def copy_events(self, into: bytearray) -> None:
        """Append its events, each with its separator."""
        for fragment in self._fragments:
            into += fragment + SEPARATOR

    def close(self) -> None:
        """Do nothing: it takes no events."""

    def write_out(self) -> None:
        """Do nothing: it is on disk."""

    def _free(self) -> None:
        """Do nothing: there is no map."""


def _shape(envelope: Envelope) -> list[tuple[str, ...]]:
    """Return the keys at each level of the request that an envelope is without events; empty if it is none."""
    keys: list[tuple[str, ...]] = []
    try:
        value = orjson.loads(envelope.head + envelope.tail)
        for _ in ("resources", "scopes", "events"):
            keys.append(tuple(value))
            inner = value[keys[-1][-1]]
            value = inner[0] if inner else {}
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return []
    return keys


def _parts(line: bytes) -> Iterator[bytes]:
    """Yield what a line holds: one event, but two where the newline between them is damaged."""
    if _event(line) is not None:
        yield line
    else:
        yield from filter(None, _START.split(line))


def _event(part: bytes) -> bytes | None:
    """Return the whole event that a line begins with, without what separates it from the next; None if damaged."""
    fragment = part[: part.rfind(b"}") + 1]
    try:
        event = orjson.loads(fragment)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(event, dict) or not isinstance(event.get("attributes"), list):
        return None
    is_span = "startTimeUnixNano" in event
    if not isinstance(event.get("startTimeUnixNano" if is_span else "timeUnixNano"), str):
        return None
    if not is_span and not event.keys() <= _LOG_RECORD_KEYS:  # where an id may be missing, its key may be damaged
        return None
    ids = {key: event.get(key) for key in _ID_LENGTHS if is_span or key in event}
    whole = all(type(id_) is str and len(id_) == _ID_LENGTHS[key] and _HEX.fullmatch(id_) for key, id_ in ids.items())
    return fragment if whole else None
