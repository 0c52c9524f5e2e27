"""An address that Automagik Agents imports from: see `automagik_agents`."""

from __future__ import annotations

from automagik_telemetry.compat.automagik_agents import TracingMiddleware

__all__ = ["TracingMiddleware"]
