"""The number of events in a request: up to a full batch, and halves after a 413."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.process import run, sent
from tests.faults.server import Endpoint, reply

if TYPE_CHECKING:
    from tests.faults.server import Answer, Exchange


def sizes(endpoint: Endpoint) -> list[int]:
    """Return how many events each request carried."""
    return [len(request.span_ids()) for request in endpoint.requests]


def too_large_above(limit: int) -> Answer:
    """Answer 413 to a request with more events."""

    def answer(exchange: Exchange) -> None:
        if len(exchange.received.span_ids()) > limit:
            exchange.reply(413, b"")
        else:
            reply()(exchange)

    return answer


@pytest.mark.parametrize("size", [2, 100])
@pytest.mark.parametrize("more", [0, 1])
def test_a_batch_of_exactly_the_maximum_size_is_one_request(size: int, more: int) -> None:
    """And one more event makes a second request."""
    code = f"""
        for number in range({size + more}):
            log(number)
        emit(tracing.flush(20))
    """
    with Endpoint() as endpoint:
        ended = run(endpoint.url, code, AUTOMAGIK_TRACE_BATCH_SIZE=str(size), AUTOMAGIK_TRACE_SCHEDULE_DELAY="60")
    assert ended.lines == ["True"]
    assert len(sizes(endpoint)) == 1 + more
    assert max(sizes(endpoint)) <= size
    assert endpoint.accepted == sent(*range(size + more))


@pytest.mark.fault(10)
@pytest.mark.parametrize("events", [7, 8])
@pytest.mark.parametrize("batch_size", ["8000", "exactly"])
def test_a_batch_that_is_too_large_is_sent_in_halves(events: int, batch_size: str) -> None:
    """The first half is larger by one if the number is odd, also for a full batch."""
    code = f"""
        for number in range({events}):
            log(number)
        emit(tracing.flush(20))
    """
    size = str(events) if batch_size == "exactly" else batch_size
    with Endpoint(too_large_above(4)) as endpoint:
        assert run(endpoint.url, code, AUTOMAGIK_TRACE_BATCH_SIZE=size).lines == ["True"]
    assert sizes(endpoint) == [events, 4, events - 4]
    assert endpoint.accepted == sent(*range(events))


@pytest.mark.fault(10)
def test_halves_are_halved_down_to_the_offenders() -> None:
    """Of events that are too large each, every one is tried alone, dropped and counted."""
    code = """
        for number in range(3):
            log(number)
        emit(tracing.flush(20))
        emit(tracing.telemetry.get_metrics()["tracer"]["dropped_by_reason"])
    """
    with Endpoint(too_large_above(0)) as endpoint:
        assert run(endpoint.url, code).lines == ["True", "{'rejected': 3}"]
    assert sizes(endpoint) == [3, 2, 1, 1, 1]
    assert endpoint.accepted == []
