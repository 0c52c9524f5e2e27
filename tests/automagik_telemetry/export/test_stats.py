"""Delivery stats are exact, through interrupts, beside other processes and with any files in the directory."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automagik_telemetry.export._contract import ExportResult, Outcome
from automagik_telemetry.export._spool import Spool
from automagik_telemetry.export._stats import PAGE_BYTES, DeliveryStats, Page, Totals
from tests.faults.bench import REJECTED, RETRY, SUCCESS, Bench, Sink
from tests.faults.sending import ids

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return a destination's folder."""
    return Spool(str(tmp_path / "state" / "queue"))


def attached(spool: Spool) -> DeliveryStats:
    """Return stats that count in the folder."""
    stats = DeliveryStats()
    stats.attach(spool)
    return stats


def pages(spool: Spool) -> list[str]:
    """Return the names of the pages."""
    return [name for name in os.listdir(spool.directory) if name.endswith(".stats")]  # noqa: PTH208 - names alone


def count(stats: DeliveryStats, delivered: int, **dropped: int) -> None:
    """Count the events of a segment."""
    with stats.lock:
        stats.settle(1, delivered, dropped)
        stats.settled()


def test_processes_that_run_at_once_count_on_pages_of_their_own(spool: Spool) -> None:
    """The totals are the sum of all processes, and each process has its own counts."""
    one, other = attached(spool), attached(spool)
    count(one, 3, rejected=1)
    count(other, 4, rejected=1, expired=2)
    one.drop("queue_full")
    assert len(pages(spool)) == 2
    assert spool.totals()[:2] == (7, {"rejected": 2, "expired": 2, "queue_full": 1})
    assert one.own() == (3, {"rejected": 1, "queue_full": 1})
    modes = {stat.S_IMODE(os.stat(spool.path(name)).st_mode) for name in pages(spool)}  # noqa: PTH116 - as the spool
    assert modes == {0o600}


def test_a_process_reuses_the_page_of_one_that_has_ended(spool: Spool) -> None:
    """Pages are reused by later processes; earlier counts are not this process's own."""
    for _ in range(5):
        stats = attached(Spool(spool.directory))
        count(stats, 2)
        assert stats.own() == (2, {})
        del stats
    assert len(pages(spool)) == 1
    assert spool.totals().delivered == 10


def test_counts_from_before_the_folder_was_known_are_kept(spool: Spool) -> None:
    """The first event of a process makes the folder; a line that is not an event may come before."""
    stats = DeliveryStats()
    stats.drop("unknown_event", 3)
    stats.attach(spool)
    assert stats.own() == (0, {"unknown_event": 3})
    assert spool.totals().dropped == {"unknown_event": 3}


@pytest.mark.fault(85)
def test_a_kill_at_any_store_of_settling_counts_all_or_nothing(tmp_path: Path) -> None:
    """The next process counts the segment as settled and deletes it, or finds it uncounted and sends it."""

    class Killed(BaseException):
        pass

    class Words:
        """Words of a page, of which the process is killed before a certain store."""

        def __init__(self, words: Any, stores: int) -> None:
            self.words, self.left = words, stores

        def __getitem__(self, word: int) -> int:
            return int(self.words[word])

        def __setitem__(self, word: int, value: int) -> None:
            if self.left == 0:
                raise Killed
            self.left -= 1
            self.words[word] = value

        def release(self) -> None:
            self.words.release()

    outcomes = set()
    for stores in range(20):
        state = tmp_path / f"state {stores}"
        killed = Bench(state, Sink(ExportResult(Outcome.SUCCESS, rejected=1)), max_export_batch_size=3)
        page = killed.pipeline.stats._page
        killed.log(0, 1, 2)
        page.words = Words(page.words, stores)  # type: ignore[assignment]  # they stand in for the words
        try:
            killed.tick()
        except Killed:
            page.words = page.words.words  # type: ignore[attr-defined]  # see above
            killed.pipeline.queue.abandon()
            page.abandon()
        counted = killed.pipeline.spool.totals() if killed.pipeline.spool else None
        assert counted is not None
        assert (counted.delivered, counted.dropped) in ((0, {}), (2, {"rejected": 1}))
        after = Bench(state, Sink())
        after.pass_time(0.0)
        outcomes.add((counted.delivered, tuple(after.sink.accepted)))
        assert after.pipeline.spool is not None
        totals = after.pipeline.spool.totals()
        assert totals.delivered + sum(totals.dropped.values()) == 3, stores
        assert list(state.rglob("*.json")) == []
    assert outcomes == {(0, tuple(ids(0, 1, 2))), (2, ())}, "both were tried"


