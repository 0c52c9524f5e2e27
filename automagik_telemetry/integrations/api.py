"""Tracks the requests of an ASGI application: route template, method, status and duration, never a path."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from automagik_telemetry.manager import get_tracing_manager
from automagik_telemetry.telemetry.events import APIRequestEvent
from automagik_telemetry.telemetry.vocabulary import declare

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

_SERVER_ERROR = 500


class TelemetryMiddleware:
    """Pure ASGI: `app.add_middleware(TelemetryMiddleware)`. Messages pass unchanged, in order, and at once."""

    def __init__(self, app: App) -> None:
        """Raises TypeError if `app` can't be called."""
        if not callable(app):
            raise TypeError(f"TelemetryMiddleware wraps an ASGI application, not {type(app).__name__}")
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; anything but an HTTP request passes untracked."""
        telemetry = get_tracing_manager().telemetry if scope["type"] == "http" else None
        if telemetry is None:
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = _SERVER_ERROR
        answered = False

        def track() -> None:
            nonlocal answered
            answered = True
            duration_ms = (time.perf_counter() - started) * 1000
            telemetry.track_event(APIRequestEvent(_template(scope), scope["method"], status, duration_ms))

        async def send_and_track(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)
            # The last byte, and not the application's return: background tasks come after it.
            if message["type"] == "http.response.body" and not message.get("more_body") and not answered:
                track()

        try:
            await self.app(scope, receive, send_and_track)
        except Exception as error:
            telemetry.track_error(type(error).__name__, "api", unhandled=True)
            raise
        finally:
            if not answered:
                track()


def _template(scope: Scope) -> str:
    """Return the template of the route that the application chose, which is code and so declared; else "unmatched"."""
    path = getattr(scope.get("route"), "path", None)
    if not isinstance(path, str):
        return "unmatched"
    with suppress(ValueError):
        declare(path)
    return path
