"""The queue under pressure: many threads, interrupts in an append, more events than are sent."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from automagik_telemetry.export._contract import Permission
from tests.faults.bench import SUCCESS, Bench, Sink
from tests.faults.sending import ids, line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from automagik_telemetry.export._contract import ExportResult
    from automagik_telemetry.export._segment import Segment


def files(tmp_path: Path) -> list[Path]:
    """Return the segments on disk."""
    return sorted((tmp_path / "state").rglob("*.json"))


@pytest.mark.fault(24)
def test_the_disk_is_bounded(tmp_path: Path) -> None:
    """Also while a batch is on its way and as many events come as are sent."""
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
    assert set(made.metrics()["dropped_by_reason"]) == {"queue_full"}
    assert 32768 < most <= 65536


@pytest.mark.fault(35)
def test_consent_is_checked_once_a_second_at_most(tmp_path: Path) -> None:
    """Consent is checked at most once a second, and before each flush."""
    asked = []

    def allowed() -> Permission:
        asked.append(True)
        return Permission.GRANTED

    made = Bench(tmp_path / "state", Sink(), max_export_batch_size=1, allowed=allowed)
    for number in range(5):
        made.log(number)
        made.pass_time(0.0)
    assert len(asked) == 1
    made.pass_time(1.0)
    assert len(asked) == 2
    asking = threading.Thread(target=lambda: made.pipeline.worker.ask(10.0).wait())
    asking.start()
    while len(asked) < 3 and asking.is_alive():
        made.tick()
    asking.join()
    assert len(asked) == 3


def test_threads_share_a_queue(tmp_path: Path) -> None:
    """Each event of four threads is delivered once, while another closes their segments; the metrics balance."""
    made = Bench(tmp_path / "state", Sink(), max_export_batch_size=50)
    events = [[line(1_000_000 * thread + number) for number in range(5_000)] for thread in range(4)]
    threads = [
        threading.Thread(target=lambda each=each: deque(map(made.pipeline.append, each), maxlen=0)) for each in events
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        made.pipeline.queue.expedite()
        made.tick()
    made.pass_time(5.0)
    assert sorted(made.sink.accepted) == sorted(
        ids(*(1_000_000 * thread + n for thread in range(4) for n in range(5_000)))
    )
    assert made.metrics()["queued"] == 20_000


@pytest.mark.parametrize("buffered", [False, True])
def test_threads_never_miscount(tmp_path: Path, *, buffered: bool) -> None:
    """With the interpreter switching threads as often as it can, the stats have each event once."""
    made = Bench(tmp_path / "state", Sink(), segment_bytes=4096)
    made.pipeline.queue._buffered = buffered

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
            made.pipeline.queue.expedite()
            made.tick()
    finally:
        sys.setswitchinterval(interval)
    made.pass_time(5.0)
    assert made.metrics()["queued"] == made.metrics()["processed"] == len(made.sink.accepted) == 20_000


class Interrupted:
    """A map in which an interrupt comes right after the next write, and which is the real one from then on."""

    def __init__(self, segment: Segment, interrupt: Callable[[], None]) -> None:
        self._segment = segment
        self._real: Any = segment._map
        self._interrupt = interrupt

    def write(self, line: bytes) -> None:
        """Write, and be interrupted once."""
        self._segment._map = self._real
        self._real.write(line)
        self._interrupt()


def interrupt(made: Bench, what: Callable[[], None]) -> None:
    """Have an interrupt come in the next append."""
    segment = made.pipeline.queue._open
    assert segment is not None
    segment._map = Interrupted(segment, what)  # type: ignore[assignment]  # it stands in for the map


def stop() -> None:
    """Raise what Ctrl-C raises."""
    raise KeyboardInterrupt


@pytest.mark.fault(43, 68)
def test_an_append_that_never_ended_is_counted(tmp_path: Path) -> None:
    """If a signal handler raises right after the bytes were written, the event counts as queued."""
    made = Bench(tmp_path / "state", Sink())
    made.log(0)
    interrupt(made, stop)
    with pytest.raises(KeyboardInterrupt):
        made.log(1)
    made.log(2)
    made.pass_time(5.0)
    made.log(3)
    made.pass_time(5.0)
    assert made.sink.accepted == ids(*range(4))
    assert made.metrics()["processed"] == 4


@pytest.mark.fault(43)
@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_signal_handler_that_logs_in_an_append(tmp_path: Path, first: int) -> None:
    """Events of a signal handler are queued and count once, whichever segments they close and begin."""
    made = Bench(tmp_path / "state", Sink(), max_export_batch_size=4)
    made.log(*range(first + 1))
    interrupt(made, lambda: made.log(*range(100, 107)))
    made.log(50, 51)
    made.pass_time(5.0)
    assert sorted(made.sink.accepted) == ids(*range(first + 1), 50, 51, *range(100, 107))
    assert made.metrics()["processed"] == len(made.sink.accepted)


def test_a_caller_yields_to_a_worker_that_is_far_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller sleeps only if it begins a segment during a request while the queue is more than half full."""
    pauses: list[int] = []
    monkeypatch.setattr(time, "sleep", lambda _seconds: pauses.append(made.pipeline.queue.pending().own))

    def answer(_found: list[str]) -> ExportResult:
        if len(made.sink.attempts) == 1:
            made.log(*range(2_000, 8_000))
        return SUCCESS

    made: Bench = Bench(tmp_path / "state", Sink(answer), max_queue_size=10_000, max_export_batch_size=500)
    made.log(*range(2_000))
    made.tick()
    assert 1 <= len(pauses) <= 12, "a segment has at most 500 events"
    assert min(pauses) > 5_000
    made.pass_time(5.0)
    seen = len(pauses)
    made.log(*range(8_000, 16_000))
    assert len(pauses) == seen, "nothing is on its way"
    made.pass_time(5.0)
    assert made.sink.accepted == ids(*range(16_000))
