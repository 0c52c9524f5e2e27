"""Decides which traces are kept: at the end of a run, or before it if requested.

Every error, every slow run and the first run of each type is kept. The rest is sampled by the trace ID, so that all
processes of a trace decide alike. A frequent type is sampled at a lower rate. The rate depends on earlier traces and
never on the trace itself, so that counts weighted by 1 / `sample_rate` are correct on average.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING

from automagik_processors._ids import ForkSafeRandom, is_id
from automagik_processors._otlp_values import text_of
from automagik_processors._scalars import milliseconds_of
from automagik_telemetry._failsafe import attempt
from automagik_telemetry._process import kept
from automagik_telemetry.tracing import spans
from automagik_telemetry.tracing._recorder import SamplingDecision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["AdaptiveSampler", "SamplingDecision"]

MAX_TYPES = 1_000
"""Maximum number of distinct types. Further types share one budget, without a first run."""
_OTHER = "other"
_TRACE_ID = 32
_MIN_SHARE = 1e-6


_FIRST = SamplingDecision(should_sample=True, reason="first_occurrence", sample_rate=1.0)

_decided: ContextVar[tuple[SamplingDecision, str] | None] = kept(
    "decided", lambda: ContextVar("automagik_telemetry_decided", default=None)
)


class _Budget:
    """A token bucket of the traces of one type: refilled over time, spent by the rates given out."""

    __slots__ = ("left", "since")

    def __init__(self, left: float, since: float) -> None:
        self.left = left
        self.since = since


class AdaptiveSampler:
    """Sampler that keeps `error_rate` of the errors, every slow run, and `base_rate` of the rest.

    Args:
        base_rate: Sampling rate of runs that are neither failed nor slow, from 0 to 1. The default is 0.1.
        error_rate: Sampling rate of failed runs, from 0 to 1. The default is 1.
        slow_threshold_ms: Duration in milliseconds from which a run is slow and always kept. The default is 5,000.
        max_per_minute: Approximate maximum of kept runs of one type, besides errors and slow ones. At least 1. The
            default is 60.
        clock: Returns monotonic time in seconds. By default the system's.
        random: Returns a number of random bits.

    Raises:
        ValueError: A rate is not from 0 to 1, or `max_per_minute` is below 1.
    """

    def __init__(  # noqa: PLR0913 - each has its default
        self,
        base_rate: float = 0.1,
        error_rate: float = 1.0,
        slow_threshold_ms: float = 5_000.0,
        *,
        max_per_minute: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[int], int] | None = None,
    ) -> None:
        for name, rate in (("base_rate", base_rate), ("error_rate", error_rate)):
            if not 0 <= rate <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {rate!r}")
        if not max_per_minute >= 1:
            raise ValueError(f"max_per_minute must be at least 1, got {max_per_minute!r}")
        self.base_rate = base_rate
        self.error_rate = error_rate
        self.slow_threshold_ms = slow_threshold_ms
        self.max_per_minute = max_per_minute
        self._clock = clock
        self._random = random or ForkSafeRandom().getrandbits
        self._budgets: dict[str, _Budget] = {}

    def should_sample(
        self,
        trace_type: str = "trace",
        is_error: bool = False,  # noqa: FBT001, FBT002 - applications pass it by position
        duration_ms: float | None = None,
        attributes: Mapping[str, object] | None = None,  # noqa: ARG002 - accepted without effect
    ) -> SamplingDecision:
        """Return the decision for a run that is about to begin, or that ended after `duration_ms`.

        The next trace in this context gets the ID and the rate of the decision. A run inside an open trace is kept
        with it.

        Args:
            trace_type: Type of the run, such as "agent_run". The default is "trace".
            is_error: Whether the run failed. The default is False.
            duration_ms: Duration in milliseconds, if the run has ended.
            attributes: No effect.

        Returns:
            Whether to keep the run, the reason, and the rate.
        """
        if (outer := spans.current_span()) is not None and outer.trace.recorder is not None:
            earlier = outer.trace.decision
            return SamplingDecision(
                should_sample=True, reason="parent", sample_rate=earlier.sample_rate if earlier else 1.0
            )
        bound = spans.joined_trace_id()
        trace_id = bound if is_id(bound, _TRACE_ID) else f"{self._random(128) or 1:032x}"
        decision: SamplingDecision | None = attempt(
            lambda: self.decide(trace_type, trace_id, is_error=is_error, duration_ms=duration_ms)
        )
        if decision is None:  # what can't be read decides nothing
            decision = self.decide(trace_type, trace_id)
        _decided.set((decision, trace_id) if decision.should_sample else None)
        return decision

    def decide(
        self,
        trace_type: str,
        trace_id: str,
        *,
        is_error: bool = False,
        duration_ms: float | None = None,
        joined: bool = False,
    ) -> SamplingDecision:
        """Return the decision for a trace by its ID.

        Args:
            trace_type: Type of the trace, such as "agent_run".
            trace_id: 32 hex digits.
            is_error: Whether the trace failed. The default is False.
            duration_ms: Duration in milliseconds, if the trace has ended.
            joined: Whether the trace began in another process. It is then never a first run, and no budget applies to
                it, so that both processes decide alike.

        Returns:
            Whether to keep the trace, the reason, and the rate.
        """
        if is_error:
            return _share("error", self.error_rate, trace_id)
        if duration_ms is not None:
            milliseconds = duration_ms if type(duration_ms) is float else milliseconds_of(duration_ms)
            if milliseconds is not None and milliseconds >= self.slow_threshold_ms:
                return SamplingDecision(should_sample=True, reason="slow", sample_rate=1.0)
        if joined or not self.base_rate:
            return _share("sampled", self.base_rate, trace_id)
        rate = self._rate(trace_type if type(trace_type) is str else text_of(trace_type))
        if rate is None:
            return _FIRST
        return _share("sampled" if rate == self.base_rate else "rate_limited", rate, trace_id)

    def _rate(self, trace_type: str) -> float | None:
        """Return the rate for the next trace of a type, None for the first. It decreases with the type's budget.

        It never becomes 0, because the weights of kept traces must cover the dropped ones. There is no lock: two
        threads may spend the same part of the budget, and each trace still has the rate that was applied to it.
        """
        now, full = self._clock(), self.max_per_minute
        budget = self._budgets.get(trace_type)
        if budget is None:
            if len(self._budgets) >= MAX_TYPES:
                trace_type = _OTHER
            new = _Budget(full, now)
            budget = self._budgets.setdefault(trace_type, new)
            if budget is new and trace_type != _OTHER:
                return None
        left = budget.left + (now - budget.since) * full / 60.0
        budget.since = now
        rate = self.base_rate
        if left >= full:
            left = full
        elif left < full / 2.0:
            rate *= max(_MIN_SHARE, 2.0 * left / full)
        budget.left = left - rate if left > rate else 0.0
        return rate


def take_decision() -> tuple[SamplingDecision, str] | None:
    """Return the last positive decision in this context and its trace ID, once; None if there is none."""
    decided = _decided.get()
    _decided.set(None)
    return decided


def _share(reason: str, rate: float, trace_id: str) -> SamplingDecision:
    """Sample at `rate` by the last 8 bytes of the trace ID, as OpenTelemetry's TraceIdRatioBased does."""
    bound, kept, dropped = _verdicts(reason, rate)
    return kept if rate == 1.0 or int(trace_id[16:], 16) < bound else dropped


@lru_cache(128)
def _verdicts(reason: str, rate: float) -> tuple[int, SamplingDecision, SamplingDecision]:
    """Return the number below which an ID is kept, and the decisions for kept and dropped traces."""
    return (
        round(rate * 2**64),
        SamplingDecision(should_sample=True, reason=reason, sample_rate=rate),
        SamplingDecision(
            should_sample=False, reason=reason if reason == "rate_limited" else "not_sampled", sample_rate=rate
        ),
    )
