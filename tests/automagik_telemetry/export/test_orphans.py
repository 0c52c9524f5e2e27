"""Segments of other processes are sent once and bounded. A second pipeline on the directory simulates them."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from automagik_telemetry.export._contract import ExportResult, Outcome, Permission
from tests.faults.bench import RETRY, SUCCESS, Bench, Sink
from tests.faults.sending import ids

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAY = 86_400.0


@pytest.fixture
def leave_orphans(tmp_path: Path) -> Callable[..., None]:
    """Return a function that leaves queued events on disk, as an ended process does."""

    def leave_orphans(*numbers: int, **options: Any) -> None:
        made = Bench(tmp_path / "state", Sink(), **options)
        made.log(*numbers)
        made.pipeline.queue.release()
        assert made.metrics()["pending"] == len(numbers)

    return leave_orphans


def test_they_are_adopted(leave_orphans: Callable[..., None], tmp_path: Path) -> None:
    """At the first look, oldest first, each once, in one request; they are counted apart from this process's own."""
    leave_orphans(0, 1)
    time.sleep(0.002)  # the order is by the millisecond
    leave_orphans(2)
    made = Bench(tmp_path / "state", Sink())
    made.pass_time(0.0)
    assert made.sink.attempts == [ids(0, 1, 2)]
    assert made.metrics()["queued"] == 0
    assert made.metrics()["recovered"]["processed"] == 3
    assert list((tmp_path / "state").rglob("*.json")) == []


def test_later_ones_are_found_later(leave_orphans: Callable[..., None], tmp_path: Path) -> None:
    """Orphans are found once a minute, or by a flush."""
    made = Bench(tmp_path / "state", Sink())
    made.pass_time(0.0)
    leave_orphans(0)
    made.pass_time(59.0)
    assert made.sink.accepted == []
    made.pass_time(1.0)
    assert made.sink.accepted == ids(0)


def test_one_that_cannot_be_sent_waits(leave_orphans: Callable[..., None], tmp_path: Path) -> None:
    """Like a batch of this process."""
    leave_orphans(0)
    made = Bench(tmp_path / "state", Sink(RETRY))
    made.pass_time(0.0)
    assert made.metrics()["recovered"]["pending"] == 1
    made.sink.answer = SUCCESS
    made.pass_time(300.0)
    assert made.sink.accepted == ids(0)


@pytest.mark.fault(9)
def test_a_server_that_asked_to_wait_gets_no_request(tmp_path: Path) -> None:
    """Retry-After is kept with the segment: no later process sends anything before."""
    first = Bench(tmp_path / "state", Sink(ExportResult(Outcome.RETRY, retry_after=500.0)))
    first.log(0)
    first.pass_time(5.0)
    first.pipeline.queue.release()
    second = Bench(tmp_path / "state", Sink(), max_export_batch_size=1)
    second.log(1)
    second.pass_time(0.0)
    for path in (tmp_path / "state").rglob("*.json"):
        os.utime(path, (1, 1))  # for the time of day does not move with the test's clock
    second.pass_time(490.0)
    assert second.sink.attempts == []
    second.pass_time(10.5)
    assert sorted(second.sink.accepted) == ids(0, 1)


@pytest.mark.fault(49)
def test_a_time_beyond_reason_is_not_believed(leave_orphans: Callable[..., None], tmp_path: Path) -> None:
    """A clock that jumped must not hold events back for years."""
    leave_orphans(0)
    for path in (tmp_path / "state").rglob("*.json"):
        os.utime(path, (2**33, 2**33))
    made = Bench(tmp_path / "state", Sink())
    made.pass_time(0.0)
    assert made.sink.accepted == ids(0)


@pytest.mark.fault(31)
def test_they_expire(leave_orphans: Callable[..., None], tmp_path: Path) -> None:
    """By the time in their name."""
    leave_orphans(0)
    for path in (tmp_path / "state").rglob("*.json"):
        path.rename(path.with_name(f"{int(time.time() - 8 * DAY) * 1000}{path.name[13:]}"))
    made = Bench(tmp_path / "state", Sink())
    made.pass_time(0.0)
    assert made.sink.attempts == []
    assert made.metrics()["recovered"]["dropped_by_reason"] == {"expired": 1}


