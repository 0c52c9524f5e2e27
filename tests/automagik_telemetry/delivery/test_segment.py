"""A segment's file is a request body, whatever stores it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from automagik_telemetry.delivery.batch import Batch
from automagik_telemetry.delivery.envelope import SEPARATOR, join, split
from automagik_telemetry.delivery.recovery import AdoptedSegment
from automagik_telemetry.delivery.segment import BufferedSegment, MappedSegment, MemorySegment
from automagik_telemetry.delivery.spool import Spool
from tests.faults.sending import ENVELOPE, fragment, ids
from tests.faults.server import span_ids

if TYPE_CHECKING:
    from pathlib import Path

CAPACITY = 4096


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return an empty folder."""
    return Spool(str(tmp_path / "state" / "queue"))


@pytest.fixture(params=["mapped", "buffered", "memory"])
def segment(request: pytest.FixtureRequest, spool: Spool) -> MemorySegment:
    """Return an empty, open segment of each storage."""
    if request.param == "memory":
        return opened(MemorySegment(ENVELOPE, CAPACITY))
    storage = MappedSegment if request.param == "mapped" else BufferedSegment
    return opened(storage(ENVELOPE, CAPACITY, spool.create()))


def opened(segment: MemorySegment) -> MemorySegment:
    """Return the segment, open."""
    segment.open()
    return segment


def append(segment: MemorySegment, event: bytes) -> bool:
    """Write an event into a segment as the queue does; False if it does not fit."""
    try:
        segment.write(event + SEPARATOR)
    except ValueError:
        return False
    return True


def content(segment: MemorySegment) -> bytes:
    """Return the body, and give back what it lay in."""
    with Batch([segment]).body(bytearray(7)) as body:
        return bytes(body)


def files(spool: Spool) -> list[bytes]:
    """Return what the files hold."""
    contents = []
    for name in spool.names():
        with open(spool.path(name), "rb") as file:  # noqa: PTH123 - a path as the spool gives it
            contents.append(file.read())
    return contents


def test_a_sealed_segment_is_the_request_body(segment: MemorySegment, spool: Spool) -> None:
    """Byte for byte, in memory and on disk, and sealing twice changes nothing."""
    fragments = [fragment(number) for number in range(5)]
    assert all(append(segment, each) for each in fragments)
    segment.seal()
    segment.seal()
    body = content(segment)
    assert body == ENVELOPE.head + b",\n".join(fragments) + b"\n" + ENVELOPE.tail == join(ENVELOPE, fragments)
    assert span_ids(body) == ids(*range(5))
    assert (segment.events, segment.size) == (5, len(body))
    assert not append(segment, fragment(5)), "it is sealed"
    segment.trim()
    assert content(segment) == body
    assert files(spool) in ([body], [])
    assert split(body) == (ENVELOPE, fragments)


def test_a_full_segment_takes_no_more(segment: MemorySegment) -> None:
    """What does not fit is refused, and the sealed body stays within the capacity."""
    taken = 0
    while append(segment, fragment(taken)):
        taken += 1
    segment.seal()
    assert segment.events == taken
    assert CAPACITY - len(fragment(0)) - 2 <= len(content(segment)) <= CAPACITY
    assert not append(segment, fragment(0)), "it is sealed"
    assert span_ids(content(segment)) == ids(*range(taken))


def test_a_mapped_event_is_in_the_file_at_once(spool: Spool) -> None:
    """An append needs no flush to outlive the process; the file is preallocated, not sparse."""
    segment = opened(MappedSegment(ENVELOPE, CAPACITY, file := spool.create()))
    append(segment, fragment(0))
    (content,) = files(spool)
    assert content == (ENVELOPE.head + fragment(0) + b",\n").ljust(CAPACITY, b"\0")
    assert os.fstat(file.descriptor).st_blocks * 512 >= CAPACITY


def test_a_buffered_event_is_in_the_file_when_written_out(spool: Spool) -> None:
    """Each write adds what came since the last."""
    segment = opened(BufferedSegment(ENVELOPE, CAPACITY, spool.create()))
    written = ENVELOPE.head
    for number in range(3):
        append(segment, fragment(number))
        segment.write_out()
        written += fragment(number) + b",\n"
        assert files(spool) == [written]


@pytest.mark.parametrize("sealed", [True, False])
def test_a_released_segment_is_left_as_a_request(segment: MemorySegment, spool: Spool, *, sealed: bool) -> None:
    """Its file can be locked by others and holds a whole body; a segment in memory stays what it is."""
    append(segment, fragment(0))
    if sealed:
        segment.seal()
    path = segment.release()
    if path is None:
        segment.seal()
        assert span_ids(content(segment)) == ids(0)
        return
    (name,) = spool.names()
    assert spool.path(name) == path
    assert files(spool) == [join(ENVELOPE, [fragment(0)])]
    assert Spool(spool.directory).adopt(name) is not None


