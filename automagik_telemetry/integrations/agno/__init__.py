"""Track the runs, requests and tools of an agno agent: `instrument(agent)`."""

from __future__ import annotations

from automagik_telemetry.integrations.agno._agent import instrument, uninstrument

__all__ = ["instrument", "uninstrument"]