@pytest.mark.fault(85)
def test_an_orphan_that_was_counted_is_recognized_by_others(tmp_path: Path) -> None:
    """A process that runs already meets the segment before anyone has taken over the page."""
    running = Bench(tmp_path / "state", Sink())
    killed = Bench(tmp_path / "state", Sink(), max_export_batch_size=1)
    killed.log(0)
    (segment,) = killed.pipeline.queue.take()
    with killed.pipeline.stats.lock:
        killed.pipeline.stats.settle(segment.id, 1, {})
    killed.pipeline.queue.abandon()
    running.pass_time(60.0)
    assert running.sink.attempts == []
    assert list((tmp_path / "state").rglob("*.json")) == []
    assert running.pipeline.spool is not None
    assert running.pipeline.spool.totals().delivered == 1


def test_a_worker_writes_its_state_after_each_request(tmp_path: Path) -> None:
    """The outcome, and when the next attempt may be."""
    made = Bench(tmp_path / "state", Sink(REJECTED), max_export_batch_size=1)

    def totals() -> Totals:
        assert made.pipeline.spool is not None
        return made.pipeline.spool.totals()

    made.log(0)
    made.tick()
    assert totals().dropped == {"rejected": 1}
    made.sink.answer = RETRY
    made.log(1)
    made.tick()
    assert (totals().state["failures"], totals().state["last_success"]) == (1, None)
    made.sink.answer = SUCCESS
    made.pass_time(300.0)
    assert (totals().state["failures"], totals().delivered) == (0, 1)
    assert totals().state["last_success"]
    retry_at = totals().state["retry_at"]
    made.sink.answer = ExportResult(Outcome.RETRY, retry_after=1000.0)
    made.log(2)
    made.tick()
    assert totals().state["retry_at"] > retry_at + 900


def test_more_reasons_than_a_page_has_room_for_share_a_counter(spool: Spool) -> None:
    """A processor of the application's own may drop events for any reason, at any length."""
    stats = attached(spool)
    for number in range(100):
        stats.drop(f"reason {number} {'x' * number}")
    stats.record({f"cut {number}": 1 for number in range(10)})
    assert sum(stats.own().dropped.values()) == 100
    totals = spool.totals()
    assert sum(totals.dropped.values()) == 100
    assert totals.recorded == {"other": 1}
    assert 40 < len(totals.dropped) < 48


@pytest.mark.parametrize("mapped", [True, False])
def test_counts_of_what_was_recorded_are_set(spool: Spool, *, mapped: bool) -> None:
    """A recorder counts by itself, and the page has the sum of all processes."""
    spool.mappable = mapped
    for _ in range(2):
        stats = attached(spool)
        stats.record({"traces": 1})
        stats.record({"traces": 3, "not_sampled": 2})
        stats.write_out()
        stats._page.close()
    assert spool.totals().recorded == {"traces": 6, "not_sampled": 4}


@pytest.mark.fault(34)
@pytest.mark.parametrize("fault", ["hard link", "symbolic link", "loose", "directory"])
def test_a_page_that_others_can_read_is_not_used(spool: Spool, tmp_path: Path, fault: str) -> None:
    """Neither written nor read; the process counts on a page of its own."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"AMSTATS1".ljust(PAGE_BYTES, b"\1"))
    precious.chmod(0o644 if fault == "loose" else 0o600)
    place = tmp_path / "state" / "queue" / f"{1:013d}-{'0' * 16}.stats"
    if fault == "directory":
        place.mkdir()
    elif fault == "symbolic link":
        place.symlink_to(precious)
    elif fault == "hard link":
        place.hardlink_to(precious)
    else:
        precious.rename(place)
        precious = place
    before = precious.read_bytes()
    stats = attached(spool)
    count(stats, 1)
    assert precious.read_bytes() == before
    assert len(pages(spool)) == 2
    if fault != "hard link":  # which is this user's own file, to read
        assert spool.totals().delivered == 1


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much])
@given(st.binary(max_size=300) | st.binary(min_size=50, max_size=50).map(lambda part: b"AMSTATS1" + part * 90))
def test_whatever_stands_on_a_page(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """A truncated or malformed page is ignored or reset; nothing is raised."""
    spool = Spool(str(tmp_path_factory.mktemp("state") / "queue"))
    file = spool.create(".stats")
    file.write(content[:PAGE_BYTES], 0)
    file.close()
    spool.totals()
    stats = attached(spool)
    count(stats, 1, rejected=2)
    assert stats.own() == (1, {"rejected": 2})
    spool.totals()


def test_a_page_in_memory_counts_as_one_on_disk() -> None:
    """Without a directory, counts are the same, in memory."""
    stats = DeliveryStats()
    stats.attach(None)
    count(stats, 1, rejected=2)
    stats.write_out()
    assert stats.own() == (1, {"rejected": 2})
    assert Page().counters() == {}
