"""An address that Automagik Agents imports from: see `automagik_agents`."""

from __future__ import annotations

from automagik_telemetry.compat.automagik_agents import trace_async_cli_command, trace_cli_command

__all__ = ["trace_async_cli_command", "trace_cli_command"]
