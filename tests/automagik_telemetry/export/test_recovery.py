"""After any damage by a crash or disk, whole events of a segment are sent and others counted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from automagik_telemetry.export._body import Envelope, join
from automagik_telemetry.export._recovery import RecoveredSegment
from automagik_telemetry.export._segment import body_of
from automagik_telemetry.export._spool import Spool
from tests.faults.sending import ENVELOPE, fragment, ids
from tests.faults.server import span_ids

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Read = Callable[[bytes], RecoveredSegment]

EVENTS = 3
LOG_HEAD = b'{"resourceLogs":[{"resource":{"attributes":[]},"scopeLogs":[{"scope":{"name":"t"},"logRecords":[\n'
LOGS = Envelope(LOG_HEAD, b"]}]}]}")


def record(number: int) -> bytes:
    """Return an encoded log record."""
    return (
        f'{{"timeUnixNano":"1","eventName":"e","body":{{"stringValue":"e"}},"attributes":[],'
        f'"traceId":"{number + 1:032x}","spanId":"{number + 1:016x}"}}'
    ).encode()


BODIES = [
    pytest.param(ENVELOPE, [fragment(number) for number in range(EVENTS)], id="spans"),
    pytest.param(LOGS, [record(number) for number in range(EVENTS)], id="logs"),
]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a function that reads a segment back from a file that holds the given bytes."""
    file = Spool(str(tmp_path / "state" / "queue")).create()

    def read_back(content: bytes, envelope: Envelope = ENVELOPE) -> RecoveredSegment:
        os.ftruncate(file.descriptor.number, 0)
        os.pwrite(file.descriptor.number, content, 0)
        return RecoveredSegment(file, envelope)

    return read_back


@pytest.mark.parametrize("ids", ["", f',"traceId":"{1:032x}"', f',"spanId":"{1:016x}"'], ids=["none", "trace", "span"])
def test_a_log_record_may_have_no_ids(read: Callable[..., RecoveredSegment], ids: str) -> None:
    """A record outside of a trace is whole; one whose id, or the name of it, is damaged is not."""
    whole = f'{{"timeUnixNano":"1","eventName":"e","body":{{"stringValue":"e"}},"attributes":[]{ids}}}'
    damaged = [
        whole.replace('"e"},', '"e"},"traceXd":"1",'),
        whole[:-1] + ',"traceId":"1"}',
        whole[:-1] + ',"spanId":7}',
    ]
    segment = read(LOGS.head + ",\n".join([whole, *damaged]).encode() + LOGS.tail, LOGS)
    assert (segment.events, segment.corrupt) == (1, len(damaged))
    assert bytes(body_of([segment])) == LOGS.head + whole.encode() + b"\n" + LOGS.tail


@pytest.mark.parametrize(("envelope", "fragments"), BODIES)
def test_a_closed_segment_is_read_back_unchanged(
    read: Callable[..., RecoveredSegment], envelope: Envelope, fragments: list[bytes]
) -> None:
    """A segment is sent with its own head: the resource that logged the events."""
    own = envelope.head.replace(b'"attributes":[]', b'"attributes":[{"key":"a"}]')
    body = join(Envelope(own, envelope.tail), fragments)
    segment = read(body, envelope)
    assert (bytes(body_of([segment])), segment.events, segment.corrupt) == (body, EVENTS, 0)


@pytest.mark.fault(29)
@pytest.mark.parametrize(("envelope", "fragments"), BODIES)
@pytest.mark.parametrize("preallocated", [True, False])
def test_every_cut(
    read: Callable[..., RecoveredSegment], envelope: Envelope, fragments: list[bytes], *, preallocated: bool
) -> None:
    """At any length, all events that are whole are sent, and one that is begun is counted."""
    body = join(envelope, fragments)
    ends = [body.index(each) + len(each) for each in fragments]
    for length in range(len(body)):
        segment = read(body[:length].ljust(8192 if preallocated else 0, b"\0"), envelope)
        whole = sum(end <= length for end in ends)
        begun = length > len(envelope.head) and any(end - len(fragments[0]) < length < end for end in ends)
        assert (segment.events, segment.corrupt) == (whole, int(begun)), length
        if segment.events:
            assert span_ids(bytes(body_of([segment]))) == ids(*range(whole))


