"""Track the requests of an ASGI application: `app.add_middleware(TelemetryMiddleware)`."""

from __future__ import annotations

from automagik_telemetry.integrations.asgi._middleware import TelemetryMiddleware

__all__ = ["TelemetryMiddleware"]
