"""Sampling: what matters is kept, the rest by its share, alike everywhere, and so that counts can be made up for."""

from __future__ import annotations

import random
from collections import Counter
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import pytest
import structlog

from automagik_telemetry.settings import Settings
from automagik_telemetry.tracing import sampler as module
from automagik_telemetry.tracing._propagation import SpanContext, traceparent
from automagik_telemetry.tracing.manager import ObservabilityManager, sampler_of
from automagik_telemetry.tracing.sampler import AdaptiveSampler
from automagik_telemetry.tracing.spans import open_span

if TYPE_CHECKING:
    from tests.automagik_telemetry.tracing.conftest import Logged

RUNS = 400


class Clock:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


def trace_ids(seed: int, count: int) -> list[str]:
    """Return random trace ids, the same for the same seed."""
    source = random.Random(seed)
    return [f"{source.getrandbits(128) or 1:032x}" for _ in range(count)]


def test_errors_slow_runs_and_firsts_are_kept() -> None:
    """Of ten thousand, all that failed, were slow, or came first are kept, and about a tenth of the rest."""
    sampler = AdaptiveSampler(max_per_minute=1_000_000)
    reasons: Counter[str] = Counter()
    for number, trace_id in enumerate(trace_ids(1, 10_000)):
        decision = sampler.decide(
            f"agent.{number % 5}", trace_id, is_error=number % 100 == 7, duration_ms=6_000 if number % 100 == 8 else 5
        )
        reasons[decision.reason] += 1
        assert decision.should_sample == (decision.reason != "not_sampled")
        assert decision.sample_rate == (0.1 if decision.reason in ("sampled", "not_sampled") else 1.0)
    assert (reasons["error"], reasons["slow"], reasons["first_occurrence"]) == (100, 100, 5)
    assert 850 < reasons["sampled"] < 1_150


def test_head_decisions() -> None:
    """`should_sample` before a run: errors and slow runs are kept, the rest by its share."""
    sampler = AdaptiveSampler(base_rate=0.0)
    assert sampler.should_sample(trace_type="agent.a", is_error=True, attributes={"x": 1}) == (True, "error", 1.0)
    assert sampler.should_sample(trace_type="agent.a", duration_ms=60_000) == (True, "slow", 1.0)
    assert sampler.should_sample("agent.a") == (False, "not_sampled", 0.0)


def estimate(seed: int, limit: float) -> float:
    """Return the weighted number of kept runs, after a burst and then a low rate."""
    clock = Clock()
    sampler = AdaptiveSampler(0.5, max_per_minute=limit, clock=clock)
    total = 0.0
    for number, trace_id in enumerate(trace_ids(seed, RUNS)):
        clock.now += 0.01 if number < RUNS // 2 else 2.0
        decision = sampler.decide("agent", trace_id)
        assert 0 < decision.sample_rate <= 1
        total += 1 / decision.sample_rate if decision.should_sample else 0.0
    return total


@pytest.mark.slow
@pytest.mark.parametrize("limit", [20, 1_000_000], ids=["limited", "unlimited"])
def test_reweighted_count_is_unbiased(limit: float) -> None:
    """Counted by 1 / rate, the kept runs come to the true number on average, rate-limited or not."""
    estimates = [estimate(seed, limit) for seed in range(400)]
    error = stdev(estimates) / len(estimates) ** 0.5
    assert abs(fmean(estimates) - RUNS) < 4 * error
    assert error < RUNS * 0.05


def test_a_type_that_comes_too_often_is_kept_less_often() -> None:
    """In a burst of a thousand a second about the limit is kept, and other types are unaffected."""
    clock = Clock()
    sampler = AdaptiveSampler(1.0, max_per_minute=60, clock=clock)
    kept = 0
    for trace_id in trace_ids(2, 20_000):
        clock.now += 0.001
        decision = sampler.decide("burst", trace_id)
        kept += decision.should_sample
        assert decision.sample_rate > 0
    assert 40 < kept < 150  # 60 that were saved up, and 20 more in the 20 s that it took
    assert sampler.decide("calm", "f" * 32).reason == "first_occurrence"
    clock.now += 120
    assert sampler.decide("burst", "f" * 32) == (True, "sampled", 1.0)


