"""A segment is a request body, in any storage."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from automagik_telemetry.export._body import SEPARATOR, join, split
from automagik_telemetry.export._recovery import RecoveredSegment
from automagik_telemetry.export._segment import Segment, body_of
from automagik_telemetry.export._spool import Spool
from tests.faults.sending import ENVELOPE, fragment, ids
from tests.faults.server import span_ids

if TYPE_CHECKING:
    from pathlib import Path

CAPACITY = 4096


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return an empty folder."""
    return Spool(str(tmp_path / "state" / "queue"))


def made(storage: str, spool: Spool) -> Segment:
    """Return an empty segment of a storage."""
    if storage == "memory":
        return Segment(ENVELOPE, CAPACITY)
    file = spool.create()
    if storage == "mapped":
        assert file.preallocate(CAPACITY)
    return Segment(ENVELOPE, CAPACITY, file, mapped=storage == "mapped")


@pytest.fixture(params=["mapped", "buffered", "memory"])
def segment(request: pytest.FixtureRequest, spool: Spool) -> Segment:
    """Return an empty segment of each storage."""
    return made(request.param, spool)


def append(segment: Segment, event: bytes) -> bool:
    """Append an event; False if it does not fit."""
    return segment.append(event + SEPARATOR)


def content(segment: Segment) -> bytes:
    """Return the body of a closed segment."""
    return bytes(body_of([segment]))


def files(spool: Spool) -> list[bytes]:
    """Return what the files hold."""
    contents = []
    for name in spool.names():
        with open(spool.path(name), "rb") as file:  # noqa: PTH123 - a path as the spool gives it
            contents.append(file.read())
    return contents


def test_a_closed_segment_is_the_request_body(segment: Segment, spool: Spool) -> None:
    """Byte for byte, in memory and on disk, and closing twice changes nothing."""
    fragments = [fragment(number) for number in range(5)]
    assert all(append(segment, each) for each in fragments)
    segment.close()
    segment.close()
    segment.write_out()
    body = content(segment)
    assert body == ENVELOPE.head + b",\n".join(fragments) + b"\n" + ENVELOPE.tail == join(ENVELOPE, fragments)
    assert span_ids(body) == ids(*range(5))
    assert (segment.events, segment.closed_size) == (5, len(body))
    assert not append(segment, fragment(5)), "it is closed"
    segment.trim()
    assert content(segment) == body
    assert files(spool) in ([body], [])
    assert split(body) == (ENVELOPE, fragments)


def test_a_full_segment_takes_no_more(segment: Segment) -> None:
    """An event that does not fit is rejected, and the closed body stays within the capacity."""
    taken = 0
    while append(segment, fragment(taken)):
        taken += 1
    segment.close()
    assert segment.events == taken
    assert CAPACITY - len(fragment(0)) - 2 <= len(content(segment)) <= CAPACITY
    assert not append(segment, fragment(0)), "it is closed"
    assert span_ids(content(segment)) == ids(*range(taken))


def test_a_mapped_event_is_in_the_file_at_once(spool: Spool) -> None:
    """An append needs no flush to outlive the process; the file is preallocated, not sparse."""
    segment = made("mapped", spool)
    append(segment, fragment(0))
    (content,) = files(spool)
    assert content == (ENVELOPE.head + fragment(0) + b",\n").ljust(CAPACITY, b"\0")
    assert segment.file is not None
    assert os.stat(segment.file.path).st_blocks * 512 >= CAPACITY  # noqa: PTH116 - a path as the spool gives it


def test_a_buffered_event_is_in_the_file_when_written_out(spool: Spool) -> None:
    """Each write adds what came since the last."""
    segment = made("buffered", spool)
    written = ENVELOPE.head
    for number in range(3):
        append(segment, fragment(number))
        segment.write_out()
        written += fragment(number) + b",\n"
        assert files(spool) == [written]


