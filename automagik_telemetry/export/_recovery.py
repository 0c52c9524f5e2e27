"""Recovers all whole events that may be sent from a segment that another process left."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from automagik_telemetry.export._body import SEPARATOR, Envelope
from automagik_telemetry.export._segment import Segment

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from automagik_telemetry.export._held_file import HeldFile

_HEX = re.compile(r"[0-9a-f]+")
_ID_LENGTHS = {"traceId": 32, "spanId": 16}
_LOG_RECORD_KEYS = frozenset(
    {"timeUnixNano", "observedTimeUnixNano", "severityNumber", "severityText", "eventName", "body", "attributes"}
    | {"droppedAttributesCount", "flags", "traceId", "spanId"}
)
"""The fields of an OTLP log record."""
_START = re.compile(rb'(?=\{"(?:traceId|timeUnixNano)":")')
_SPAN = b'{"traceId":"'
_SPAN_START = re.compile(b"(?=%b)" % re.escape(_SPAN))
"""The start of a span. An event inside of one begins as a log record does."""
_JOINED = b"},"
"""The text before each span of a trace but the first: a trace is one event, and one line."""
_VARYING = frozenset(
    {"service.version", "service.organization", "session.id", "telemetry.sdk.version", "telemetry.sdk.language"}
)
"""The attributes of an application's resource that may differ between its processes, or be missing in some."""
_READ_LIMIT = 16 * 1024 * 1024


class RecoveredSegment(Segment):
    """A segment of another process, read from its file: its whole events, and the number of corrupt ones.

    A line is an event. It is whole if it is a JSON object with valid ids, or several, the spans of a trace. A log
    record may have no ids. The last line may be torn, the closing brackets may be there or not, and the unused rest of
    a preallocated file is zeros. An invalid head is replaced by ours, `envelope.head`.
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
        self.age = file.age()
        """Seconds since its first event."""
        self.refusals = file.refusals
        self.corrupt = 0
        """Number of events that were damaged on disk."""
        self._undeclared = self._foreign = 0
        content = file.read(_READ_LIMIT).rstrip(b"\0").removesuffix(envelope.tail)
        self.size = len(content)
        head, _, rest = content.partition(b"\n")
        self.envelope = Envelope(head + b"\n", envelope.tail)
        if _shape(self.envelope) != _shape(envelope):
            self.envelope = envelope
            _, *swallowed = _START.split(head)  # the first event, if the newline after the head is damaged
            rest = b"".join(swallowed) + b"\n" + rest
        self._fragments = list(self._whole(rest.split(b"\n")))
        self.events = len(self._fragments)

    @property
    def losses(self) -> dict[str, int]:
        """Numbers of events that are never sent, by reason."""
        counts = {"corrupt": self.corrupt, "undeclared": self._undeclared, "foreign": self._foreign}
        return {reason: count for reason, count in counts.items() if count}

    def verify(self, envelope: Envelope, declared: Container[str] | None) -> None:
        """Remove the events that this application would not send: another resource's events, and undeclared ones.

        An older version, or another program that can write the file, may have put them there. If `declared` is None,
        any name of an event is allowed.
        """
        if self.envelope is not envelope and not _is_of(_resource(self.envelope), _resource(envelope)):
            self._foreign, self._fragments = self.events, []
        elif declared is not None:
            kept = [fragment for fragment in self._fragments if _is_declared(fragment, declared)]
            self._undeclared, self._fragments = self.events - len(kept), kept
        self.events = len(self._fragments)

    def _whole(self, lines: list[bytes]) -> Iterator[bytes]:
        in_damage = False
        for part in (part for line in lines for part in _parts(line)):
            if (event := _event(part)) is not None:
                yield event
                in_damage = False
            elif part.startswith(b"{") or (len(part) > len(self.envelope.tail) and not in_damage):
                # Other lines are the rest of the damaged event before them, or of the closing brackets.
                self.corrupt += 1
                in_damage = True

    def copy_events(self, into: bytearray) -> None:
        """Append its events, each with its separator."""
        for fragment in self._fragments:
            into += fragment + SEPARATOR

    def close(self) -> None:
        """Do nothing, because it takes no events."""

    def write_out(self) -> None:
        """Do nothing, because it is on disk."""

    def _free(self) -> None:
        """Do nothing, because there is no map."""


def _shape(envelope: Envelope) -> list[tuple[str, ...]]:
    """Return the keys at each level of an envelope, which is a request without events; empty if it is malformed."""
    keys: list[tuple[str, ...]] = []
    try:
        value = orjson.loads(envelope.head + envelope.tail)
        _attributes(value)
        for _ in ("resources", "scopes", "events"):
            keys.append(tuple(value))
            inner = value[keys[-1][-1]]
            value = inner[0] if inner else {}
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return []
    return keys


def _attributes(request: Any) -> dict[str, Any]:
    """Return the attributes of the one resource of a request. Raises LookupError or TypeError if there is none."""
    (resources,) = request.values()
    return {attribute["key"]: attribute.get("value") for attribute in resources[0]["resource"]["attributes"]}


def _resource(envelope: Envelope) -> dict[str, Any]:
    """Return the attributes that identify an application's resource in any of its processes."""
    found = _attributes(orjson.loads(envelope.head + envelope.tail))
    return {key: value for key, value in found.items() if key not in _VARYING}


def _is_of(found: dict[str, Any], own: dict[str, Any]) -> bool:
    """Return whether a resource is that of this application, which may have left its ID out."""
    return found == own or found == {key: value for key, value in own.items() if key != "user.id"}


def _parts(line: bytes) -> Iterator[bytes]:
    """Yield the events of a line: one, or two if the newline between them is damaged."""
    event = b""
    start = _SPAN_START if line.startswith(_SPAN) else _START
    for part in filter(None, start.split(line)):
        if event and not event.endswith(_JOINED):
            yield event
            event = b""
        event += part
    if event:
        yield event


def _event(part: bytes) -> bytes | None:
    """Return the event at the beginning of a line, without its separator; None if it is damaged."""
    fragment = part[: part.rfind(b"}") + 1]
    try:
        spans = orjson.loads(b"[%b]" % fragment)
    except orjson.JSONDecodeError:
        return None
    return fragment if spans and all(map(_is_whole, spans)) else None


def _is_whole(event: object) -> bool:
    """Return whether this is a span or a log record."""
    if not isinstance(event, dict) or not isinstance(event.get("attributes"), list):
        return False
    is_span = "startTimeUnixNano" in event
    if not isinstance(event.get("startTimeUnixNano" if is_span else "timeUnixNano"), str):
        return False
    if not is_span and not event.keys() <= _LOG_RECORD_KEYS:  # where an id may be missing, its key may be damaged
        return False
    ids = {key: event.get(key) for key in _ID_LENGTHS if is_span or key in event}
    return all(
        type(id_) is str and len(id_) == _ID_LENGTHS[key] and _HEX.fullmatch(id_) is not None
        for key, id_ in ids.items()
    )


def _is_declared(fragment: bytes, declared: Container[str]) -> bool:
    """Return whether the names of a whole event's spans, or its log record, are all declared."""
    return all(event.get("name", event.get("eventName")) in declared for event in orjson.loads(b"[%b]" % fragment))
