"""The shapes that the recorder needs of a span and of a sampler, and the decision that passes between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from automagik_processors._bounded import Bounded


class SamplingDecision(NamedTuple):
    """Whether a trace is kept, why, and the share of such traces that is: count each as 1 / `sample_rate`."""

    should_sample: bool
    reason: str
    sample_rate: float = 1.0


class Sampler(Protocol):
    """Decides on a trace that has ended."""

    def decide(
        self, trace_type: str, trace_id: str, *, is_error: bool, duration_ms: float | None, joined: bool
    ) -> SamplingDecision:
        """Return the decision for a trace, by its id; the duration is in milliseconds."""
        raise NotImplementedError


class RecordedSpan(Protocol):
    """A span of an open trace."""

    name: str
    start: float
    ended: float | None
    error: dict[str, Any] | None

    def rendered(self, bounds: Bounded, ended: float) -> dict[str, Any]:
        """Return the span as plain data."""
        raise NotImplementedError
