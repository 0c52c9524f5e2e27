"""What can be saved of a segment that another process left: every whole event, whatever happened to the rest."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import orjson

from automagik_telemetry.delivery.envelope import SEPARATOR, Envelope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automagik_telemetry.delivery.spool import HeldFile

_HEX = re.compile(r"[0-9a-f]+")
_ID_LENGTHS = {"traceId": 32, "spanId": 16}
_LOG_RECORD_KEYS = frozenset(
    {"timeUnixNano", "observedTimeUnixNano", "severityNumber", "severityText", "eventName", "body", "attributes"}
    | {"droppedAttributesCount", "flags", "traceId", "spanId"}
)
"""The fields of an OTLP log record."""
_START = re.compile(rb'(?=\{"(?:traceId|timeUnixNano)":")')
_READ_LIMIT = 16 * 1024 * 1024


class AdoptedSegment:
    """A sealed segment that another process left, read back from its file: its whole events, and how many are corrupt.

    A line is an event, and whole if it is a JSON object whose ids are ids; a log record may have none. The last line
    may be torn, the closing brackets may be there or not, and the unused rest of a preallocated file is zeros. A head
    that is not one is replaced by ours, `envelope.head`. Raises OSError if the file can't be read.
    """

    def __init__(self, file: HeldFile, envelope: Envelope) -> None:
        self._file = file
        self._fragments: list[bytes] = []
        self.corrupt = 0
        self.created = 0.0
        content = os.pread(file.descriptor, _READ_LIMIT, 0).rstrip(b"\0").removesuffix(envelope.tail)
        self.size = self.capacity = len(content)
        head, _, rest = content.partition(b"\n")
        self.envelope = Envelope(head + b"\n", envelope.tail)
        if _shape(self.envelope) != _shape(envelope):
            self.envelope = envelope
            _, *swallowed = _START.split(head)  # the first event, if it was the newline after the head that is damaged
            rest = b"".join(swallowed) + b"\n" + rest
        self._read(rest.split(b"\n"))
        self.events = len(self._fragments)

    def _read(self, lines: list[bytes]) -> None:
        in_damage = False
        for part in (part for line in lines for part in _parts(line)):
            if (event := _event(part)) is not None:
                self._fragments.append(event)
                in_damage = False
            elif part.startswith(b"{") or (len(part) > len(self.envelope.tail) and not in_damage):
                # What doesn't begin like an event is the rest of the damaged one before it, or of the closing brackets.
                self.corrupt += 1
                in_damage = True

    @property
    def file(self) -> HeldFile:
        """The file that it was read from."""
        return self._file

    def write_out(self) -> None:
        """See `Segment`: it is on disk."""

    def seal(self) -> None:
        """See `Segment`: it is sealed."""

    def trim(self) -> None:
        """See `Segment`: it is no larger than what it holds."""

    @property
    def lines_size(self) -> int:
        """See `Segment`."""
        return sum(map(len, self._fragments)) + len(SEPARATOR) * len(self._fragments)

    def read_lines(self, into: memoryview) -> None:
        """See `Segment`."""
        into[:] = b"".join([fragment + SEPARATOR for fragment in self._fragments])

    def defer(self, until: float) -> None:
        """See `Segment`."""
        self._file.defer(until)

    def remove(self) -> None:
        """See `Segment`."""
        self._file.remove()

    def recycle(self) -> bool:
        """See `Segment`: it was another process's."""
        return False

    def release(self) -> str | None:
        """See `Segment`."""
        self._file.close()
        return self._file.path

    def abandon(self) -> None:
        """See `Segment`."""
        self._file.abandon()


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
