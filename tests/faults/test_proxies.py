"""A refusal by a proxy in front of the endpoint is retried three times, through restarts, and then final."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from automagik_telemetry.export._contract import ExportResult, Outcome
from tests.faults.bench import SUCCESS, TOO_LARGE, Bench, Sink
from tests.faults.process import deliver, run, sent
from tests.faults.sending import ids
from tests.faults.server import Endpoint, reply

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

PROXY = ExportResult(Outcome.REJECTED, detail="HTTP 400", by_endpoint=False)
STATUS = b'{"code":3,"message":"not a span"}'


@pytest.mark.fault(87)
@pytest.mark.parametrize("status", [400, 403, 408, 500])
@pytest.mark.parametrize("times", [1, 3])
def test_a_passing_refusal_costs_nothing(status: int, times: int) -> None:
    """Up to three refusals cost nothing."""
    proxy = reply(status, b"<html>oops</html>", content_type="text/html")
    with Endpoint(*[proxy] * times, reply()) as endpoint:
        assert run(endpoint.url, "log(0); emit(tracing.flush(20))").lines == ["True"]
        assert len(endpoint.requests) == times + 1
    assert endpoint.accepted == sent(0)


@pytest.mark.fault(5, 6, 87)
@pytest.mark.parametrize(
    ("body", "content_type", "requests"),
    [(b"oops", "text/plain", 4), (b"", "application/json", 4), (STATUS, "application/json", 1)],
)
@pytest.mark.parametrize("status", [400, 500])
def test_a_lasting_refusal_is_final(status: int, body: bytes, content_type: str, requests: int) -> None:
    """A refusal by a proxy is final after three more attempts, one by the endpoint at once; both are counted."""
    code = "log(0); emit(tracing.flush(20)); emit(tracing.telemetry.get_metrics()['tracer']['dropped_by_reason'])"
    with Endpoint(reply(status, body, content_type=content_type)) as endpoint:
        assert run(endpoint.url, code).lines == ["True", "{'rejected': 1}"]
        assert len(endpoint.requests) == requests
        deliver(endpoint)
        assert len(endpoint.requests) == requests, "nothing is left"


@pytest.mark.fault(87)
def test_refusals_are_counted_through_restarts() -> None:
    """Each process sends one request: the fourth, and no later one, rejects the event."""
    with Endpoint(reply(502 - 2, b"oops", content_type="text/plain")) as endpoint:
        code = "emit(tracing.shutdown(20)); emit(tracing.telemetry.get_metrics()['tracer']['recovered']['dropped'])"
        assert run(endpoint.url, f"log(0); {code}").lines == ["False", "0"]
        again = "emit(next(iter(loggers.sinks().values())).begin_flush(20, patient=False)())"
        prelude = "from automagik_telemetry.handlers import _loggers as loggers\n"
        for settled in ("False", "False", "True"):
            assert run(endpoint.url, f"{prelude}{again}").lines == [settled]
        assert len(endpoint.requests) == 4
        deliver(endpoint)
        assert len(endpoint.requests) == 4


@pytest.mark.fault(87)
def test_each_segment_has_its_own_count(tmp_path: Path) -> None:
    """A segment that was refused three times is rejected; another, which joined it later, is retried."""
    made = Bench(tmp_path / "state", Sink(PROXY), max_export_batch_size=100)
    made.log(0)
    for _ in range(3):
        made.pass_time(300.0)
    made.log(1)
    made.pipeline.queue.close()
    made.pass_time(300.0)
    assert made.sink.attempts == [ids(0)] * 3 + [ids(0, 1)]
    assert made.metrics()["dropped_by_reason"] == {"rejected": 1}
    (path,) = (tmp_path / "state").rglob("*.json")
    assert path.name.endswith(".1.json")
    made.sink.answer = SUCCESS
    made.pass_time(300.0)
    assert made.sink.accepted == ids(1)
    assert list((tmp_path / "state").rglob("*.json")) == []


@pytest.mark.fault(87)
def test_in_memory_it_is_the_same() -> None:
    """Without a file, the count is kept in memory."""
    made = Bench(None, Sink(PROXY))
    made.log(0)
    for _ in range(4):
        made.pass_time(300.0)
    assert made.metrics()["dropped_by_reason"] == {"rejected": 1}


@pytest.mark.fault(87)
def test_a_refused_part_keeps_the_batch(tmp_path: Path) -> None:
    """A batch that is sent in parts is one batch for the count, too."""
    made = Bench(tmp_path / "state", Sink(lambda found: TOO_LARGE if len(found) > 1 else PROXY))
    made.log(0, 1)
    for _ in range(3):
        made.pass_time(300.0)
        assert made.metrics()["pending"] == 2
    made.pass_time(300.0)
    assert made.metrics()["dropped_by_reason"] == {"rejected": 2}


@pytest.mark.fault(87)
def test_a_killed_process_leaves_its_count(tmp_path: Path) -> None:
    """The count is in the name of the file."""
    processes = [Bench(tmp_path / "state", Sink(PROXY)) for _ in range(4)]
    processes[0].log(0)
    for made in processes:
        made.pass_time(60.0)
        assert made.sink.attempts == [ids(0)]
        made.pipeline.queue.abandon()
    assert processes[3].metrics()["recovered"]["dropped_by_reason"] == {"rejected": 1}
    assert list((tmp_path / "state").rglob("*.json")) == []
