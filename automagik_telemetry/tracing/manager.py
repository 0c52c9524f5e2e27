"""The facade of observability: the sampler, the providers, and the block around a run of an agent."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from automagik_processors._otlp_values import text_of
from automagik_telemetry._log import warn
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.settings import OFF
from automagik_telemetry.tracing import spans
from automagik_telemetry.tracing._beginning import Beginning, Templates
from automagik_telemetry.tracing._recorder import Recorder
from automagik_telemetry.tracing._reported_runs import ReportedRuns
from automagik_telemetry.tracing.context import TraceContext
from automagik_telemetry.tracing.provider import TraceProvider
from automagik_telemetry.tracing.sampler import AdaptiveSampler

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from automagik_telemetry.export.metrics import TraceMetrics
    from automagik_telemetry.settings import Settings
    from automagik_telemetry.tracing._recorder import Discard, Part, TraceLimits

    Provider = Callable[[], logging.Handler | None]

__all__ = ["ObservabilityManager"]

GROUP = "automagik_telemetry.providers"
"""The entry point group of providers in other distributions."""


class ObservabilityManager:
    """Records full traces; `get_tracing_manager().observability` is one. Recording begins when it is created.

    Attributes:
        sampler: Decides which runs are kept.
        providers: The destinations of traces, by name.

    Args:
        handlers: Logging handlers by provider name. They must be attached to the logger of traces. By default none.
        sampler: Decides which runs are kept. By default `AdaptiveSampler()`.
        limits: Limits of the data of open traces. By default those of the package.
    """

    def __init__(
        self,
        handlers: Mapping[str, logging.Handler] | None = None,
        sampler: AdaptiveSampler | None = None,
        limits: TraceLimits | None = None,
    ) -> None:
        self.sampler = sampler or AdaptiveSampler()
        self._templates = Templates()
        self._recorder = Recorder(self.sampler, limits, self._warm_up, self._keep)
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
        **attributes: Any,
    ) -> TraceContext:
        """Return a block around a run of an agent, which is one trace for all providers.

        Args:
            agent_name: Name of the agent.
            session_id: ID of the conversation, if any.
            message_preview: Input of the run: a string, a list of chat messages, or any data.
            traceparent: W3C header of the span of another process that the run is part of.
            **attributes: Further attributes of the span.

        Returns:
            The block.
        """
        given = {"agent.name": agent_name, "session.id": session_id, **attributes}
        return TraceContext(f"agent.{text_of(agent_name)}", "agent", given, input=message_preview, caller=traceparent)

    def get_active_providers(self) -> list[str]:
        """Return the names of the providers that are on.

        Returns:
            The names, in no special order.
        """
        return [name for name, provider in self.providers.items() if provider.handler.level < OFF]

    def get_metrics(self) -> TraceMetrics:
        """Return the counts of traces, and the delivery stats of each provider that has some.

        Returns:
            `traces` with the numbers of open and logged traces, and of cut and dropped data by reason; `providers`
            with the delivery stats of logged traces by provider name.
        """
        stats = {name: provider.metrics() for name, provider in self.providers.items()}
        return {"traces": self._recorder.metrics(), "providers": stats}

    def _warm_up(self) -> None:
        for provider in self.providers.values():
            if (warm_up := getattr(provider.handler, "warm_up", None)) is not None:
                warm_up()

    def _keep(self, part: Part) -> list[Discard]:
        """Keep a part of an open trace in the queue of each provider that has one."""
        kept = []
        for provider in self.providers.values():
            handler: Any = provider.handler
            if (keep := getattr(handler, "keep", None)) is not None:
                chain = handler.sink, id(handler.formatter)

                def made(encode: Callable[[Mapping[str, Any]], bytes], chain: Any = chain) -> bytes:
                    return self._templates.encode(chain, part, encode) if isinstance(part, Beginning) else encode(part)

                if (discard := keep("trace", logging.ERROR, made, is_part=type(part) is dict)) is not None:
                    kept.append(discard)
        return kept

    def flush(self, timeout: float = 30.0) -> bool:
        """Send all queued traces, and retry until they are sent.

        Args:
            timeout: Maximum number of seconds. The default is 30.

        Returns:
            Whether all traces were accepted, or dropped and counted, in this time.
        """
        deadline = time.monotonic() + timeout
        settled = [provider.flush(max(0.0, deadline - time.monotonic())) for provider in self.providers.values()]
        return all(settled)

    def shutdown(self, timeout: float = 5.0) -> bool:
        """Send queued traces, and stop. The next trace restarts it.

        Args:
            timeout: Maximum number of seconds. The default is 5. It returns at once if an endpoint refuses.

        Returns:
            Whether all traces were accepted, or dropped and counted, in this time.
        """
        deadline = time.monotonic() + timeout
        settled = [provider.shutdown(max(0.0, deadline - time.monotonic())) for provider in self.providers.values()]
        return all(settled)


def sampler_of(settings: Settings) -> AdaptiveSampler:
    """Return a sampler by the settings."""
    rate, of_errors = settings.default_sampling_rate, settings.error_sampling_rate
    return AdaptiveSampler(
        0.1 if rate is None else rate,
        1.0 if of_errors is None else of_errors,
        settings.slow_threshold_ms,
        max_per_minute=settings.traces_per_minute,
    )


def installed_providers() -> dict[str, logging.Handler]:
    """Return the handlers of all installed and configured providers, by name. A failing one logs a warning.

    An entry point is a function without parameters that returns a logging handler, or None if its provider is not
    configured. The handler gets each trace as one record, whose attributes `handlers.formatter.event_dict` returns.
    """
    if preferences.simulated is not None:  # a provider of another distribution would send what a test records
        return {}
    from importlib.metadata import entry_points

    found: dict[str, logging.Handler] = {}
    for entry_point in entry_points(group=GROUP):
        try:
            provider: Provider = entry_point.load()
            handler = provider()
            if handler is not None and not isinstance(handler, logging.Handler):
                raise TypeError(f"must return a logging.Handler or None, got {type(handler).__name__}")  # noqa: TRY301 - reported below
        except Exception as error:  # another distribution's code may raise anything
            warn(
                "the provider %r is off, because its entry point failed: %s: %s",
                entry_point.name,
                type(error).__name__,
                error,
            )
            continue
        if handler is not None:
            found[entry_point.name] = handler
    return found
