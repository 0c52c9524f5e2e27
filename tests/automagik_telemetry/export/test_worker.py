"""The times of requests and the fate of every event: the worker on a test's clock, without its thread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from automagik_telemetry.export._contract import ExportResult, Outcome, Permission
from tests.faults.bench import REJECTED, RETRY, SUCCESS, TOO_LARGE, Bench, Sink
from tests.faults.sending import ids, line

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(params=["mapped", "buffered", "memory"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bench]:
    """Return a maker of benches, for each storage."""
    if request.param == "buffered":
        monkeypatch.setattr("automagik_telemetry.export._spool._MAPPABLE", frozenset())

    def make(answer: Any = SUCCESS, **options: Any) -> Bench:
        made = Bench(None if request.param == "memory" else tmp_path / "state", Sink(answer), **options)
        assert made.metrics()["storage"] == request.param
        return made

    return make


def test_a_batch_that_is_not_full_waits_for_its_time(bench: Callable[..., Bench]) -> None:
    """It is sent `schedule_delay` after its first event, with all that came meanwhile."""
    made = bench(schedule_delay=5.0)
    made.log(0)
    assert made.tick() <= 5.0
    made.pass_time(4.9)
    made.log(1)
    made.pass_time(0.0)
    assert made.sink.attempts == []
    made.pass_time(0.1)
    assert made.sink.attempts == [ids(0, 1)]
    assert made.metrics()["processed"] == 2


def test_a_full_batch_is_sent_before_the_delay_is_over(bench: Callable[..., Bench]) -> None:
    """It has no more than `max_export_batch_size` events; the rest waits for its time."""
    made = bench(max_export_batch_size=2)
    made.log(*range(3))
    made.pass_time(0.0)
    assert made.sink.attempts == [ids(0, 1)]
    assert made.metrics()["pending"] == 1


def test_full_segments_share_a_batch(bench: Callable[..., Bench]) -> None:
    """A full segment is sent soon, with other full ones, up to the size of a batch."""
    made = bench(segment_bytes=1024, max_export_batch_bytes=4096, schedule_delay=5.0)
    made.log(*range(4))
    made.tick()
    assert made.sink.attempts == [], "the first segment is not full"
    made.log(*range(4, 40))
    made.tick()
    assert made.sink.attempts == []
    made.pass_time(0.2)
    shared = len(made.sink.attempts[0])
    assert shared % 5 == 0, "a segment holds five"
    assert 1 < shared // 5 <= 4, "a batch holds the bytes of four"
    made.pass_time(5.0)
    assert made.sink.accepted == ids(*range(40))


def test_what_could_not_be_sent_stays_whole(bench: Callable[..., Bench]) -> None:
    """It is sent again as it was, and nothing of it is lost when the process ends meanwhile."""
    made = bench(RETRY, segment_bytes=1024)
    made.log(*range(18))
    made.pass_time(5.0)
    attempt = made.sink.attempts[0]
    assert attempt == ids(*range(len(attempt)))
    assert made.metrics()["pending"] == 18
    made.sink.answer = SUCCESS
    made.pass_time(300.0)
    assert made.sink.attempts[1] == attempt
    assert made.metrics()["processed"] == 18


def test_a_queue_that_is_half_full_is_emptied(bench: Callable[..., Bench]) -> None:
    """A queue that is half full is sent at once, even if a batch could be larger."""
    made = bench(max_queue_size=4)
    made.log(*range(4))
    made.tick()
    assert made.sink.attempts == [ids(*range(4))]
    made = bench(segment_bytes=1024, max_disk_bytes=4096, max_memory_bytes=4096)
    for number in range(50):
        made.log(number)
        made.tick()
    assert made.metrics()["dropped"] == 0


def test_a_batch_is_full_by_bytes_too(bench: Callable[..., Bench]) -> None:
    """A body has at most `max_export_batch_bytes`."""
    made = bench(segment_bytes=1024, max_export_batch_bytes=1024)
    made.log(*range(10))
    made.pass_time(0.0)
    made.pass_time(5.0)
    assert len(made.sink.attempts) == 2, "a span has about 170 bytes here"
    assert made.sink.accepted == ids(*range(10))


@pytest.mark.fault(4)
def test_a_batch_is_tried_again_with_the_same_bytes(bench: Callable[..., Bench]) -> None:
    """As often as it takes, each time later, while new events wait behind it."""
    made = bench(RETRY)
    made.log(0, 1)
    for attempt in range(1, 8):
        made.pass_time(300.0)
        assert made.sink.attempts == [ids(0, 1)] * attempt
        made.log(attempt + 1)
    assert made.metrics()["pending"] == 9
    made.sink.answer = SUCCESS
    made.pass_time(300.0)
    assert made.sink.accepted == ids(*range(9))
    assert (made.metrics()["processed"], made.metrics()["pending_bytes"]) == (9, 0)


@pytest.mark.fault(7)
def test_nothing_is_sent_before_the_delay_is_over(bench: Callable[..., Bench]) -> None:
    """Neither the batch that failed nor a new one."""
    made = bench(ExportResult(Outcome.RETRY, retry_after=100.0), max_export_batch_size=1)
    made.log(0)
    assert made.tick() == pytest.approx(60.0), "the longest sleep"
    made.log(1)
    made.pass_time(99.5)
    assert len(made.sink.attempts) == 1
    made.pass_time(0.5)
    assert len(made.sink.attempts) == 2


@pytest.mark.fault(5, 13)
def test_a_rejected_batch_is_dropped(bench: Callable[..., Bench]) -> None:
    """It is counted, and the next one goes out at once."""
    made = bench(REJECTED, max_export_batch_size=2)
    made.log(0, 1)
    made.tick()
    made.sink.answer = ExportResult(Outcome.SUCCESS, rejected=1, detail="one")
    made.log(2, 3)
    made.tick()
    counted = made.metrics()
    assert (counted["processed"], counted["dropped_by_reason"], counted["pending"]) == (1, {"rejected": 3}, 0)
    assert made.pipeline.metrics()["last_error"] == "one"


def test_a_server_that_rejects_more_than_it_got_is_not_believed(bench: Callable[..., Bench]) -> None:
    """The metrics balance."""
    made = bench(ExportResult(Outcome.SUCCESS, rejected=1000), max_export_batch_size=2)
    made.log(0, 1)
    made.tick()
    assert made.metrics()["dropped_by_reason"] == {"rejected": 2}


@pytest.mark.fault(10)
@pytest.mark.parametrize("offender", [0, 3, 6])
def test_a_batch_that_is_too_large_is_halved_down_to_the_offender(bench: Callable[..., Bench], offender: int) -> None:
    """Only it is dropped; the others arrive, in their order, once each."""
    bad = ids(offender)[0]
    made = bench(lambda found: TOO_LARGE if bad in found else SUCCESS, max_export_batch_size=7)
    made.log(*range(7))
    made.tick()
    assert made.sink.accepted == [each for each in ids(*range(7)) if each != bad]
    assert made.metrics()["dropped_by_reason"] == {"rejected": 1}
    assert made.metrics()["processed"] == 6


@pytest.mark.fault(19)
def test_a_failure_between_the_parts_keeps_the_whole_batch(bench: Callable[..., Bench]) -> None:
    """Accepted events are sent again with the same IDs, by which the store recognizes them."""
    outage = [True]

    def answer(found: list[str]) -> ExportResult:
        if len(found) > 2:
            return TOO_LARGE
        return RETRY if ids(3)[0] in found and outage else SUCCESS

    made = bench(answer, max_export_batch_size=4)
    made.log(*range(4))
    made.tick()
    assert made.metrics()["pending"] == 4
    outage.clear()
    made.pass_time(300.0)
    assert set(made.sink.accepted) == set(ids(*range(4)))
    assert made.metrics()["processed"] == 4


def test_many_waiting_batches_share_few_files(bench: Callable[..., Bench]) -> None:
    """In an outage segments grow to their full size, which limits the number of open files."""
    made = bench(RETRY, max_export_batch_size=2)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    made.log(*range(1000))
    assert len(list(Path("/proc/self/fd").iterdir())) - descriptors < 50
    made.sink.answer = SUCCESS
    made.pass_time(300.0)
    made.pass_time(300.0)
    assert made.sink.accepted == ids(*range(1000))
    assert max(map(len, made.sink.attempts[1:])) == 2


def test_a_waiting_batch_takes_no_more_room_than_it_needs(tmp_path: Path) -> None:
    """A file is preallocated only while it grows."""
    made = Bench(tmp_path / "state", Sink(RETRY), max_export_batch_size=1)
    made.log(*range(10))
    made.tick()
    sizes = [path.stat().st_blocks * 512 for path in (tmp_path / "state").rglob("*.json")]
    assert len(sizes) == 10
    assert max(sizes) <= 8192


@pytest.mark.fault(24)
def test_the_queue_is_bounded_by_count(bench: Callable[..., Bench]) -> None:
    """One more than `max_queue_size` is dropped, and counted."""
    made = bench(RETRY, max_queue_size=5)
    made.log(*range(8))
    assert made.metrics()["dropped_by_reason"] == {"queue_full": 3}
    made.sink.answer = SUCCESS
    made.pass_time(5.0)
    assert made.sink.accepted == ids(*range(5))


@pytest.mark.fault(31)
def test_the_queue_is_bounded_by_bytes(bench: Callable[..., Bench]) -> None:
    """The oldest batches are dropped for new ones, and counted."""
    made = bench(RETRY, segment_bytes=2048, max_disk_bytes=8192, max_memory_bytes=8192)
    for number in range(200):
        made.log(number)
        made.tick()
        assert made.metrics()["pending_bytes"] <= 8192
    dropped = made.metrics()["dropped_by_reason"]
    assert list(dropped) == ["queue_full"]
    made.sink.answer = SUCCESS
    for _ in range(20):
        made.pass_time(300.0)
    assert made.sink.accepted == ids(*range(dropped["queue_full"], 200)), "the newest are kept"


@pytest.mark.fault(24)
def test_without_a_worker_the_newest_are_dropped(bench: Callable[..., Bench]) -> None:
    """A queue that is never emptied stays within its limits."""
    made = bench(segment_bytes=2048, max_disk_bytes=8192, max_memory_bytes=8192)
    made.log(*range(200))
    counted = made.metrics()
    assert counted["pending_bytes"] <= 8192
    assert counted["dropped_by_reason"] == {"queue_full": 200 - counted["pending"]}


@pytest.mark.fault(11)
def test_an_event_that_is_too_large_is_refused(bench: Callable[..., Bench]) -> None:
    """An event above the limit is dropped, even if a segment has space for it."""
    made = bench(max_event_bytes=400)
    made.pipeline.queue.append(line(0, padding=400))
    made.log(1)
    made.pipeline.queue.append(line(2, padding=400))
    made.pass_time(5.0)
    assert made.metrics()["dropped_by_reason"] == {"too_large": 2}
    assert made.sink.accepted == ids(1)


@pytest.mark.fault(11)
def test_an_event_that_no_segment_can_hold_is_refused(bench: Callable[..., Bench]) -> None:
    """Even if the limits would allow it."""
    made = bench(segment_bytes=1024)
    made.pipeline.queue.append(line(0, padding=1024))
    made.log(1)
    made.pass_time(5.0)
    assert made.metrics()["dropped_by_reason"] == {"too_large": 1}
    assert made.sink.accepted == ids(1)


@pytest.mark.fault(31, 49)
def test_a_batch_expires(bench: Callable[..., Bench]) -> None:
    """After `max_age` it is dropped, and counted; by a clock that does not jump with the time of day."""
    made = bench(RETRY, max_age=3600.0)
    made.log(0, 1)
    made.pass_time(3599.0)
    assert made.metrics()["pending"] == 2
    made.log(2)
    made.pass_time(2.0)
    assert made.metrics()["dropped_by_reason"] == {"expired": 2}


@pytest.mark.fault(35)
def test_withdrawn_consent_purges(bench: Callable[..., Bench]) -> None:
    """Nothing more is sent, and nothing is left."""
    given = [True]
    made = bench(RETRY, allowed=lambda: Permission.GRANTED if given else Permission.WITHDRAWN, max_export_batch_size=2)
    made.log(0, 1, 2)
    made.tick()
    given.clear()
    made.pass_time(300.0)
    assert len(made.sink.attempts) == 1
    counted = made.metrics()
    assert (counted["dropped_by_reason"], counted["pending_bytes"]) == ({"consent_withdrawn": 3}, 0)


def test_an_unexpected_failure_keeps_the_batch(bench: Callable[..., Bench]) -> None:
    """After an exception in the thread the batch is put back, and the metrics balance."""
    made = bench()
    made.log(0)
    made.now += 5.0
    made.sink.answer = lambda _found: 1 / 0  # type: ignore[assignment,return-value]
    with pytest.raises(ZeroDivisionError):
        made.tick()
    made.pipeline.queue.put_back()
    assert made.metrics()["pending"] == 1
    made.sink.answer = SUCCESS
    made.tick()
    assert made.sink.accepted == ids(0)


def test_memory_survives_a_close(tmp_path: Path) -> None:
    """Closing releases files; segments in memory are kept for the next start."""
    made = Bench(None, Sink())
    made.log(0)
    made.pipeline.close()
    assert made.metrics()["pending"] == 1
    made.pass_time(5.0)
    assert made.sink.accepted == ids(0)
    assert list(tmp_path.rglob("*.json")) == []
