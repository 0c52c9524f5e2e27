"""Another name for `automagik_telemetry.integrations.asgi`."""

from __future__ import annotations

from automagik_telemetry.integrations.asgi import TelemetryMiddleware

__all__ = ["TelemetryMiddleware"]
