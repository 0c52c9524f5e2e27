"""Tracks an ASGI application: one of Starlette or FastAPI in place, any other by the middleware around it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from automagik_telemetry._failsafe import attempt
from automagik_telemetry.integrations._patch import patch_instance, plain_class, unpatch_instance
from automagik_telemetry.integrations.asgi._middleware import TelemetryMiddleware

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from automagik_telemetry.integrations.asgi._exchange import Receive, Scope, Send

    Serve = Callable[[Any, Scope, Receive, Send], Awaitable[None]]

_MIDDLEWARE = "_automagik_telemetry_middleware"


def instrument(app: Any) -> Any:
    """Track an application. Return it, or the middleware around it if it is not of Starlette."""
    if isinstance(app, TelemetryMiddleware):
        return app
    if not _is_starlette(app):
        return TelemetryMiddleware(app)
    attempt(patch_instance, app, {"__call__": _tracked})  # its class may be one that can't be extended
    return app


def uninstrument(app: Any) -> Any:
    """Undo `instrument`; return the application itself."""
    if isinstance(app, TelemetryMiddleware):
        return app.app
    unpatch_instance(app)
    vars(app).pop(_MIDDLEWARE, None)
    return app


def _is_starlette(app: object) -> bool:
    return any(kind.__name__ == "Starlette" and kind.__module__.startswith("starlette.") for kind in type(app).__mro__)


class _Inner:
    """The application's own way to serve, for the middleware in front of it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as the class does now: another library may have patched it since."""
        await plain_class(self.app).__call__(self.app, scope, receive, send)


def _tracked(serve: Serve) -> Serve:
    """Return a method that serves through the middleware, unless the application has one of ours already.

    The method is asynchronous because servers inspect it to distinguish ASGI 3 from ASGI 2.
    """

    @functools.wraps(serve)
    async def tracked(self: Any, scope: Scope, receive: Receive, send: Send) -> None:
        middleware = attempt(_middleware_of, self) or _Inner(self)
        await middleware(scope, receive, send)

    return tracked


def _middleware_of(app: Any) -> TelemetryMiddleware | None:
    """Return the application's middleware; None if it has added ours itself, maybe with routes to skip."""
    if _has_middleware(app):
        return None
    middleware: TelemetryMiddleware | None = vars(app).get(_MIDDLEWARE)
    return middleware or vars(app).setdefault(_MIDDLEWARE, TelemetryMiddleware(_Inner(app)))


def _has_middleware(app: Any) -> bool:
    """Return whether the application itself has added our middleware."""
    return any(
        isinstance(kind := getattr(each, "cls", None), type) and issubclass(kind, TelemetryMiddleware)
        for each in getattr(app, "user_middleware", ())
    )
