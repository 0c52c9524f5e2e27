"""Each limit in docs/delivery.md is the one that holds: the page has the code's numbers, and the code keeps them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from automagik_telemetry.export import _worker as worker
from automagik_telemetry.export._backoff import Backoff
from automagik_telemetry.export._contract import MAX_AGE, MAX_TRACE_AGE, ExportResult, Limits, Outcome
from automagik_telemetry.export.http._exporter import MAX_REPLY_BYTES
from automagik_telemetry.export.http._response import retry_after
from automagik_telemetry.handlers.formatter import ChainFormatter
from automagik_telemetry.settings import Settings
from automagik_telemetry.sinks.processors import OTLP, Anonymize
from tests.bench.events import NAME, events
from tests.faults.bench import RETRY, SUCCESS, Bench, Sink
from tests.faults.sending import ids, line

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "delivery.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]*\|$", PAGE.partition("## Limits")[2], re.MULTILINE)[2:])
LIMITS = Limits()
MEBIBYTE = 2**20


@pytest.mark.fault(86)
def test_the_page_has_the_numbers_of_the_code() -> None:
    """Every row of its table, with every number of the telemetry sink in it."""
    numbers: dict[str, list[str]] = {
        "events undelivered in a process": [f"{LIMITS.max_queue_size:,}"],
        "one event": [f"{LIMITS.max_event_bytes // 1024} KiB"],
        "disk": [f"{LIMITS.max_disk_bytes // MEBIBYTE} MiB"],
        "memory, where there is no disk": [f"{LIMITS.max_memory_bytes // MEBIBYTE} MiB"],
        "age": [f"{MAX_AGE / 86_400:g} days", f"{MAX_TRACE_AGE / 86_400:g} day"],
        "events in a batch, which is a request": [f"{LIMITS.max_export_batch_size:,}"],
        "bytes in a batch, before compression": [
            f"{LIMITS.max_export_batch_bytes // MEBIBYTE} MiB",
            f"{LIMITS.segment_bytes // MEBIBYTE} MiB",
        ],
        "time until a segment is sent that is not full": [f"{LIMITS.schedule_delay:g} s"],
        "one request, connecting included": [f"{LIMITS.export_timeout:g} s"],
        "delay after failures": ["1 s", "5 min", "0.5 to 1"],
        "the same while a flush waits": [f"{worker._MIN_FLUSH_DELAY:g} s", f"{worker._MAX_FLUSH_DELAY:g} s"],
        "attempts after a proxy's refusal": [str(worker.MAX_REFUSALS)],
        "bytes read of a reply": [f"{MAX_REPLY_BYTES // MEBIBYTE} MiB"],
        "end of the process": [f"{LIMITS.exit_timeout:g} s", "0.02 s"],
        "end of a short command": [
            f"{LIMITS.backlog_segments} segments",
            f"{LIMITS.backlog_timeout:g} s",
            f"{LIMITS.backlog_interval / 60:g} min",
        ],
    }
    assert list(ROWS) == list(numbers)
    for row, expected in numbers.items():
        for number in expected:
            assert number in ROWS[row], row


@pytest.mark.fault(86)
def test_the_environment_has_the_same_defaults() -> None:
    """The sinks take their limits from it."""
    settings = Settings.from_environ({})
    assert (settings.max_queue_size, settings.batch_size) == (LIMITS.max_queue_size, LIMITS.max_export_batch_size)
    assert (settings.schedule_delay, settings.export_timeout) == (LIMITS.schedule_delay, LIMITS.export_timeout)


@pytest.fixture
def full(tmp_path: Path) -> Bench:
    """Return a pipeline with the default limits whose endpoint is down."""
    return Bench(tmp_path / "state", Sink(RETRY))


@pytest.mark.fault(86)
def test_as_many_events_wait_as_the_page_says(full: Bench, tmp_path: Path) -> None:
    """Agent runs with all that one may have: their bytes are not the limit that holds."""
    encode = ChainFormatter([Anonymize(), OTLP()]).encode_event
    optional = {"model": "gpt-5", "input_tokens": 9, "output_tokens": 9, "request_count": 9, "retry_count": 9}
    runs = [
        encode(NAME, 20, 1.8e9, {**each, **optional, "tool_count": 9, "error_type": "ValueError"}) + b",\n"
        for each in events(100)
    ]
    assert max(map(len, runs)) > 1_000
    for number in range(LIMITS.max_queue_size + 5):
        full.pipeline.append(runs[number % len(runs)])
        if number % 500 == 0:
            full.pass_time(0.0)
    counted = full.metrics()
    assert (counted["pending"], counted["dropped_by_reason"]) == (LIMITS.max_queue_size, {"queue_full": 5})
    assert on_disk(tmp_path) <= LIMITS.max_disk_bytes


def on_disk(folder: Path) -> int:
    """Return the bytes that a folder takes, its stats included."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


