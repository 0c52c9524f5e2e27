"""What other processes left is shipped once and bounded; a second pipeline on the same folder stands in for them."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from automagik_telemetry.export._contract import ExportResult, Outcome
from tests.faults.bench import RETRY, SUCCESS, Bench, Sink
from tests.faults.sending import ids

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def leave(tmp_path: Path) -> Callable[..., None]:
    """Return a function that leaves events as an ended process does."""

    def leave(*numbers: int, **options: Any) -> None:
        made = Bench(tmp_path / "state", Sink(), **options)
        made.log(*numbers)
        made.pipeline.queue.release()
        assert made.account()["pending"] == len(numbers)

    return leave


def test_they_are_adopted(leave: Callable[..., None], tmp_path: Path) -> None:
    """At the first look, oldest first, each once; they are counted apart from this process's own."""
    leave(0, 1)
    time.sleep(0.002)  # the order is by the millisecond
    leave(2)
    made = Bench(tmp_path / "state", Sink())
    made.pass_time(0.0)
    assert made.sink.attempts == [ids(0, 1), ids(2)]
    assert made.account()["queued"] == 0
    assert made.account()["recovered"]["processed"] == 3
    assert list((tmp_path / "state").rglob("*.json")) == []


def test_later_ones_are_found_later(leave: Callable[..., None], tmp_path: Path) -> None:
    """Once a minute, or when asked to flush."""
    made = Bench(tmp_path / "state", Sink())
    made.pass_time(0.0)
    leave(0)
    made.pass_time(59.0)
    assert made.sink.accepted == []
    made.pass_time(1.0)
    assert made.sink.accepted == ids(0)


def test_one_that_cannot_be_sent_waits(leave: Callable[..., None], tmp_path: Path) -> None:
    """Like a batch of this process."""
    leave(0)
    made = Bench(tmp_path / "state", Sink(RETRY))
    made.pass_time(0.0)
    assert made.account()["recovered"]["pending"] == 1
    made.sink.answer = SUCCESS
    made.pass_time(300.0)
    assert made.sink.accepted == ids(0)


@pytest.mark.fault(9)
def test_a_server_that_asked_to_wait_is_left_alone(tmp_path: Path) -> None:
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
def test_a_time_beyond_reason_is_not_believed(leave: Callable[..., None], tmp_path: Path) -> None:
    """A clock that jumped must not hold events back for years."""
    leave(0)
    for path in (tmp_path / "state").rglob("*.json"):
        os.utime(path, (2**33, 2**33))
    made = Bench(tmp_path / "state", Sink())
    made.pass_time(0.0)
    assert made.sink.accepted == ids(0)


@pytest.mark.fault(31)
def test_they_expire(leave: Callable[..., None], tmp_path: Path) -> None:
    """By the time in their name."""
    leave(0)
    for path in (tmp_path / "state").rglob("*.json"):
        path.rename(path.with_name(f"{1:013d}{path.name[13:]}"))
    made = Bench(tmp_path / "state", Sink())
    made.pass_time(0.0)
    assert made.sink.attempts == []
    assert made.account()["recovered"]["dropped_by_reason"] == {"expired": 1}


@pytest.mark.fault(31)
def test_they_are_bounded(leave: Callable[..., None], tmp_path: Path) -> None:
    """The oldest are dropped until the rest has room; what live processes hold does not count against them."""
    for number in range(6):
        leave(number)
        time.sleep(0.002)  # as above
    live = [Bench(tmp_path / "state", Sink()) for _ in range(3)]
    for each in live:
        each.log(100)
    made = Bench(tmp_path / "state", Sink(), max_disk_bytes=4 * 4096, segment_bytes=4096)
    made.pass_time(0.0)
    assert made.sink.accepted == ids(2, 3, 4, 5)
    assert made.account()["recovered"]["dropped_by_reason"] == {"queue_full": 2}


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
def test_corrupt_events_are_counted(leave: Callable[..., None], tmp_path: Path) -> None:
    """Once, and the rest is sent."""
    leave(0, 1)
    for path in (tmp_path / "state").rglob("*.json"):
        path.write_bytes(path.read_bytes().replace(ids(1)[0].encode(), b"?" * 16))
    made = Bench(tmp_path / "state", Sink())
    made.pass_time(0.0)
    assert made.sink.accepted == ids(0)
    assert made.account()["recovered"]["dropped_by_reason"] == {"corrupt": 1}


def test_what_this_process_left_is_not_counted_twice(tmp_path: Path) -> None:
    """Closed and started again, it finds its own batches; or another process has settled them meanwhile."""
    made = Bench(tmp_path / "state", Sink())
    made.log(0, 1)
    made.pipeline.close()
    assert (made.account()["queued"], made.account()["pending"]) == (2, 2)
    made.pass_time(60.0)
    assert (made.account()["queued"], made.account()["processed"]) == (2, 2)
    made.log(2)
    made.pipeline.close()
    other = Bench(tmp_path / "state", Sink())
    other.pass_time(0.0)
    assert other.sink.accepted == ids(2)
    made.pass_time(60.0)
    assert (made.account()["queued"], made.account()["pending"]) == (2, 0)


@pytest.mark.fault(35)
def test_withdrawn_consent_purges_them(leave: Callable[..., None], tmp_path: Path) -> None:
    """Nobody else may be there to do it."""
    leave(0)
    made = Bench(tmp_path / "state", Sink(), allowed=lambda: False)
    made.tick()
    assert list((tmp_path / "state").rglob("*.json")) == []
    assert made.account()["recovered"]["dropped_by_reason"] == {"consent_withdrawn": 1}