def test_types_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that makes types up gets no first of each without end."""
    monkeypatch.setattr(module, "MAX_TYPES", 3)
    sampler = AdaptiveSampler(0.1)
    reasons = [sampler.decide(f"agent.{number}", "0" * 31 + "1").reason for number in range(6)]
    assert reasons == ["first_occurrence"] * 3 + ["sampled"] * 3


def test_processes_that_share_a_trace_decide_alike() -> None:
    """A trace that joins a caller's is kept if the caller's is, after the first of its type."""
    caller, callee = AdaptiveSampler(0.3, max_per_minute=10**9), AdaptiveSampler(0.3, max_per_minute=10**9)
    caller.decide("agent", "f" * 32)
    decisions = []
    for trace_id in trace_ids(3, 200):
        decisions.append(caller.decide("agent", trace_id).should_sample)
        assert callee.decide("tool server", trace_id, joined=True).should_sample == decisions[-1]
    assert 0 < sum(decisions) < 200


def test_processes_are_joined_by_the_header(logged: Logged) -> None:
    """The header of a run's span makes another process's run a part of it, kept exactly if it is."""
    manager = ObservabilityManager(sampler=AdaptiveSampler(0.5, max_per_minute=10**9))
    open_span("agent").end()
    for _ in range(40):
        before = len(logged.events)
        root = open_span("agent")
        header = root.traceparent
        root.end()
        remote = traceparent([(b"traceparent", header.encode())])
        assert remote is not None
        served = open_span("served", span=SpanContext(remote))
        served.end()
        mine = logged.events[before:]
        assert len(mine) in (0, 2)
        assert {event["trace_id"] for event in mine} <= {root.span.trace_id}
        assert all(event["spans"][0]["parent_span_id"] in (None, root.span_id) for event in mine)
    assert 2 < len(logged.events) < 82
    assert manager.get_metrics()["traces"]["not_sampled"] == 81 - len(logged.events)


def test_nested_runs_share_one_decision(logged: Logged) -> None:
    """A run inside a run is a part of its trace: both are kept, or neither; an error of the inner keeps both."""
    ObservabilityManager(sampler=AdaptiveSampler(0.0))
    for failed in (False, True):
        outer = open_span("outer", "agent")
        with outer.within():
            open_span("inner", "agent").end(ValueError() if failed else None)
        outer.end()
    assert {span["name"] for span in logged.only()["spans"]} == {"outer", "inner"}
    assert logged.only()["sample_reason"] == "error"


def test_settings_decide() -> None:
    """The environment sets the rates, the slow threshold and the limit of a type."""
    plain = sampler_of(Settings.from_environ({}))
    assert (plain.base_rate, plain.error_rate, plain.slow_threshold_ms, plain.max_per_minute) == (0.1, 1.0, 5_000, 60)
    environ = {
        "AUTOMAGIK_SAMPLING_RATE": "0.25",
        "AUTOMAGIK_ERROR_SAMPLING_RATE": "0.5",
        "AUTOMAGIK_SLOW_THRESHOLD_MS": "1000",
        "AUTOMAGIK_TRACES_PER_MINUTE": "7",
    }
    given = sampler_of(Settings.from_environ(environ))
    assert (given.base_rate, given.error_rate, given.slow_threshold_ms, given.max_per_minute) == (0.25, 0.5, 1_000, 7)


def test_defaults_are_those_of_the_settings() -> None:
    """A sampler that an application makes itself decides like ours."""
    mine, ours = AdaptiveSampler(), sampler_of(Settings.from_environ({}))
    for name in ("base_rate", "error_rate", "slow_threshold_ms", "max_per_minute"):
        assert getattr(mine, name) == getattr(ours, name)


@pytest.mark.parametrize("options", [{"base_rate": 1.5}, {"error_rate": -1}, {"max_per_minute": 0}])
def test_bad_option_is_reported(options: dict[str, float]) -> None:
    """A rate outside [0, 1] and a limit below 1 are errors of the caller's."""
    with pytest.raises(ValueError, match=next(iter(options))):
        AdaptiveSampler(**options)  # type: ignore[arg-type] # they are numbers all


@pytest.mark.parametrize("rate", [0, 1])
def test_the_limits_of_an_option_are_allowed(rate: float) -> None:
    """All or nothing are rates, and one trace a minute is a limit."""
    sampler = AdaptiveSampler(rate, rate, max_per_minute=1)
    assert (sampler.base_rate, sampler.error_rate, sampler.max_per_minute) == (rate, rate, 1)


def test_a_run_of_exactly_the_threshold_is_slow() -> None:
    """A millisecond less is not."""
    sampler = AdaptiveSampler(0.0, slow_threshold_ms=1_000)
    assert sampler.decide("agent", "f" * 32, duration_ms=1_000).reason == "slow"
    assert sampler.decide("agent", "f" * 32, duration_ms=999).reason == "not_sampled"


@pytest.mark.parametrize("joined", [True, False])
def test_a_share_ends_exactly_at_its_bound(*, joined: bool) -> None:
    """Of half the ids, the last that is kept is the one below the middle; the first 8 bytes don't matter."""
    sampler = AdaptiveSampler(0.5)
    sampler.decide("agent", "0" * 32)
    for start in ("0" * 16, "f" * 16):
        assert sampler.decide("agent", start + "7" + "f" * 15, joined=joined).should_sample
        assert not sampler.decide("agent", start + "8" + "0" * 15, joined=joined).should_sample


def test_a_rate_shrinks_below_half_of_the_budget() -> None:
    """With at least half of it left the rate is whole; with less, it is the share of that half that is left."""
    sampler = AdaptiveSampler(1.0, max_per_minute=4, clock=Clock())
    rates = [sampler.decide("agent", "0" * 32).sample_rate for _ in range(5)]
    assert rates == [1.0, 1.0, 1.0, 1.0, 0.5]


@pytest.mark.parametrize("kept", [True, False])
def test_a_bound_trace_id_decides(*, kept: bool) -> None:
    """The trace that an application has bound is kept by its own id, and the next trace gets it."""
    trace_id = "0" * 16 + ("7" if kept else "8") + "f" * 15
    sampler = AdaptiveSampler(0.5, random=lambda _bits: 2**63 if kept else 0)
    sampler.decide("agent", "0" * 32)
    with structlog.contextvars.bound_contextvars(trace_id=trace_id):
        decision = sampler.should_sample("agent")
    assert decision.should_sample == kept
    assert module.take_decision() == ((decision, trace_id) if kept else None)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_part_of_an_open_trace_shares_its_fate(logged: Logged, *, recorded: bool) -> None:
    """A run inside a recorded trace is kept with it; otherwise it is sampled by itself."""
    if recorded:
        ObservabilityManager(sampler=AdaptiveSampler(0.0))
    outer = open_span("outer", "agent")
    with outer.within():
        decision = AdaptiveSampler(0.0).should_sample("agent")
    outer.end()
    assert decision == ((True, "parent", 1.0) if recorded else (False, "not_sampled", 0.0))
