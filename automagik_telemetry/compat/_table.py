"""The other addresses of this package's names: one row for each module that applications import from.

`make docs` writes a module for each row. They are files, not a `__getattr__` or an import hook, because editors, type
checkers and packagers follow a plain import; `import automagik_telemetry` loads none of them.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Row(NamedTuple):
    """A module below `automagik_telemetry`: its path, where its names come from, and the names."""

    path: str
    source: str
    names: tuple[str, ...]


TABLE: Final = (
    Row("decorators.py", "compat.automagik_agents", ("trace_async_cli_command", "trace_cli_command")),
    Row("middleware.py", "compat.automagik_agents", ("TracingMiddleware",)),
    Row("performance.py", "tracing.sampler", ("AdaptiveSampler", "SamplingDecision")),
    Row("integrations/api.py", "integrations.asgi", ("TelemetryMiddleware",)),
    Row(
        "integrations/cli.py",
        "integrations.click",
        ("instrument_click", "instrument_typer", "track_cli_command"),
    ),
    Row(
        "telemetry/cli_events.py",
        "events.catalogue",
        (
            "AgentExecutionEvent",
            "APIRequestEvent",
            "CLICommandEvent",
            "ErrorEvent",
            "FeatureUsageEvent",
            "FrameworkSelectedEvent",
            "StartupEvent",
            "TelemetryEvent",
            "ToolExecutionEvent",
            "WorkflowCompletedEvent",
            "WorkflowStartedEvent",
        ),
    ),
)