@pytest.mark.parametrize("closed", [True, False])
def test_a_released_segment_is_a_complete_request(segment: Segment, spool: Spool, *, closed: bool) -> None:
    """A released file is unlocked and has a whole body; a segment in memory is unchanged."""
    append(segment, fragment(0))
    if closed:
        segment.close()
    path = segment.release()
    if path is None:
        assert span_ids(content(segment)) == ids(0)
        return
    (name,) = spool.names()
    assert spool.path(name) == path
    assert files(spool) == [join(ENVELOPE, [fragment(0)])]
    assert Spool(spool.directory).adopt(name) is not None


def test_an_abandoned_segment_is_untouched(segment: Segment, spool: Spool) -> None:
    """The child of a fork discards the segment without closing the brackets, because the parent appends to it."""
    append(segment, fragment(0))
    segment.write_out()
    before = files(spool)
    segment.abandon()
    assert files(spool) == before


def test_a_removed_segment_leaves_nothing(segment: Segment, spool: Spool) -> None:
    """The file is deleted with any content."""
    append(segment, fragment(0))
    segment.remove()
    assert spool.names() == []


def test_an_empty_segment_of_a_killed_process_has_no_events(spool: Spool) -> None:
    """A recovered empty segment has no event, and none corrupt."""
    made("mapped", spool).abandon()
    (name,) = spool.names()
    file = Spool(spool.directory).adopt(name)
    assert file is not None
    found = RecoveredSegment(file, ENVELOPE)
    assert (found.events, found.corrupt) == (0, 0)


@pytest.mark.parametrize("step", ["seek", "find"])
def test_an_event_that_comes_while_a_segment_is_closed_is_in_it_or_refused(segment: Segment, step: str) -> None:
    """A signal handler may log between the steps of closing."""
    real: Any = segment._map
    taken: list[None] = []

    class Interrupted:
        def __getattr__(self, name: str) -> Any:
            if name == step and not taken:
                taken.append(None)
                with contextlib.suppress(ValueError):
                    real.write(fragment(1) + SEPARATOR)  # an append that had begun
            return getattr(real, name)

        def __getitem__(self, key: slice) -> bytes:
            return bytes(real[key])

        def __setitem__(self, key: slice, value: bytes) -> None:
            real[key] = value

        def __len__(self) -> int:
            return len(real)

    assert append(segment, fragment(0))
    segment._map = Interrupted()  # type: ignore[assignment]  # it stands in for the map
    segment.close()
    segment._map = real
    assert not append(segment, fragment(2))
    expected = [fragment(0)] if step == "find" else [fragment(0), fragment(1)]
    assert segment.events == len(expected)
    assert content(segment) == join(ENVELOPE, expected)


def test_segments_that_share_a_request(spool: Spool) -> None:
    """The body is one request for any storage of its parts: full, trimmed and empty ones."""
    segments = [made(storage, spool) for storage in ("mapped", "memory", "buffered", "mapped", "mapped")]
    for number, segment in enumerate(segments[:4]):
        append(segment, fragment(number))
    whole = segments[0]._room - segments[0].size - len(fragment(0)) - len(SEPARATOR)
    assert not append(segments[0], fragment(9, padding=whole + 1))
    assert append(segments[0], fragment(9, padding=whole)), "to the last byte"
    for segment in segments:
        segment.close()
    segments[3].trim()
    expected = [fragment(0), fragment(9, padding=whole), *map(fragment, range(1, 4))]
    assert body_of(segments) == body_of(segments) == join(ENVELOPE, expected)
    assert join(ENVELOPE, expected[:2]) in [content.rstrip(b"\0") for content in files(spool)]


def test_a_segment_knows_what_it_holds(segment: Segment) -> None:
    """Open, closed, trimmed or deleted."""
    event = fragment(0) + SEPARATOR
    assert not segment.holds(event)
    segment.append(event)
    assert segment.holds(event)
    segment.append(fragment(1) + SEPARATOR)
    segment.close()
    segment.trim()
    assert segment.holds(event)
    assert not segment.holds(fragment(2) + SEPARATOR)
    segment.remove()
    assert not segment.holds(event)
