"""What an application asks of observability: the sampler, the providers, and one block around a run of an agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from automagik_telemetry.observability import recording
from automagik_telemetry.observability.collection import Recorder
from automagik_telemetry.observability.sampler import AdaptiveSampler

if TYPE_CHECKING:
    from automagik_telemetry.observability.collection import TraceLimits


class ObservabilityManager:
    """`sampler` decides which traces are kept."""

    def __init__(self, sampler: AdaptiveSampler | None = None, limits: TraceLimits | None = None) -> None:
        self.sampler = sampler or AdaptiveSampler()
        self._recorder = Recorder(self.sampler, limits)
        recording.record_with(self._recorder)

    def get_metrics(self) -> dict[str, Any]:
        """Return how many traces are open and were logged, and how many of what was cut or dropped, by reason."""
        return {"traces": self._recorder.metrics()}

    def shutdown(self) -> None:
        """Record nothing any more."""
        recording.record_with(None)
