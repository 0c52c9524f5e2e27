"""Decides which traces are kept: before a run, as far as that is known, or with hindsight when it has ended.

Every error, every slow run and the first of each type is kept; of the rest a share, by the trace's id, so that all
processes that share a trace decide alike. A type that comes too often is kept at a lower rate. The rate depends on what
came before and never on the trace itself, so that counts weighted by 1 / `sample_rate` are right on average.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING

import structlog

from automagik_processors._ids import ForkSafeRandom, is_id
from automagik_telemetry.tracing import spans
from automagik_telemetry.tracing._propagation import application_ids
from automagik_telemetry.tracing._types import SamplingDecision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["AdaptiveSampler", "SamplingDecision", "take_decision"]

MAX_TYPES = 1_000
"""Types that are told apart; what comes after is one type together, of which nothing is a first."""
_OTHER = "other"
_TRACE_ID = 32
_MIN_SHARE = 1e-6


_FIRST = SamplingDecision(should_sample=True, reason="first_occurrence", sample_rate=1.0)

_decided: ContextVar[tuple[SamplingDecision, str] | None] = ContextVar("automagik_telemetry_decided", default=None)


class _Budget:
    """How many traces of one type may still be kept: refilled with time, spent as rates are given out."""

    __slots__ = ("left", "since")

    def __init__(self, left: float, since: float) -> None:
        self.left = left
        self.since = since


class AdaptiveSampler:
    """Keep `error_rate` of the errors, every run of `slow_threshold_ms` or more, and `base_rate` of the rest.

    `max_per_minute` is how many of the rest are kept of each type, about, at most. `clock` is in seconds and `random`
    returns as many random bits as it is asked for. Raises ValueError for a rate outside [0, 1] and a limit below 1.
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
                raise ValueError(f"{name}={rate!r} is not a number from 0 to 1")
        if not max_per_minute >= 1:
            raise ValueError(f"max_per_minute={max_per_minute!r} is not a number from 1")
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
        is_error: bool = False,  # noqa: FBT001, FBT002 - as the guide calls it
        duration_ms: float | None = None,
        attributes: Mapping[str, object] | None = None,  # noqa: ARG002 - accepted, and decides nothing
    ) -> SamplingDecision:
        """Return the decision for a run of `trace_type` that is about to begin, or has ended in `duration_ms`.

        The trace that is started next in this context gets the id that was decided by, and the rate. What is part of
        an open trace shares its fate.
        """
        if (outer := spans.current_span()) is not None and outer.trace.recorder is not None:
            earlier = outer.trace.decision
            return SamplingDecision(
                should_sample=True, reason="parent", sample_rate=earlier.sample_rate if earlier else 1.0
            )
        bound = structlog.contextvars.get_contextvars().get("trace_id") or application_ids().get("trace_id")
        trace_id = bound if is_id(bound, _TRACE_ID) else f"{self._random(128) or 1:032x}"
        decision = self.decide(trace_type, trace_id, is_error=is_error, duration_ms=duration_ms)
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
        """Return the decision for a trace, by its id (32 hex digits) where a share is kept; the duration is in ms.

        Of a trace that is `joined`, for it began in another process, nothing is a first and no budget counts, so that
        both processes decide alike.
        """
        if is_error:
            return _share("error", self.error_rate, trace_id)
        if duration_ms is not None and duration_ms >= self.slow_threshold_ms:
            return SamplingDecision(should_sample=True, reason="slow", sample_rate=1.0)
        if joined or not self.base_rate:
            return _share("sampled", self.base_rate, trace_id)
        rate = self._rate(trace_type if type(trace_type) is str else str(trace_type))
        if rate is None:
            return _FIRST
        return _share("sampled" if rate == self.base_rate else "rate_limited", rate, trace_id)

    def _rate(self, trace_type: str) -> float | None:
        """Return the rate for the next trace of a type, None for the first; it shrinks as the type's budget does.

        It never becomes 0, or what is dropped could not be made up for by the weight of what is kept. There is no lock:
        of two threads at once one may spend what the other has spent, and each says the rate that it was given.
        """
        now, full = self._clock(), self.max_per_minute
        budget = self._budgets.get(trace_type)
        if budget is None:
            if len(self._budgets) >= MAX_TYPES:
                trace_type = _OTHER
            mine = _Budget(full, now)
            budget = self._budgets.setdefault(trace_type, mine)
            if budget is mine and trace_type != _OTHER:
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
    """Return the positive decision made last in this context and its trace id, once; None if there is none."""
    decided = _decided.get()
    _decided.set(None)
    return decided


def _share(reason: str, rate: float, trace_id: str) -> SamplingDecision:
    """Keep the share `rate` of all trace ids, by their last 8 bytes as OpenTelemetry's TraceIdRatioBased does."""
    bound, kept, dropped = _verdicts(reason, rate)
    return kept if rate == 1.0 or int(trace_id[16:], 16) < bound else dropped


@lru_cache(128)
def _verdicts(reason: str, rate: float) -> tuple[int, SamplingDecision, SamplingDecision]:
    """Return the number below which an id is kept, and what is said of one that is kept and of one that is not."""
    return (
        round(rate * 2**64),
        SamplingDecision(should_sample=True, reason=reason, sample_rate=rate),
        SamplingDecision(
            should_sample=False, reason=reason if reason == "rate_limited" else "not_sampled", sample_rate=rate
        ),
    )
