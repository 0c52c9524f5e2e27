"""The alias modules: modules that hold names of other modules, because applications import them there.

`make docs` writes each of them. They are files, not a `__getattr__` or an import hook, because editors, type checkers
and packagers follow a plain import. `import automagik_telemetry` loads none of them.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Alias(NamedTuple):
    """An alias module below `automagik_telemetry`: its path, the source of its names, and the names."""

    path: str
    source: str
    names: tuple[str, ...]


ALIASES: Final = (
    Alias("decorators.py", "compat.automagik_agents", ("trace_async_cli_command", "trace_cli_command")),
    Alias("middleware.py", "compat.automagik_agents", ("TracingMiddleware",)),
    Alias("performance.py", "tracing.sampler", ("AdaptiveSampler", "SamplingDecision")),
    Alias("integrations/api.py", "integrations.asgi", ("TelemetryMiddleware",)),
    Alias(
        "integrations/cli.py",
        "integrations.click",
        ("instrument_click", "instrument_typer", "track_cli_command"),
    ),
    Alias(
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
