"""Tracks the requests of an ASGI application: route template, method, status and duration, never a path."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING

from automagik_telemetry.events._allowlist import declare
from automagik_telemetry.events.catalogue import APIRequestEvent
from automagik_telemetry.integrations._runtime import observability, telemetry
from automagik_telemetry.integrations.asgi._exchange import Exchange
from automagik_telemetry.integrations.asgi._routes import UNMATCHED, Routes
from automagik_telemetry.tracing._propagation import SpanContext, traceparent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from automagik_telemetry.events.client import TelemetryClient
    from automagik_telemetry.integrations.asgi._exchange import Receive, Scope, Send

    App = Callable[[Scope, Receive, Send], Awaitable[None]]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_UNSERVED = (404, 405)
_WEBSOCKET, _OTHER = "WEBSOCKET", "other"
_serving: ContextVar[object] = ContextVar("automagik_telemetry_serving", default=None)


class TelemetryMiddleware:
    """Pure ASGI: `app.add_middleware(TelemetryMiddleware)`. Messages pass unchanged, in order, and at once.

    Each request is one event, and each websocket one at its close, with the method WEBSOCKET. `skip` are templates of
    routes whose requests are not counted, such as ("/health", "/docs"). What runs inside is part of the request, and
    the request of the trace that its `traceparent` header names.
    """

    def __init__(self, app: App, skip: Iterable[str] = ()) -> None:
        """Raises TypeError if `app` can't be called or `skip` is no list of str, ValueError for what is no template."""
        if not callable(app):
            raise TypeError(f"TelemetryMiddleware wraps an ASGI application, not {type(app).__name__}")
        templates = None if isinstance(skip, str) else tuple(skip)
        if templates is None or not all(isinstance(template, str) for template in templates):
            raise TypeError(f'skip is a list of route templates, such as ["/health"], not {skip!r}')
        if wrong := [template for template in templates if not template.startswith("/") and template != UNMATCHED]:
            raise ValueError(f"skip holds route templates, which begin with a /, unlike {wrong[0]!r}")
        declare(_OTHER)
        self.app = app
        self._skip = frozenset(templates)
        self._routes = Routes(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; anything but a request or a websocket passes untracked."""
        client = telemetry() if scope["type"] in ("http", "websocket") else None
        if client is None or _serving.get() is scope:  # the application that this one is mounted in tracks it
            with contextlib.nullcontext() if client is not None else _joined(scope):
                await self.app(scope, receive, send)
            return
        outer, path = scope.get("app"), scope.get("path", "").removeprefix(scope.get("root_path", ""))
        span = SpanContext(traceparent(scope.get("headers", ())))

        def done(exchange: Exchange) -> None:
            try:
                template = self._routes.template(scope, outer, path)
                # A middleware of the application's may answer in the route's place, or copy the scope.
                if template == UNMATCHED and exchange.status not in _UNSERVED:
                    template = self._routes.matching(outer, path)
                if template not in self._skip:
                    event = APIRequestEvent(
                        template, _method(scope), exchange.status, exchange.duration_ms, exchange.success
                    )
                    client.track_event(event, ids=span.ids)
            except Exception:  # noqa: BLE001, S110 - nothing of ours shows in the application
                pass

        exchange = Exchange(receive, send, done)
        token = _serving.set(scope)
        try:
            with span.within():
                await self.app(scope, exchange.receive, exchange.send)
        except BaseException as error:
            if isinstance(error, Exception) and not exchange.left:
                _track_crash(client, span, error)
            exchange.end(error)
            raise
        else:
            exchange.end(None)
        finally:
            _serving.reset(token)


def _joined(scope: Scope) -> contextlib.AbstractContextManager[None]:
    """Return a block in which full traces are part of the caller's, though usage is not tracked."""
    if scope["type"] not in ("http", "websocket") or observability() is None:
        return contextlib.nullcontext()
    return SpanContext(traceparent(scope.get("headers", ()))).within()


def _track_crash(client: TelemetryClient, span: SpanContext, error: Exception) -> None:
    with contextlib.suppress(Exception), span.within():
        client.track_error(type(error).__name__, "api", unhandled=True)


def _method(scope: Scope) -> str:
    """Return the method; one that HTTP does not know (RFC 9110, 9.3) is a text that a client has made up."""
    if scope["type"] == "websocket":
        return _WEBSOCKET
    method = scope.get("method")
    return method if method in _METHODS else _OTHER
