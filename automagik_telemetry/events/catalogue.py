"""Everything that can ever be sent: each event, its level, and the kind of each of its fields.

An event that stands here is a class; what does not stand here does not leave. `CATALOGUE` is the same in the form that
the anonymizing processor takes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

from automagik_processors.kinds import Count, Duration, Flag, Word
from automagik_telemetry.events._schema import Declared, field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automagik_processors import Kind


def _success(sentence: str) -> Any:  # noqa: ANN401 - a declaration stands for its default
    return field(Flag(), sentence, default=True)


def _duration() -> Any:  # noqa: ANN401 - a declaration stands for its default
    return field(Duration(), "How long it took, in milliseconds.", default=None)


class TelemetryEvent(Declared):
    """What all events share. The two ids are taken for the callers' convenience: the resource already carries them."""

    name: ClassVar[str]
    level: ClassVar[int] = logging.INFO
    anonymous_id: str | None = field(None, default=None, kw_only=True)
    session_id: str | None = field(None, default=None, kw_only=True)

    @classmethod
    def kinds(cls) -> dict[str, Kind]:
        """Return the kind of each field that may leave."""
        return {name: declared.kind for name, declared in cls.fields.items() if declared.kind is not None}

    @classmethod
    def levels(cls) -> str:
        """Return in words at which levels the event is logged."""
        usual = logging.getLevelName(cls.level)
        return f"{usual}, or ERROR for a failure" if "success" in cls.kinds() else usual

    def severity(self) -> int:
        """Return the level of this very event: a failure is an ERROR whatever the event's usual level."""
        return logging.ERROR if getattr(self, "success", True) is False else self.level


class AgentExecutionEvent(TelemetryEvent):
    """An agent ran."""

    name: ClassVar[str] = "agent.run"
    agent_name: str = field(Word(), "The agent's name.")
    framework: str = field(Word(), "The framework that it runs on, such as pydantic_ai or agno.")
    success: bool = field(Flag(), "Whether the run ended without an exception.")
    duration_ms: float = field(Duration(), "How long the run took, in milliseconds.")
    has_multimodal: bool = field(Flag(), "Whether the input held more than text.", default=False)
    token_count: int | None = field(Count(), "How many tokens the model used in all.", default=None)
    model: str | None = field(Word(), "The model, if its name is a public one; the last, of several.", default=None)
    input_tokens: int | None = field(Count(), "How many tokens the model read.", default=None)
    output_tokens: int | None = field(Count(), "How many tokens the model wrote.", default=None)
    request_count: int | None = field(Count(), "How many requests to a model it took.", default=None)
    retry_count: int | None = field(
        Count(),
        "How many of them were made again, for the model, its call of a tool or its output failed.",
        default=None,
    )
    tool_count: int | None = field(Count(), "How many times a tool was executed.", default=None)
    error_type: str | None = field(Word(), "The class of the exception that it failed of.", default=None)


class CLICommandEvent(TelemetryEvent):
    """A command of a command line ended."""

    name: ClassVar[str] = "cli.command"
    command: str = field(Word(), "The command's declared name, never its arguments.")
    success: bool = field(Flag(), "Whether the command ended with exit code 0.")
    duration_ms: float = field(Duration(), "How long the command took, in milliseconds.")
    item_count: int | None = field(Count(), "How many items it listed, where it lists any.", default=None)
    exit_code: int | None = field(Count(maximum=255), "The exit code, where one was given.", default=None)


class APIRequestEvent(TelemetryEvent):
    """An HTTP request was answered."""

    name: ClassVar[str] = "api.request"
    endpoint: str = field(Word(), "The template of the route, such as /agents/{id}; never the path itself.")
    method: str = field(Word(), "The HTTP method.")
    status_code: int = field(Count(maximum=599), "The status of the answer.")
    duration_ms: float = field(Duration(), "Time to the last byte of the answer, in milliseconds.")
    success: bool | None = field(Flag(), "Whether the status was below 500.", default=None)

    def __post_init__(self) -> None:
        """Derive `success` from the status."""
        if self.success is None and isinstance(self.status_code, int):
            self.success = self.status_code < 500  # noqa: PLR2004 - the first status that is the server's fault (RFC 9110, 15.6)


class FeatureUsageEvent(TelemetryEvent):
    """A feature was used."""

    name: ClassVar[str] = "feature.used"
    feature_name: str = field(Word(), "The feature's declared name.")
    category: str | None = field(Word(), "The category that the feature belongs to.", default=None)


class ErrorEvent(TelemetryEvent):
    """Something failed: the class of the exception and where, without message, arguments or stack."""

    name: ClassVar[str] = "agent.error"
    level: ClassVar[int] = logging.ERROR
    error_type: str = field(Word(), "The class of the exception.")
    component: str = field(Word(), "The part of the application that it occurred in.")
    unhandled: bool = field(None, default=False, kw_only=True)

    @classmethod
    def levels(cls) -> str:
        """See `TelemetryEvent`."""
        return "ERROR, or CRITICAL for an exception that nobody handled"

    def severity(self) -> int:
        """See `TelemetryEvent`."""
        return logging.CRITICAL if self.unhandled else self.level


class StartupEvent(TelemetryEvent):
    """An application started to use telemetry in this process."""

    name: ClassVar[str] = "system.startup"


class ToolExecutionEvent(TelemetryEvent):
    """An agent used a tool."""

    name: ClassVar[str] = "tool.executed"
    level: ClassVar[int] = logging.DEBUG
    tool_name: str = field(Word(), "The tool's declared name, never its arguments or results.")
    agent_name: str | None = field(Word(), "The agent that used it.", default=None)
    success: bool = _success("Whether the tool ended without an exception.")
    duration_ms: float | None = _duration()
    retry_count: int | None = field(Count(), "How many times it had failed in this run just before.", default=None)
    error_type: str | None = field(Word(), "The class of the exception that it failed of.", default=None)


class WorkflowStartedEvent(TelemetryEvent):
    """A workflow started."""

    name: ClassVar[str] = "workflow.started"
    workflow_name: str = field(Word(), "The workflow's declared name.")


class WorkflowCompletedEvent(TelemetryEvent):
    """A workflow ended."""

    name: ClassVar[str] = "workflow.completed"
    workflow_name: str = field(Word(), "The workflow's declared name.")
    success: bool = _success("Whether the workflow ended without an exception.")
    duration_ms: float | None = _duration()
    step_count: int | None = field(Count(), "How many steps it took.", default=None)


class FrameworkSelectedEvent(TelemetryEvent):
    """A framework was chosen for an agent."""

    name: ClassVar[str] = "framework.selected"
    framework: str = field(Word(), "The framework.")
    agent_name: str | None = field(Word(), "The agent that it was chosen for.", default=None)


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
)
CATALOGUE: Mapping[str, Mapping[str, Kind]] = {event.name: event.kinds() for event in EVENTS}
