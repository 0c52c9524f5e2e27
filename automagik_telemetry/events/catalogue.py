"""The built-in events: a class for each, with its level and the kinds of its fields."""

from __future__ import annotations

import logging

from automagik_processors._scalars import integer_of
from automagik_telemetry.events._event import Event, count, duration, flag, unsent, word
from automagik_telemetry.events._models import model_name


class TelemetryEvent(Event):
    """Base class of built-in events.

    The two IDs are accepted for compatibility, and are not sent: the resource has them.
    """

    anonymous_id: str | None = unsent("Ignored: each request carries the anonymous id.", default=None, kw_only=True)
    session_id: str | None = unsent("Ignored: each request carries the session id.", default=None, kw_only=True)


class AgentExecutionEvent(TelemetryEvent):
    """An agent ran."""

    name = "agent.run"
    agent_name: str = word("The agent's name.")
    framework: str = word("The framework that the agent runs on.")
    success: bool = flag("Whether the run ended without an exception.")
    duration_ms: float = duration("Duration of the run in milliseconds.")
    has_multimodal: bool = flag("Whether the input had more than text.", default=False)
    token_count: int | None = count("Number of tokens in all.", default=None)
    model: str | None = model_name("The name of a public model; of several, the last.", default=None)
    input_tokens: int | None = count("Number of input tokens.", default=None)
    output_tokens: int | None = count("Number of output tokens.", default=None)
    request_count: int | None = count("Number of requests to a model.", default=None)
    retry_count: int | None = count(
        "Number of requests that were retries after a model error, a failed tool call or invalid output.",
        default=None,
    )
    tool_count: int | None = count("Number of tool calls.", default=None)
    error_type: str | None = word("The class of the exception that ended it.", default=None)


class CLICommandEvent(TelemetryEvent):
    """A command of a command line ended."""

    name = "cli.command"
    command: str = word("The command's declared name, never its arguments.")
    success: bool = flag("Whether the command ended with exit code 0.")
    duration_ms: float = duration("Duration of the command in milliseconds.")
    item_count: int | None = count("Number of items that it listed.", default=None)
    exit_code: int | None = count("The exit code, if one was set.", maximum=255, default=None)
    abandoned: bool | None = flag("Set if the process died before the command ended.", default=None)


class APIRequestEvent(TelemetryEvent):
    """An HTTP request was completed."""

    name = "api.request"
    endpoint: str = word("The route template, such as /agents/{id}, never the path itself.")
    method: str = word("The HTTP method.")
    status_code: int = count("The status of the response.", maximum=599)
    duration_ms: float = duration("Time to the last byte of the response, in milliseconds.")
    success: bool | None = flag("Whether the status was below 500.", default=None)

    def __post_init__(self) -> None:
        """Derive `success` from the status."""
        status = self.status_code if type(self.status_code) is int else integer_of(self.status_code)
        if self.success is None and status is not None:
            self.success = status < 500  # noqa: PLR2004 - the first status of a server error (RFC 9110, 15.6)


class FeatureUsageEvent(TelemetryEvent):
    """A feature was used."""

    name = "feature.used"
    feature_name: str = word("The feature's declared name.")
    category: str | None = word("The category that the feature belongs to.", default=None)


class ErrorEvent(TelemetryEvent):
    """An error occurred. Sent are its class and component, not its message, arguments or stack."""

    name = "agent.error"
    level = logging.ERROR
    error_type: str = word("The class of the exception.")
    component: str = word("The part of the application that it occurred in.")
    unhandled: bool = unsent(
        "Whether nothing handled the exception; the level is then CRITICAL.", default=False, kw_only=True
    )

    @classmethod
    def levels(cls) -> str:
        """Return a description of the levels at which the event is logged.

        Returns:
            A text.
        """
        return "ERROR, or CRITICAL for an unhandled exception"

    def severity(self) -> int:
        """Return the level of this event.

        Returns:
            CRITICAL for an unhandled exception, else ERROR.
        """
        return logging.CRITICAL if self.unhandled else self.level


class StartupEvent(TelemetryEvent):
    """An application started to use telemetry in this process."""

    name = "system.startup"


class ToolExecutionEvent(TelemetryEvent):
    """An agent used a tool."""

    name = "tool.executed"
    level = logging.DEBUG
    tool_name: str = word("The tool's declared name, never its arguments or results.")
    agent_name: str | None = word("The agent that used it.", default=None)
    success: bool = flag("Whether the tool ended without an exception.", default=True)
    duration_ms: float | None = duration("Duration in milliseconds.", default=None)
    retry_count: int | None = count("Number of its failures just before in this run.", default=None)
    error_type: str | None = word("The class of the exception that ended it.", default=None)


class WorkflowStartedEvent(TelemetryEvent):
    """A workflow started."""

    name = "workflow.started"
    workflow_name: str = word("The workflow's declared name.")


class WorkflowCompletedEvent(TelemetryEvent):
    """A workflow ended."""

    name = "workflow.completed"
    workflow_name: str = word("The workflow's declared name.")
    success: bool = flag("Whether the workflow ended without an exception.", default=True)
    duration_ms: float | None = duration("Duration in milliseconds.", default=None)
    step_count: int | None = count("Number of steps.", default=None)


class FrameworkSelectedEvent(TelemetryEvent):
    """A framework was chosen for an agent."""

    name = "framework.selected"
    framework: str = word("The framework.")
    agent_name: str | None = word("The agent that it was chosen for.", default=None)


class HealthEvent(TelemetryEvent):
    """The client's own health, once a day. Counts cover all processes since the last such event."""

    name = "telemetry.health"
    sent: int = count("Number of events that the endpoint accepted.")
    hashed: int = count("Number of strings that were sent as a hash, because they are not on the allowlist.")
    pending: int = count("Number of events that are waiting to be sent.")
    dropped_fields: int | None = count(
        "Number of values that were dropped because they are not of their field's kind.", default=None
    )
    dropped_unknown_event: int | None = count("Number of log records that are not events.", default=None)
    dropped_sampled: int | None = count("Number of events that were sampled out.", default=None)
    dropped_queue_full: int | None = count("Number of events for which the queue had no room.", default=None)
    dropped_rejected: int | None = count("Number of events that the endpoint rejected.", default=None)
    dropped_expired: int | None = count("Number of events that waited for too long.", default=None)
    dropped_too_large: int | None = count("Number of events above the size limit.", default=None)
    dropped_corrupt: int | None = count("Number of events that were damaged on disk.", default=None)
    dropped_processor_error: int | None = count("Number of events on which a processor failed.", default=None)
    dropped_not_recorded: int | None = count("Number of events that could not be read.", default=None)
    dropped_other: int | None = count("Number of events that were dropped for another reason.", default=None)


EVENTS: tuple[type[TelemetryEvent], ...] = (
    AgentExecutionEvent,
    CLICommandEvent,
    APIRequestEvent,
    FeatureUsageEvent,
    ErrorEvent,
    StartupEvent,
    ToolExecutionEvent,
    WorkflowStartedEvent,
    WorkflowCompletedEvent,
    FrameworkSelectedEvent,
    HealthEvent,
)
