"""What an application asks of observability: the sampler, the providers, and one block around a run of an agent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from automagik_telemetry.observability import recording
from automagik_telemetry.observability.calls import ToldRuns
from automagik_telemetry.observability.collection import Recorder
from automagik_telemetry.observability.context import TraceContext
from automagik_telemetry.observability.provider import TraceProvider
from automagik_telemetry.observability.sampler import AdaptiveSampler
from automagik_telemetry.settings import OFF

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from automagik_telemetry.observability.collection import TraceLimits
    from automagik_telemetry.settings import Settings


class ObservabilityManager:
    """`sampler` decides which runs are kept; `providers`, by name, are where traces go. Making one begins recording.

    `handlers` are logging handlers by the provider's name, attached to the logger of traces.
    """

    def __init__(
        self,
        handlers: Mapping[str, logging.Handler] | None = None,
        sampler: AdaptiveSampler | None = None,
        limits: TraceLimits | None = None,
    ) -> None:
        self.sampler = sampler or AdaptiveSampler()
        self._recorder = Recorder(self.sampler, limits, self._warm_up)
        runs = ToldRuns(self._recorder)
        self.providers = {
            name: TraceProvider(name, handler, self._recorder, runs) for name, handler in (handlers or {}).items()
        }
        handler: Any
        for handler in (handlers or {}).values():
            if hasattr(handler, "recorded"):
                handler.recorded = self._recorder.metrics
        recording.record_with(self._recorder)

    def trace_agent_run(
        self,
        agent_name: str,
        session_id: object = None,
        message_preview: object = None,
        traceparent: str | None = None,
        **attributes: Any,  # noqa: ANN401 - the caller's
    ) -> TraceContext:
        """Return a block that is a run of an agent, and one trace for all providers.

        `traceparent` names the span of another process that it is part of.
        """
        given = {"agent.name": agent_name, "session.id": session_id, **attributes}
        return TraceContext(f"agent.{agent_name}", "agent", given, input=message_preview, caller=traceparent)

    def get_active_providers(self) -> list[str]:
        """Return the names of the providers that traces go to now."""
        return [name for name, provider in self.providers.items() if provider.handler.level < OFF]

    def get_metrics(self) -> dict[str, Any]:
        """Return the account of the traces, and of each provider that keeps one.

        `traces` says how many are open and were logged, and what was cut or dropped, by reason; `providers` what
        became of those that were logged.
        """
        accounts = {name: provider.metrics() for name, provider in self.providers.items()}
        return {"traces": self._recorder.metrics(), "providers": accounts}

    def _warm_up(self) -> None:
        for provider in self.providers.values():
            if (warm_up := getattr(provider.handler, "warm_up", None)) is not None:
                warm_up()

    def flush(self, timeout: float = 30.0) -> bool:
        """Ship all that is queued; whether all was settled within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        settled = [provider.flush(max(0.0, deadline - time.monotonic())) for provider in self.providers.values()]
        return all(settled)

    def shutdown(self) -> None:
        """Stop shipping; the next trace starts it again."""
        for provider in self.providers.values():
            provider.shutdown()


def sampler_of(settings: Settings) -> AdaptiveSampler:
    """Return the sampler that the settings ask for."""
    rate, of_errors = settings.default_sampling_rate, settings.error_sampling_rate
    return AdaptiveSampler(
        0.1 if rate is None else rate,
        1.0 if of_errors is None else of_errors,
        settings.slow_threshold_ms,
        max_per_minute=settings.traces_per_minute,
    )
