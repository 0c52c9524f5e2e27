"""An address that Automagik Agents imports from: see `automagik_agents`."""

from __future__ import annotations

from automagik_telemetry.automagik_agents import SamplingDecision

__all__ = ["SamplingDecision"]
