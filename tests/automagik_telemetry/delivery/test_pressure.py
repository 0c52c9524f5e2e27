"""While events come faster than they are sent: files that go round, few questions, and a count without counting."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, ClassVar

import pytest

from automagik_telemetry.delivery.segment import MappedSegment
from automagik_telemetry.delivery.told import read_told
from tests.faults.bench import RETRY, SUCCESS, Bench, Sink
from tests.faults.sending import ids, line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from automagik_telemetry.delivery.exporter import ExportResult


def files(tmp_path: Path) -> list[Path]:
    """Return the segments on disk."""
    return sorted((tmp_path / "state").rglob("*.json"))


def logging_while_sent(tmp_path: Path, *numbers: int) -> Bench:
    """Return a bench with batches of two events, that logs one of `numbers` whenever a batch is on its way."""
    waiting = list(numbers)

    def answer(_found: list[str]) -> ExportResult:
        if waiting:
            made.log(waiting.pop(0))
        return SUCCESS

    made = Bench(tmp_path / "state", Sink(answer), max_export_batch_size=2)
    return made


def test_a_busy_queue_has_its_files_go_round(tmp_path: Path) -> None:
    """What is delivered makes room for what comes, in the same file; when nothing comes, nothing is left."""
    made = logging_while_sent(tmp_path, *range(2, 20, 2))
    made.log(0, 1)
    nodes = set()
    for number in range(3, 21, 2):
        nodes |= {path.stat().st_ino for path in files(tmp_path)}
        made.tick()
        made.log(number)
    assert len(nodes) == 2
    made.pass_time(0.0)
    assert made.sink.accepted == ids(*range(20))
    assert files(tmp_path) == []


def test_a_spare_file_is_deleted_at_the_end(tmp_path: Path) -> None:
    """A process that ends with events in one file leaves that one only."""
    made = logging_while_sent(tmp_path, 2)
    made.log(0, 1)
    made.tick()
    assert len(files(tmp_path)) == 2, "one for the event that waits, one to spare"
    made.pipeline.queue.release()
    assert len(files(tmp_path)) == 1
    assert made.account()["pending"] == 1


@pytest.mark.fault(24)
def test_the_disk_is_bounded_whatever_is_to_spare(tmp_path: Path) -> None:
    """Files that go round and large ones count as what they take."""
    most = 0

    def answer(_found: list[str]) -> ExportResult:
        nonlocal most
        made.log(*range(1000 * len(made.sink.attempts), 1000 * len(made.sink.attempts) + 200))
        most = max(most, sum(path.stat().st_blocks * 512 for path in files(tmp_path)))
        return SUCCESS

    made = Bench(tmp_path / "state", Sink(answer), segment_bytes=8192, max_disk_bytes=65536)
    made.log(*range(100))
    for _ in range(20):
        made.now += 5.0
        made.tick()
    assert set(made.account()["dropped_by_reason"]) == {"queue_full"}
    assert 32768 < most <= 65536


@pytest.mark.fault(35)
def test_consent_is_asked_for_once_a_second_at_most(tmp_path: Path) -> None:
    """But before a flush anew."""
    asked = []

    def allowed() -> bool:
        asked.append(True)
        return True

    made = Bench(tmp_path / "state", Sink(), max_export_batch_size=1, allowed=allowed)
    for number in range(5):
        made.log(number)
        made.pass_time(0.0)
    assert len(asked) == 1
    made.pass_time(1.0)
    assert len(asked) == 2
    made.pipeline.listener._flushes_asked += 1
    made.tick()
    assert len(asked) == 3


def test_the_account_on_disk_is_written_once_a_second_at_most(tmp_path: Path) -> None:
    """A failure is told at once, and all is told in the end."""
    made = Bench(tmp_path / "state", Sink(), max_export_batch_size=1)
    (folder,) = map(str, (tmp_path / "state" / "queue").iterdir())
    for number in range(3):
        made.log(number)
        made.pass_time(0.0)
    assert read_told(folder)["processed"] == 1
    assert made.tick() == 1.0
    made.pass_time(1.0)
    assert read_told(folder)["processed"] == 3
    made.sink.answer = RETRY
    made.log(3)
    made.tick()
    assert read_told(folder)["failures"] == 1


def test_threads_share_a_queue(tmp_path: Path) -> None:
    """Each event of four threads is delivered once, while another closes what they write to; the account adds up."""
    made = Bench(tmp_path / "state", Sink(), max_export_batch_size=50)
    events = [[line(1_000_000 * thread + number) for number in range(5_000)] for thread in range(4)]
    threads = [
        threading.Thread(target=lambda each=each: [made.pipeline.append(one) for one in each]) for each in events
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        made.pipeline.queue.rotate()
        made.tick()
    made.pass_time(5.0)
    assert sorted(made.sink.accepted) == sorted(
        ids(*(1_000_000 * thread + n for thread in range(4) for n in range(5_000)))
    )
    assert made.account()["queued"] == 20_000


class Verified(MappedSegment):
    """A segment that counts its lines whatever is known of them, and keeps both."""

    counts: ClassVar[list[tuple[int | None, int]]]

    def close(self, appended: Callable[[], int | None] = lambda: None) -> None:
        """Take no more."""
        found: list[int | None] = []

        def once() -> int | None:
            found.append(appended())
            return found[0]

        super().close(once)
        self.counts.extend((each, self._count(self._end)) for each in found)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int | None, int]]:
    """Return what was known of each segment's events when it was closed, and its lines."""
    Verified.counts = []
    monkeypatch.setattr("automagik_telemetry.delivery.queue.MappedSegment", Verified)
    return Verified.counts


