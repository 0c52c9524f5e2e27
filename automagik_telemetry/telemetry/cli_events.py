"""The events under the name that applications import them by."""

from __future__ import annotations

from automagik_telemetry.events.catalogue import (
    AgentExecutionEvent,
    APIRequestEvent,
    CLICommandEvent,
    ErrorEvent,
    FeatureUsageEvent,
    FrameworkSelectedEvent,
    StartupEvent,
    TelemetryEvent,
    ToolExecutionEvent,
    WorkflowCompletedEvent,
    WorkflowStartedEvent,
)

__all__ = [
    "APIRequestEvent",
    "AgentExecutionEvent",
    "CLICommandEvent",
    "ErrorEvent",
    "FeatureUsageEvent",
    "FrameworkSelectedEvent",
    "StartupEvent",
    "TelemetryEvent",
    "ToolExecutionEvent",
    "WorkflowCompletedEvent",
    "WorkflowStartedEvent",
]
