"""The delay between attempts grows, is random within bounds, and is at least the server's Retry-After."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automagik_telemetry.export._backoff import Backoff


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_states() -> None:
    """Closed, open after the threshold, half open when the delay is over, closed by a success."""
    clock = Clock()
    backoff = Backoff(clock, failure_threshold=3)
    states: list[str] = []
    delay = 0.0
    for _ in range(3):
        delay = backoff.record_failure()
        states.append(backoff.state)
    assert backoff.remaining() == pytest.approx(delay)
    clock.now += delay
    states.append(backoff.state)
    backoff.record_failure()
    states.append(backoff.state)
    backoff.record_success()
    states.append(backoff.state)
    assert states == ["closed", "closed", "open", "half_open", "open", "closed"]
    assert (backoff.failures, backoff.remaining()) == (0, 0.0)


@pytest.mark.fault(4)
@given(st.integers(0, 100), st.floats(0, 1))
def test_the_delay_doubles_between_bounds(failures: int, chance: float) -> None:
    """It is between half and all of `initial * 2**n`, and of the maximum at most."""
    backoff = Backoff(Clock(), initial=1.0, maximum=300.0, uniform=lambda low, high: low + chance * (high - low))
    for _ in range(failures):
        backoff.record_failure()
    full = min(2.0**failures, 300.0)
    assert full / 2 <= backoff.record_failure() <= full


@pytest.mark.fault(4)
def test_clients_that_failed_together_retry_apart() -> None:
    """The delay is random."""
    assert len({Backoff(Clock()).record_failure() for _ in range(20)}) > 1


@pytest.mark.fault(7)
@given(st.floats(0, 86_400))
def test_retry_after_is_a_minimum(retry_after: float) -> None:
    """A server's wish lengthens the delay and never shortens it."""
    clock = Clock()
    plain = Backoff(clock, uniform=lambda low, _high: low).record_failure()
    backoff = Backoff(clock, uniform=lambda low, _high: low)
    assert backoff.record_failure(retry_after) == max(plain, retry_after)


def test_a_pause_is_no_failure() -> None:
    """`hold` delays requests without changing the state; a shorter one does not end a longer one."""
    backoff = Backoff(Clock())
    backoff.hold(50.0)
    backoff.hold(5.0)
    assert (backoff.state, backoff.failures, backoff.remaining()) == ("closed", 0, 50.0)
