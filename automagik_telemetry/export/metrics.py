"""The shapes of delivery metrics, as `get_metrics()` returns them."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class RecoveredMetrics(TypedDict):
    """Counts of events that other processes left on disk, and this process delivers.

    Attributes:
        processed: Number of events that the endpoint accepted.
        dropped: Number of events that were dropped.
        dropped_by_reason: Number of dropped events for each reason.
        pending: Number of events that wait to be sent.
    """

    processed: int
    dropped: int
    dropped_by_reason: dict[str, int]
    pending: int


class TracerMetrics(TypedDict):
    """Counts of the events of this process, with `queued = processed + dropped + pending` at any moment.

    Attributes:
        queued: Number of events that were logged.
        processed: Number of events that the endpoint accepted.
        dropped: Number of events that were dropped.
        dropped_by_reason: Number of dropped events for each reason, such as `unknown_event` or `rejected`.
        pending: Number of events that wait to be sent.
        pending_bytes: Bytes of everything that waits to be sent, recovered events included.
        storage: Where events wait: "mapped" or "buffered" files, or "memory". None before the first event.
        recovered: Counts of events that other processes left.
        dropped_fields: Number of values that were dropped because they are not of their field's kind, by event and
            field. Their events are sent without them.
    """

    queued: int
    processed: int
    dropped: int
    dropped_by_reason: dict[str, int]
    pending: int
    pending_bytes: int
    storage: Literal["mapped", "buffered", "memory"] | None
    recovered: RecoveredMetrics
    dropped_fields: dict[str, int]


class CircuitBreakerMetrics(TypedDict):
    """The state of the backoff after failed requests.

    Attributes:
        state: "closed" while requests are sent, "open" while they wait after several failures, "half_open" when the
            next request will show whether the endpoint is back.
        failures: Number of failed requests in a row.
        retry_in: Seconds until the next request may be sent; 0.0 is now.
    """

    state: Literal["closed", "open", "half_open"]
    failures: int
    retry_in: float


class SinkMetrics(TypedDict):
    """The delivery stats of one sink.

    Attributes:
        tracer: Counts of events.
        circuit_breaker: The state of the backoff.
        last_success: Unix time in seconds at which the endpoint last accepted a request, or None.
        last_error: Description of the last failed request, or None.
    """

    tracer: TracerMetrics
    circuit_breaker: CircuitBreakerMetrics
    last_success: float | None
    last_error: str | None


class Metrics(SinkMetrics):
    """The delivery stats of the telemetry sink, and the ids with which its events are sent.

    Attributes:
        anonymous_id: The random id of this installation.
        session_id: The random id of this process.
        feature_usage: Number of calls of `track_feature_usage` for each feature, up to 1,000 features.
    """

    anonymous_id: str
    session_id: str
    feature_usage: dict[str, int]


class TraceMetrics(TypedDict):
    """The counts of full traces, as `observability.get_metrics()` returns them.

    Attributes:
        traces: Numbers of traces that are open and that were logged, and of what was cut or dropped, by reason.
        providers: The delivery stats of each provider: `SinkMetrics`, unless its handler keeps others or none.
    """

    traces: dict[str, int]
    providers: dict[str, dict[str, Any]]