def test_one_thread_leaves_nothing_to_count(tmp_path: Path, counts: list[tuple[int | None, int]]) -> None:
    """Whatever closes a segment."""
    made = Bench(tmp_path / "state", Sink(), segment_bytes=4096, max_export_batch_size=15)
    made.log(*range(100))
    made.pass_time(5.0)
    made.log(*range(100, 107))
    made.pass_time(5.0)
    assert len(counts) > 7
    assert all(known == lines for known, lines in counts)


def test_threads_never_miscount(tmp_path: Path, counts: list[tuple[int | None, int]]) -> None:
    """With the interpreter going round as fast as it can: what is known is right, and what is not is counted."""
    made = Bench(tmp_path / "state", Sink(), segment_bytes=4096)

    def log(thread: int) -> None:
        for number in range(5_000):
            made.log(10_000 * thread + number)
            if number % 50 == 0:
                time.sleep(0.000_01 * thread)

    threads = [threading.Thread(target=log, args=(number,)) for number in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            made.pipeline.queue.rotate()
            made.tick()
    finally:
        sys.setswitchinterval(interval)
    made.pass_time(5.0)
    assert made.account()["queued"] == sum(lines for _, lines in counts) == len(made.sink.accepted) == 20_000
    assert [(known, lines) for known, lines in counts if known not in (None, lines)] == []
    assert {known is None for known, _ in counts} == {False, True}, "both were tried"


@pytest.mark.fault(43)
def test_an_append_that_never_ended_is_counted(tmp_path: Path, counts: list[tuple[int | None, int]]) -> None:
    """A signal handler that raises leaves nobody's word to be taken for how many there are."""
    made = Bench(tmp_path / "state", Sink())
    queue = made.pipeline.queue
    made.log(0)
    write = queue._write

    def interrupted(line: bytes) -> int:
        write(line)
        raise KeyboardInterrupt

    queue._write = interrupted
    with pytest.raises(KeyboardInterrupt):
        made.log(1)
    queue._write = write
    made.log(2)
    made.pass_time(5.0)
    made.log(3)
    made.pass_time(5.0)
    assert made.sink.accepted == ids(*range(4))
    assert made.account()["processed"] == 4
    assert counts == [(None, 3), (None, 1)]


def test_a_caller_makes_way_for_a_listener_that_is_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once in 256 events, while a batch is on its way and the queue is more than half full; at no other time."""
    pauses: list[int] = []
    monkeypatch.setattr(time, "sleep", lambda _seconds: pauses.append(made.pipeline.queue.waiting))

    def answer(_found: list[str]) -> ExportResult:
        if len(made.sink.attempts) == 1:
            made.log(*range(2_000, 8_000))
        return SUCCESS

    made: Bench = Bench(tmp_path / "state", Sink(answer), max_queue_size=10_000, max_export_batch_size=2_000)
    made.log(*range(2_000))
    made.tick()
    assert 2_000 // 256 <= len(pauses) <= 2_000 // 256 + 3
    assert min(pauses) > 5_000
    made.pass_time(5.0)
    seen = len(pauses)
    made.log(*range(8_000, 16_000))
    assert len(pauses) == seen, "nothing is on its way"
    made.pass_time(5.0)
    assert made.sink.accepted == ids(*range(16_000))