@pytest.mark.fault(86)
@pytest.mark.parametrize("in_memory", [False, True])
def test_as_many_bytes_wait_as_the_page_says(tmp_path: Path, *, in_memory: bool) -> None:
    """Of the largest events; the oldest make room for the newest."""
    made = Bench(None if in_memory else tmp_path / "state", Sink(RETRY))
    room = LIMITS.max_memory_bytes if in_memory else LIMITS.max_disk_bytes
    padding = LIMITS.max_event_bytes - len(line(0)) + 2
    for number in range(2 * room // LIMITS.max_event_bytes):
        made.pipeline.append(line(number, padding))
        made.pass_time(0.0)
        assert on_disk(tmp_path) <= room
        assert made.metrics()["pending_bytes"] <= room
    counted = made.metrics()
    assert set(counted["dropped_by_reason"]) == {"queue_full"}
    assert counted["pending_bytes"] > room - 3 * LIMITS.segment_bytes
    made.sink.answer = SUCCESS
    for _ in range(20):
        made.pass_time(300.0)
    assert made.sink.accepted == ids(*range(counted["dropped"], 2 * room // LIMITS.max_event_bytes))


@pytest.mark.fault(86)
def test_an_event_has_the_size_that_the_page_says(full: Bench) -> None:
    """A byte more is too large."""
    exact = LIMITS.max_event_bytes - len(line(0)) + 2
    full.pipeline.append(line(0, exact))
    full.pipeline.append(line(1, exact + 1))
    assert (full.metrics()["pending"], full.metrics()["dropped_by_reason"]) == (1, {"too_large": 1})


@pytest.mark.fault(86)
def test_a_batch_has_the_size_that_the_page_says(tmp_path: Path) -> None:
    """By count and by bytes, and each segment too."""
    sizes: list[int] = []
    made = Bench(tmp_path / "state", Sink())
    export = made.sink.export

    def measured(body: bytes, timeout: float) -> ExportResult:
        import gzip

        sizes.append(len(gzip.decompress(body)))
        return export(body, timeout)

    made.sink.export = measured  # type: ignore[method-assign]
    for number in range(300):
        made.pipeline.append(line(number, LIMITS.max_event_bytes // 2))
    assert {segment._map.size() for segment in made.pipeline.queue.waiting()} == {LIMITS.segment_bytes}
    made.pass_time(5.0)
    assert LIMITS.max_export_batch_bytes - LIMITS.segment_bytes < max(sizes) <= LIMITS.max_export_batch_bytes
    made.log(*range(1_000, 1_000 + 2 * LIMITS.max_export_batch_size))
    made.pass_time(5.0)
    assert LIMITS.max_export_batch_size // 2 < max(map(len, made.sink.attempts)) <= LIMITS.max_export_batch_size


@pytest.mark.fault(86)
@pytest.mark.parametrize(("seconds", "sent"), [(LIMITS.schedule_delay - 0.1, 0), (LIMITS.schedule_delay, 1)])
def test_a_segment_waits_as_long_as_the_page_says(tmp_path: Path, seconds: float, sent: int) -> None:
    """And no longer."""
    made = Bench(tmp_path / "state", Sink())
    made.log(0)
    made.pass_time(seconds)
    assert len(made.sink.accepted) == sent


@pytest.mark.fault(86)
@pytest.mark.parametrize(("seconds", "reasons"), [(MAX_AGE - 1.0, {}), (MAX_AGE + 1.0, {"expired": 1})])
def test_an_event_is_as_old_as_the_page_says(full: Bench, seconds: float, reasons: dict[str, int]) -> None:
    """And then dropped."""
    full.log(0)
    full.pass_time(5.0)
    full.pass_time(seconds - 5.0)
    assert full.metrics()["dropped_by_reason"] == reasons


@pytest.mark.fault(86)
def test_delays_are_what_the_page_says() -> None:
    """From a second to five minutes, each times 0.5 to 1; Retry-After up to a day."""
    for factor in (0.5, 1.0):
        backoff = Backoff(lambda: 0.0, uniform=lambda low, high, factor=factor: min(max(factor, low), high))  # type: ignore[misc]
        delays = [backoff.record_failure() for _ in range(12)]
        assert delays[:3] == [factor, 2 * factor, 4 * factor]
        assert max(delays) == 300 * factor
    assert retry_after("1e9", 0.0) == 86_400.0


@pytest.mark.fault(86)
def test_the_end_asks_no_more_than_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a process waits for a response, a thread and earlier short commands as the page says."""
    waits: list[float] = []
    made = Bench(tmp_path / "state", Sink())
    made.log(0)

    def join(timeout: float) -> bool:
        waits.append(timeout)
        return False

    monkeypatch.setattr(made.pipeline.worker, "join", join)
    monkeypatch.setattr(made.pipeline.worker, "stop", lambda: None)
    now: Any = 1_000.0
    monkeypatch.setattr("automagik_telemetry.export._pipeline.time.monotonic", lambda: now)
    for under_way in (True, False):
        made.sink.under_way = under_way
        made.pipeline._ended = False
        made.pipeline.end(now + LIMITS.exit_timeout)
    assert waits == [pytest.approx(0.1), pytest.approx(0.02)]


@pytest.mark.fault(86)
def test_a_proxy_refuses_as_often_as_the_page_says(tmp_path: Path) -> None:
    """Then it counts."""
    made = Bench(tmp_path / "state", Sink(ExportResult(Outcome.REJECTED, by_endpoint=False)))
    made.log(0)
    for _ in range(10):
        made.pass_time(300.0)
    assert len(made.sink.attempts) == 1 + worker.MAX_REFUSALS
