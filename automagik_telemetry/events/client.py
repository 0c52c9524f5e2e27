"""The third way in: `track_*` calls, which log to the same logger as everybody else."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.events.catalogue import (
    EVENTS,
    AgentExecutionEvent,
    APIRequestEvent,
    ErrorEvent,
    FeatureUsageEvent,
    TelemetryEvent,
)
from automagik_telemetry.handlers._log_event import is_enabled, log_event
from automagik_telemetry.handlers._loggers import EVENT_LOGGER
from automagik_telemetry.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from automagik_telemetry.handlers.handler import BatchQueueHandler

_MAX_FEATURES = 1_000
"""Names that `feature_usage` counts; an application that makes names up must not grow it without end."""


class TelemetryClient:
    """Tracks usage anonymously. `sink` returns the telemetry sink's handler, attached if the application detached it.

    No method raises, blocks or prints: what can't be tracked is a counted drop.
    """

    def __init__(self, sink: Callable[[], BatchQueueHandler]) -> None:
        self._sink = sink
        self._events = logging.getLogger(EVENT_LOGGER)
        self._features: Counter[str] = Counter()

    @property
    def anonymous_id(self) -> str:
        """The random id of this installation."""
        return identity.anonymous_id(identity.state_directory(Settings.from_environ().state_dir))

    @property
    def session_id(self) -> str:
        """The random id of this process."""
        return identity.session_id()

    def track_event(
        self, event: TelemetryEvent, *, span_id: str | None = None, ids: Mapping[str, str] | None = None
    ) -> None:
        """Log an event of the catalogue.

        If it stands for a span that others are part of, `ids` are that span's, see `Span.ids`, or `span_id` (16 hex
        digits) is its own id, and the trace is the one that is bound.
        """
        sink = self._sink()
        if type(event) not in EVENTS:
            sink.stats.drop("unknown_event")
            return
        level = event.severity()
        if not is_enabled(self._events, level):
            return
        fields = event.as_fields()
        if ids:
            fields.update(ids)
        elif span_id is not None:
            fields["span_id"] = span_id
        log_event(self._events, level, event.name, fields)

    def log(self, event_dict: dict[str, Any], level: int) -> None:
        """Log an event as structlog has it, at a level of `logging`."""
        self._sink()
        if is_enabled(self._events, level):
            log_event(self._events, level, event_dict, {})

    def track_agent_run(self, agent_type: str, framework: str, success: bool, duration_ms: float) -> None:  # noqa: FBT001 - the name and order that applications call it with
        """Log that an agent ran; `duration_ms` in milliseconds."""
        self.track_event(AgentExecutionEvent(agent_type, framework, success, duration_ms))

    def track_feature_usage(self, feature_name: str, category: str | None = None) -> None:
        """Log that a feature was used, and count it in `get_metrics()["feature_usage"]`."""
        if isinstance(feature_name, str) and (feature_name in self._features or len(self._features) < _MAX_FEATURES):
            self._features[feature_name] += 1
        self.track_event(FeatureUsageEvent(feature_name, category))

    def track_error(self, error_type: str, component: str, *, unhandled: bool = False) -> None:
        """Log that something failed: the class of the exception, where, and whether nobody handled it (CRITICAL)."""
        self.track_event(ErrorEvent(error_type, component, unhandled=unhandled))

    def track_http_request(self, method: str, path: str, status_code: int, duration_ms: float) -> None:
        """Log an answered request; `path` leaves only if it is a declared route's template, `duration_ms` is in ms."""
        self.track_event(APIRequestEvent(path, method, status_code, duration_ms))

    def get_metrics(self) -> dict[str, Any]:
        """Return the account of the telemetry sink.

        `tracer` holds `queued`, `processed`, `dropped`, `dropped_by_reason`, `pending` (counts of events, with queued
        = processed + dropped + pending), `pending_bytes` and `storage`; `circuit_breaker` its `state`;
        `feature_usage` the counts by feature; `last_success` (Unix seconds) and `last_error` what happened last.
        """
        return {
            "anonymous_id": self.anonymous_id,
            "session_id": self.session_id,
            "feature_usage": dict(self._features),
            **self._sink().metrics(),
        }

    def resume(self) -> None:
        """Send in the background what earlier processes left, if anything: for processes that end soon."""
        self._sink().resume()

    def flush(self, timeout: float = 30.0) -> bool:
        """Send all that is queued, and return whether all was settled within `timeout` seconds."""
        return self._sink().force_flush(timeout)

    def shutdown(self) -> None:
        """Stop sending; what is queued waits on disk for the next process."""
        self._sink().close()
