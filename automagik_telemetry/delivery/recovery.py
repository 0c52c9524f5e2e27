"""What can be saved of a segment that another process left: every whole event, whatever happened to the rest."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import orjson

from automagik_telemetry.delivery.segment import Envelope, join

if TYPE_CHECKING:
    from automagik_telemetry.delivery.spool import HeldFile

_HEX = re.compile(r"[0-9a-f]+")
_ID_LENGTHS = {"traceId": 32, "spanId": 16}
_READ_LIMIT = 16 * 1024 * 1024


class AdoptedSegment:
    """A sealed segment that another process left, read back from its file: its whole events, and how many are corrupt.

    A line is an event, and whole if it is a JSON object whose ids are ids. The last line may be torn, the closing
    brackets may be there or not, and the unused rest of a preallocated file is zeros. A head that is not one is
    replaced by ours, `envelope.head`. Raises OSError if the file can't be read.
    """

    def __init__(self, file: HeldFile, envelope: Envelope) -> None:
        self._file = file
        content = os.pread(file.descriptor, _READ_LIMIT, 0)
        head, _, rest = content.rstrip(b"\0").partition(b"\n")
        self._envelope = Envelope(head + b"\n", envelope.tail)
        if not _is_head(self._envelope):
            self._envelope = envelope
        lines = [line.removesuffix(b",") for line in rest.split(b"\n")]
        lines = [line for line in lines if line and not envelope.tail.startswith(line)]
        self._fragments = [line for line in lines if _is_event(line)]
        self.events = len(self._fragments)
        self.corrupt = len(lines) - self.events
        self.size = len(content)
        self.created = file.created

    def append(self, fragment: bytes) -> bool:  # noqa: ARG002 - the interface's
        """See `Segment`: it is sealed."""
        return False

    def write_out(self) -> None:
        """See `Segment`: it is on disk."""

    def seal(self) -> None:
        """See `Segment`: it is sealed."""

    def body(self) -> bytes:
        """See `Segment`."""
        return join(self._envelope, self._fragments)

    def defer(self, until: float) -> None:
        """See `Segment`."""
        self._file.defer(until)

    def remove(self) -> None:
        """See `Segment`."""
        self._file.remove()

    def release(self) -> bool:
        """See `Segment`."""
        self._file.close()
        return True

    def abandon(self) -> None:
        """See `Segment`."""
        self._file.close()


def _is_head(envelope: Envelope) -> bool:
    try:
        request = orjson.loads(envelope.head + envelope.tail)
    except orjson.JSONDecodeError:
        return False
    return isinstance(request, dict) and len(request) == 1


def _is_event(fragment: bytes) -> bool:
    try:
        event = orjson.loads(fragment)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(event, dict) or not isinstance(event.get("attributes"), list):
        return False
    ids = ((event.get(key), length) for key, length in _ID_LENGTHS.items())
    return all(isinstance(id_, str) and len(id_) == length and _HEX.fullmatch(id_) for id_, length in ids)