@pytest.mark.fault(29)
@pytest.mark.parametrize(("envelope", "fragments"), BODIES)
@pytest.mark.parametrize("mask", [0x01, 0x20, 0xFF])
def test_every_byte_flipped(
    read: Callable[..., RecoveredSegment], envelope: Envelope, fragments: list[bytes], mask: int
) -> None:
    """One damaged byte costs at most the event that it is in, and what lies between events costs none."""
    body = join(envelope, fragments)
    inside = {
        position: number
        for number, each in enumerate(fragments)
        for position in range(body.index(each), body.index(each) + len(each))
    }
    for position in range(len(body)):
        damaged = bytearray(body)
        damaged[position] ^= mask
        segment = read(bytes(damaged), envelope)
        found = span_ids(bytes(body_of([segment]))) if segment.events else []
        others = ids(*(number for number in range(EVENTS) if number != inside.get(position)))
        assert set(others) <= set(found), position
        assert segment.events + segment.corrupt == EVENTS, (position, found)


@pytest.mark.fault(29)
def test_a_head_of_another_kind_is_replaced(read: Read) -> None:
    """Spans under the head of log records would be lost at the endpoint."""
    segment = read(join(LOGS, [fragment(0)]))
    assert bytes(body_of([segment])) == join(ENVELOPE, [fragment(0)])


@pytest.mark.fault(29)
@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"\n" * 100, b"[" * 100_000, b"{}\n{}\n{}", bytes(range(256))])
def test_what_is_no_segment_has_no_events(read: Read, content: bytes) -> None:
    """Nothing is sent of it and nothing raised."""
    assert read(content).events == 0


@pytest.mark.fault(29)
@pytest.mark.parametrize("length", [-1, 1])
@pytest.mark.parametrize("key", ["traceId", "spanId"])
def test_an_id_of_another_length_is_damage(read: Read, key: str, length: int) -> None:
    """An id with a digit too few or too many would make a receiver refuse the whole request."""
    digits = {"traceId": 32, "spanId": 16}[key]
    whole = f'"{key}":"{1:0{digits}x}"'.encode()
    assert whole in fragment(0)
    damaged = fragment(0).replace(whole, f'"{key}":"{1:0{digits + length}x}"'.encode())
    segment = read(join(ENVELOPE, [damaged, fragment(1)]))
    assert (segment.events, segment.corrupt) == (1, 1)


TORN = fragment(9)[:-20]
REST = b"x" * len(ENVELOPE.tail)  # with the comma after it, one byte longer than the closing brackets


@pytest.mark.fault(29)
@pytest.mark.parametrize(
    ("lines", "corrupt"),
    [
        ([TORN], 1),
        ([TORN, TORN], 2),
        ([TORN, REST], 1),
        ([TORN, REST, REST], 1),
        ([REST], 1),
        ([REST[:-1]], 0),
        ([REST, fragment(0), REST], 2),
        ([TORN, fragment(0), REST], 2),
        ([fragment(0), REST, TORN], 2),
        ([b"{"], 1),
        ([b"}"], 0),
    ],
)
def test_damage_is_counted_by_events(read: Read, lines: list[bytes], corrupt: int) -> None:
    """A part that begins like an event is one. Other parts count as damaged, unless they follow a damaged event."""
    whole = sum(line == fragment(0) for line in lines)
    segment = read(ENVELOPE.head + b",\n".join(lines) + b",\n")
    assert (segment.events, segment.corrupt) == (whole, corrupt)
