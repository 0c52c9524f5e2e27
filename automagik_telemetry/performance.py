"""An address that Automagik Agents imports from: see `automagik_agents`."""

from __future__ import annotations

from automagik_telemetry.tracing.sampler import AdaptiveSampler, SamplingDecision

__all__ = ["AdaptiveSampler", "SamplingDecision"]