def test_an_abandoned_segment_is_untouched(segment: MemorySegment, spool: Spool) -> None:
    """The child of a fork lets go without closing the brackets, for the parent goes on."""
    append(segment, fragment(0))
    segment.write_out()
    before = files(spool)
    segment.abandon()
    assert files(spool) == before


def test_a_removed_segment_leaves_nothing(segment: MemorySegment, spool: Spool) -> None:
    """Open or sealed."""
    append(segment, fragment(0))
    segment.remove()
    assert spool.names() == []


@pytest.mark.parametrize("aged", [False, True])
def test_a_recycled_segment_begins_anew_in_its_file(
    segment: MemorySegment, spool: Spool, monkeypatch: pytest.MonkeyPatch, *, aged: bool
) -> None:
    """With nothing of what it held, under a name of now if it is older."""
    append(segment, fragment(0))
    segment.seal()
    before, later = spool.names(), time.time() + 61.0
    if aged:
        monkeypatch.setattr(time, "time", lambda: later)
        monkeypatch.setattr(time, "time_ns", lambda: int(later * 1e9))
    if not segment.recycle():
        assert isinstance(segment, BufferedSegment)
        return
    if isinstance(segment, MappedSegment):
        assert files(spool) == [ENVELOPE.head.ljust(CAPACITY, b"\0")]
        assert (spool.names() != before) is aged
        assert [spool.adopt(name) for name in spool.names()] == [None], "it is held by its new name"
    assert not append(segment, fragment(1)), "a caller that comes late must not write into it"
    segment.open()
    append(segment, fragment(1))
    segment.seal()
    assert content(segment) == join(ENVELOPE, [fragment(1)])
    segment.trim()
    assert segment.recycle() != isinstance(segment, MappedSegment), "its blocks are gone"


def test_a_spare_that_a_killed_process_left_holds_nothing(spool: Spool) -> None:
    """Whoever finds it finds no event, and nothing corrupt."""
    segment = MappedSegment(ENVELOPE, CAPACITY, spool.create())
    segment.abandon()
    (name,) = spool.names()
    file = Spool(spool.directory).adopt(name)
    assert file is not None
    found = AdoptedSegment(file, ENVELOPE)
    assert (found.events, found.corrupt) == (0, 0)


def test_an_event_that_comes_while_a_segment_is_closed_is_in_it_or_refused(segment: MemorySegment) -> None:
    """Closing takes two steps, and between them other threads may still write."""
    real, taken = segment._map, []

    class Interrupted:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def __getitem__(self, key: slice) -> bytes:
            return real[key]

        def __setitem__(self, key: slice, value: bytes) -> None:
            real[key] = value

        def __len__(self) -> int:
            return len(real)

        def tell(self) -> int:
            end = real.tell()
            taken.append(append(segment, fragment(1)))
            return end

    assert append(segment, fragment(0))
    segment._map = Interrupted()  # type: ignore[assignment]  # it stands in for the map
    segment.close()
    segment._map = real
    assert taken == [True]
    assert not append(segment, fragment(2))
    assert segment.events == 2
    assert content(segment) == join(ENVELOPE, [fragment(0), fragment(1)])


def test_segments_that_share_a_request(spool: Spool) -> None:
    """The body is one request, whatever stores its parts, full to the last byte and trimmed ones too."""
    file = spool.create()
    segments = [
        opened(MappedSegment(ENVELOPE, CAPACITY, file)),
        opened(MemorySegment(ENVELOPE, CAPACITY)),
        opened(BufferedSegment(ENVELOPE, CAPACITY, spool.create())),
        opened(MappedSegment(ENVELOPE, CAPACITY, spool.create())),
        opened(MappedSegment(ENVELOPE, CAPACITY, spool.create())),
    ]
    for number, segment in enumerate(segments):
        append(segment, fragment(number))
    whole = len(segments[0]._map) - segments[0].size - len(fragment(0)) - len(SEPARATOR)
    assert append(segments[0], fragment(9, padding=whole)), "to the last byte of the map"
    for segment in segments:
        segment.seal()
    segments[3].trim()
    batch, scratch = Batch(segments), bytearray()
    expected = join(ENVELOPE, [fragment(0), fragment(9, padding=whole), *map(fragment, range(1, 5))])
    for _ in range(2):
        with batch.body(scratch) as body:
            assert body == expected
    assert batch.events == 6
    assert os.pread(file.descriptor, CAPACITY, 0).rstrip(b"\0") == join(
        ENVELOPE, [fragment(0), fragment(9, padding=whole)]
    )
    assert not segments[0].recycle(), "what closes its brackets lies outside of its map"
