"""Track the runs, requests and tools of a pydantic-ai agent: `instrument(agent)`."""

from __future__ import annotations

from automagik_telemetry.integrations.pydantic_ai._agent import instrument, uninstrument

__all__ = ["instrument", "uninstrument"]