@pytest.mark.fault(79)
@pytest.mark.parametrize("moment", [1, 4_102_444_800_000], ids=["1970", "2100"])
def test_one_with_an_impossible_date_is_new(leave_orphans: Callable[..., None], tmp_path: Path, moment: int) -> None:
    """Its clock was wrong: it is sent, and from now on as old as it is known, so that it does expire."""
    leave_orphans(0)
    (path,) = (tmp_path / "state").rglob("*.json")
    path.rename(path.with_name(f"{moment:013d}{path.name[13:]}"))
    made = Bench(tmp_path / "state", Sink(RETRY))
    made.pass_time(0.0)
    assert made.metrics()["recovered"]["pending"] == 1
    (found,) = (tmp_path / "state").rglob("*.json")
    assert found.name[13:] == path.name[13:]
    assert abs(int(found.name[:13]) / 1000 - time.time()) < DAY
    made.pass_time(8 * DAY)
    assert made.metrics()["recovered"]["dropped_by_reason"] == {"expired": 1}


@pytest.mark.fault(31)
def test_they_are_bounded(leave_orphans: Callable[..., None], tmp_path: Path) -> None:
    """The oldest are dropped until the rest is within the limit; segments of live processes don't count."""
    for number in range(6):
        leave_orphans(number)
        time.sleep(0.002)  # as above
    live = [Bench(tmp_path / "state", Sink()) for _ in range(3)]
    for each in live:
        each.log(100)
    made = Bench(tmp_path / "state", Sink(), max_disk_bytes=4 * 4096, segment_bytes=4096)
    made.pass_time(0.0)
    assert made.sink.accepted == ids(2, 3, 4, 5)
    assert made.metrics()["recovered"]["dropped_by_reason"] == {"queue_full": 2}


def test_what_killed_processes_had_allocated_does_not_count(tmp_path: Path) -> None:
    """A bound on the folder must not cost an event for the zeros behind another."""
    for number in range(20):
        killed = Bench(tmp_path / "state", Sink())
        killed.log(number)
        killed.pipeline.queue.abandon()
        time.sleep(0.002)  # as above
    made = Bench(tmp_path / "state", Sink())
    made.pass_time(0.0)
    assert made.sink.accepted == ids(*range(20))


@pytest.mark.fault(29)
def test_corrupt_events_are_counted(leave_orphans: Callable[..., None], tmp_path: Path) -> None:
    """Once, and the rest is sent."""
    leave_orphans(0, 1)
    for path in (tmp_path / "state").rglob("*.json"):
        path.write_bytes(path.read_bytes().replace(ids(1)[0].encode(), b"?" * 16))
    made = Bench(tmp_path / "state", Sink())
    made.pass_time(0.0)
    assert made.sink.accepted == ids(0)
    assert made.metrics()["recovered"]["dropped_by_reason"] == {"corrupt": 1}


def test_released_segments_are_not_counted_twice(tmp_path: Path) -> None:
    """Closed and started again, it finds its own batches; or another process has settled them meanwhile."""
    made = Bench(tmp_path / "state", Sink())
    made.log(0, 1)
    made.pipeline.close()
    assert (made.metrics()["queued"], made.metrics()["pending"]) == (2, 2)
    made.pass_time(60.0)
    assert (made.metrics()["queued"], made.metrics()["processed"]) == (2, 2)
    made.log(2)
    made.pipeline.close()
    other = Bench(tmp_path / "state", Sink())
    other.pass_time(0.0)
    assert other.sink.accepted == ids(2)
    made.pass_time(60.0)
    assert (made.metrics()["queued"], made.metrics()["pending"]) == (2, 0)


@pytest.mark.fault(35)
def test_withdrawn_consent_purges_them(leave_orphans: Callable[..., None], tmp_path: Path) -> None:
    """Withdrawn consent purges orphans, because no other process may do it."""
    leave_orphans(0)
    made = Bench(tmp_path / "state", Sink(), allowed=lambda: Permission.WITHDRAWN)
    made.tick()
    assert list((tmp_path / "state").rglob("*.json")) == []
    assert made.metrics()["recovered"]["dropped_by_reason"] == {"consent_withdrawn": 1}
