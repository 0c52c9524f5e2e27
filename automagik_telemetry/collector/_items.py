"""Converts an OTLP request in its JSON form into items: encoded rows, each with its identity."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from automagik_telemetry.collector._errors import BadRequest
from automagik_telemetry.collector._rows import LONG_TRACE_ID, log_rows, trace_rows
from automagik_telemetry.collector._schema import LOGS, TRACES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from automagik_telemetry.collector._gate import Gate
    from automagik_telemetry.collector._rows import Row
    from automagik_telemetry.collector._schema import Table
    from automagik_telemetry.collector._values import Json

MAX_ITEMS: Final = 20_000
"""Maximum number of spans or log records in a request."""

MAX_ROW_BYTES: Final = 32 * 1024 * 1024
"""Maximum size of the rows of a request. They are larger than its body, because each has the resource's attributes."""

_KEY_BYTES: Final = 6
_NANOSECONDS: Final = 1_000_000_000
_DAY_SECONDS: Final = 86_400


class Identity(NamedTuple):
    """The second of an item's time, and a hash. Two items with the same identity are the same item."""

    second: int
    key: int


class EncodedEvent(NamedTuple):
    """A typed event, ready to be stored."""

    line: bytes
    """The row as a JSON object, without the number of the install."""
    columns: frozenset[str]
    """The columns that it has a value for."""
    install: str | None
    """The ID of the install."""
    day: int
    """The day, as a number since 1970."""


class Item(NamedTuple):
    """A span or log record, ready to be stored."""

    table: Table
    line: bytes
    """The row as a JSON object."""
    identity: Identity | None
    """None for a record that can't be recognized if it is sent again."""
    event: EncodedEvent | None
    """None if it is not an event."""

    @property
    def size(self) -> int:
        """Number of bytes to store."""
        return len(self.line) + (len(self.event.line) if self.event else 0)


class Checked(NamedTuple):
    """The items of a request that are to be stored, and what of it is not."""

    items: list[Item]
    rejected: int
    """Number of items that are not stored."""
    refused: Counter[str]
    """Numbers of items and of values that are not stored, by reason."""
    size: int
    """Number of bytes to store."""
    long_trace_ids: int
    """Number of spans whose trace ID is stored with its first 32 digits."""


def trace_items(request: Json, gate: Gate, applications: frozenset[str] | None = None) -> Checked:
    """Return the spans of an ExportTraceServiceRequest that the gate admits.

    Args:
        request: The request in its JSON form.
        gate: Decides what is stored.
        applications: Names of the services that the sender may send for; None for all.

    Raises:
        Malformed: A value in it is not valid OTLP.
        BadRequest: 413, if there are too many spans.
    """
    return _items(TRACES, trace_rows(request), gate, applications)


def log_items(request: Json, gate: Gate, applications: frozenset[str] | None = None) -> Checked:
    """Return the records of an ExportLogsServiceRequest that the gate admits.

    Args:
        request: The request in its JSON form.
        gate: Decides what is stored.
        applications: Names of the services that the sender may send for; None for all.

    Raises:
        Malformed: A value in it is not valid OTLP.
        BadRequest: 413, if there are too many records.
    """
    return _items(LOGS, log_rows(request), gate, applications)


def _items(table: Table, rows: Iterable[Row], gate: Gate, applications: frozenset[str] | None) -> Checked:
    items: list[Item] = []
    refused: Counter[str] = Counter()
    rejected = size = long_trace_ids = 0
    for number, row in enumerate(rows):
        if number == MAX_ITEMS:
            raise BadRequest(413, f"A request must have at most {MAX_ITEMS:,} items. Send smaller batches.")
        has_long_trace_id = row.pop(LONG_TRACE_ID, False)
        identity = identity_of(table, row)
        if applications is not None and row["ServiceName"] not in applications:
            refused["application"] += 1
            rejected += 1
            continue
        admitted, event = gate.admit(table, row, refused)
        if not admitted:
            rejected += 1
            continue
        item = Item(table, orjson.dumps(row), identity, None if event is None else encode(event))
        size += item.size
        if size > MAX_ROW_BYTES:
            raise BadRequest(413, f"The rows of a request must have at most {MAX_ROW_BYTES:,} bytes. Send fewer.")
        items.append(item)
        long_trace_ids += has_long_trace_id
    return Checked(items, rejected, +refused, size, long_trace_ids)


def encode(event: Row) -> EncodedEvent:
    """Return an event as it is stored."""
    install = event.pop("install", None)
    return EncodedEvent(orjson.dumps(event), frozenset(event), install or None, event["time"] // _DAY_SECONDS)


def identity_of(table: Table, row: Row) -> Identity | None:
    """Return the identity of a row.

    Of two thousand items in one second, two get the same hash with a probability of 1 in 140 million.
    """
    key = (row["TraceId"], row["SpanId"]) if table is TRACES else _record_key(row)
    if key is None:
        return None
    hashed = hashlib.blake2b("\0".join(key).encode(), digest_size=_KEY_BYTES).digest()
    return Identity(row["Timestamp"] // _NANOSECONDS, int.from_bytes(hashed, "big"))


def _record_key(row: Row) -> tuple[str, ...] | None:
    """Return the key of a record with `log.record.uid`, or of an event in a span; None for any other."""
    uid = row["LogAttributes"].get("log.record.uid", "")
    time = str(row["Timestamp"]) if row["Timestamp"] else ""
    key = row["TraceId"], row["SpanId"], row["EventName"], time
    return (*key, uid) if uid or all(key) else None
