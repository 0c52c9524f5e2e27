"""The `track_*` methods, which log events to the standard logger."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from automagik_processors._mappings import plain_dict
from automagik_processors._otlp_values import text_of
from automagik_processors._scalars import word_of
from automagik_telemetry._failsafe import attempt, class_name
from automagik_telemetry._log import logger as own_logger
from automagik_telemetry.consent import _application as application
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.consent._application import debug_mode
from automagik_telemetry.events._registry import CATALOGUE, is_declared
from automagik_telemetry.events.catalogue import AgentExecutionEvent, APIRequestEvent, ErrorEvent, FeatureUsageEvent
from automagik_telemetry.handlers._log_event import log_event
from automagik_telemetry.handlers._loggers import EVENT_LOGGER, own
from automagik_telemetry.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from automagik_telemetry.consent._application import Application
    from automagik_telemetry.events._event import Event
    from automagik_telemetry.export.metrics import Metrics
    from automagik_telemetry.handlers.handler import BatchQueueHandler

_MAX_FEATURES = 1_000
"""Maximum number of names that `feature_usage` counts."""


class TelemetryClient:
    """Records usage events anonymously; `get_tracing_manager().telemetry` is one.

    No method raises, blocks or prints. An event that can't be recorded is a counted drop.

    Args:
        sink: Returns the handler of the telemetry sink, attached again if the application detached it.
    """

    def __init__(self, sink: Callable[[], BatchQueueHandler]) -> None:
        self._sink = sink
        self._events = own(EVENT_LOGGER)
        self._features: Counter[str] = Counter()
        self._prints = bool(debug_mode(Settings.from_environ()))

    @property
    def anonymous_id(self) -> str:
        """The random ID of this installation of the application, for the recipient of its events."""
        return self._identity().anonymous_id

    @property
    def session_id(self) -> str:
        """The random ID of this process, for the recipient of its events."""
        return self._identity().session_id

    def _identity(self) -> identity.Identity:
        return identity.of(self.sender, Settings.from_environ())

    @property
    def sender(self) -> Application:
        """The application, as its sink has it."""
        return self._sink().sender or application.current()

    @property
    def endpoint(self) -> str | None:
        """The endpoint that events are sent to."""
        return self._sink().endpoint()

    def track_event(self, event: Event, *, span_id: str | None = None, ids: Mapping[str, str] | None = None) -> None:
        """Record a declared event. Another event is dropped and counted as `unknown_event`.

        Args:
            event: An instance of an event class: a built-in one, such as `AgentExecutionEvent`, or one that was given
                to `configure`.
            span_id: ID of the event's span (16 hex digits), in the bound trace, if the span has children.
            ids: All IDs of the event's span, as `SpanContext.ids` returns them; replaces `span_id`.
        """
        try:
            sink = self._sink()
            if not is_declared(type(event)):
                sink.stats.drop("unknown_event")
                attempt(sink.on_dropped, class_name(type(event)), "not_an_event", None)
                return
            level = event.severity()
            if level < sink.level:
                attempt(sink.on_dropped, event.name, "below_level", None)
            if not self._events.isEnabledFor(level):
                return
            fields = event.as_fields()
            if ids is not None:
                fields.update(ids if type(ids) is dict else plain_dict(ids, text_of))
            elif span_id is not None:
                fields["span_id"] = span_id
        except Exception:  # nothing of ours reaches the application as an exception
            attempt(self.drop, "not_recorded")
            return
        attempt(log_event, self._events, level, event.name, fields)

    def keep_event(self, event: Event, ids: Mapping[str, str]) -> Callable[[], None] | None:
        """Keep the event of work that begins, for the next process to send if this one dies before the work ends.

        Args:
            event: An instance of a declared event class.
            ids: All IDs of the event's span, as `SpanContext.ids` returns them.

        Returns:
            A function that discards the event when the work has ended; None if it is not kept.
        """
        level = event.severity()
        if not is_declared(type(event)) or not self._events.isEnabledFor(level):
            return None
        fields = {**event.as_fields(), **ids}
        return self._sink().keep(event.name, level, lambda encode: encode(fields))

    def drop(self, reason: str) -> None:
        """Count an event that can't be logged.

        Args:
            reason: The reason in snake_case, by which drops are counted.
        """
        sink = self._sink()
        sink.stats.drop(reason)
        attempt(sink.on_dropped, None, reason, None)

    def log(self, method_name: str, event_dict: Mapping[str, Any]) -> None:
        """Record a structlog event dict, if the event is declared.

        Args:
            method_name: The name of the logger's method, such as "info", which gives the level.
            event_dict: The event, with its name under the key `event`.
        """
        try:
            if word_of(event_dict.get("event")) not in CATALOGUE:
                if self._prints or own_logger.isEnabledFor(logging.DEBUG):
                    self._sink().on_dropped(dict(event_dict), "unknown_event", None)
                return
            level = logging.getLevelName("ERROR" if method_name == "exception" else method_name.upper())
            self._sink()
            if type(level) is not int or not self._events.isEnabledFor(level):
                return
            event = dict(event_dict)
        except Exception:  # as above
            attempt(self.drop, "not_recorded")
            return
        attempt(log_event, self._events, level, event, {})

    def track_agent_run(self, agent_type: str, framework: str, success: bool, duration_ms: float) -> None:  # noqa: FBT001 - applications pass it by position
        """Record a run of an agent.

        Args:
            agent_type: Name of the agent.
            framework: Name of its framework.
            success: Whether the run succeeded.
            duration_ms: Duration in milliseconds.
        """
        self.track_event(AgentExecutionEvent(agent_type, framework, success, duration_ms))

    def track_feature_usage(self, feature_name: str, category: str | None = None) -> None:
        """Record the use of a feature, and count it in `get_metrics()["feature_usage"]`.

        Args:
            feature_name: Name of the feature.
            category: Category of the feature, if any.
        """
        if issubclass(type(feature_name), str):
            name = str.__str__(feature_name)
            if name in self._features or len(self._features) < _MAX_FEATURES:
                self._features[name] += 1
        self.track_event(FeatureUsageEvent(feature_name, category))

    def track_error(self, error_type: str, component: str, *, unhandled: bool = False) -> None:
        """Record an error.

        Args:
            error_type: Name of the class of the exception.
            component: Part of the application, such as "agent.simple".
            unhandled: Whether the exception was unhandled. It is then logged at CRITICAL instead of ERROR. The default
                is False.
        """
        self.track_event(ErrorEvent(error_type, component, unhandled=unhandled))

    def track_http_request(self, method: str, path: str, status_code: int, duration_ms: float) -> None:
        """Record a completed HTTP request.

        Args:
            method: The HTTP method.
            path: A route template, such as "/agents/{id}". A path that is not declared is sent as a hash.
            status_code: Status of the response.
            duration_ms: Duration in milliseconds, until the last byte of the response.
        """
        self.track_event(APIRequestEvent(path, method, status_code, duration_ms))

    def get_metrics(self) -> Metrics:
        """Return the delivery stats of the telemetry sink.

        Returns:
            Counts of events, the state of the backoff, and the IDs with which events are sent.
        """
        return {
            "anonymous_id": self.anonymous_id,
            "session_id": self.session_id,
            "feature_usage": dict(self._features),
            **self._sink().metrics(),
        }

    def resume(self) -> None:
        """Begin to send the events that earlier processes queued, in the background."""
        attempt(lambda: self._sink().resume())

    def flush(self, timeout: float = 30.0) -> bool:
        """Send all queued events, of earlier processes too, and retry until they are sent.

        Args:
            timeout: Maximum number of seconds. The default is 30.

        Returns:
            Whether all events were accepted, or dropped and counted, in this time.
        """
        return bool(attempt(lambda: self._sink().force_flush(timeout), default=False))

    def shutdown(self, timeout: float = 5.0) -> bool:
        """Send queued events, and stop. Other events wait on disk for the next process.

        Args:
            timeout: Maximum number of seconds. The default is 5. It returns at once if the endpoint refuses.

        Returns:
            Whether all events were accepted, or dropped and counted, in this time.
        """
        return bool(attempt(lambda: self._sink().shutdown(timeout), default=False))
