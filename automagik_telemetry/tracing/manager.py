"""What an application asks of observability: the sampler, the providers, and one block around a run of an agent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from automagik_telemetry._log import warn
from automagik_telemetry.settings import OFF
from automagik_telemetry.tracing import spans
from automagik_telemetry.tracing._recorder import Recorder
from automagik_telemetry.tracing._reported_runs import ReportedRuns
from automagik_telemetry.tracing.context import TraceContext
from automagik_telemetry.tracing.provider import TraceProvider
from automagik_telemetry.tracing.sampler import AdaptiveSampler

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping

    from automagik_telemetry.settings import Settings
    from automagik_telemetry.tracing._recorder import TraceLimits

    Provider = Callable[[], logging.Handler | None]

GROUP = "automagik_telemetry.providers"
"""The entry points of providers that other distributions bring."""


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
        runs = ReportedRuns(self._recorder)
        self.providers = {
            name: TraceProvider(name, handler, self._recorder, runs) for name, handler in (handlers or {}).items()
        }
        handler: Any
        for handler in (handlers or {}).values():
            if hasattr(handler, "recorded"):
                handler.recorded = self._recorder.metrics
        spans.record_with(self._recorder)

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
        """Send all that is queued, and return whether all was settled within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        settled = [provider.flush(max(0.0, deadline - time.monotonic())) for provider in self.providers.values()]
        return all(settled)

    def shutdown(self) -> None:
        """Stop sending; the next trace starts it again."""
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


def installed_providers() -> dict[str, logging.Handler]:
    """Return the handlers of all installed providers that are configured, by name; one that fails is warned of.

    An entry point is a function that takes nothing, and returns a logging handler, or None while its provider is not
    configured. The handler gets each trace as one record, whose attributes `handlers.formatter.event_dict` reads.
    """
    import logging  # noqa: PLC0415 - with the next, only where traces are allowed
    from importlib.metadata import entry_points  # noqa: PLC0415 - see above

    found: dict[str, logging.Handler] = {}
    for entry_point in entry_points(group=GROUP):
        try:
            provider: Provider = entry_point.load()
            handler = provider()
            if handler is not None and not isinstance(handler, logging.Handler):
                raise TypeError(f"{type(handler).__name__} is no logging.Handler")  # noqa: TRY301 - the one way out
        except Exception as error:  # noqa: BLE001 - another distribution's code may raise anything
            warn("the provider %r can't be used: %s: %s", entry_point.name, type(error).__name__, error)
            continue
        if handler is not None:
            found[entry_point.name] = handler
    return found
