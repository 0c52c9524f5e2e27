"""Tracks the requests of an ASGI application: route template, method, status and duration, never a path."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from automagik_telemetry._failsafe import Block, attempt, class_name
from automagik_telemetry._process import kept
from automagik_telemetry.events import _names as names
from automagik_telemetry.events._allowlist import declare
from automagik_telemetry.events.catalogue import APIRequestEvent
from automagik_telemetry.integrations._runtime import begin, is_on, record, telemetry
from automagik_telemetry.integrations.asgi._exchange import Exchange
from automagik_telemetry.integrations.asgi._routes import UNMATCHED, Routes
from automagik_telemetry.tracing._propagation import traceparent
from automagik_telemetry.tracing.spans import enclosing_scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from automagik_telemetry.integrations.asgi._exchange import Receive, Scope, Send
    from automagik_telemetry.tracing._scope import Scope as TraceScope

    App = Callable[[Scope, Receive, Send], Awaitable[None]]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_UNSERVED = (404, 405)
_WEBSOCKET, _OTHER = "WEBSOCKET", "other"
_serving: ContextVar[object] = kept("serving", lambda: ContextVar("automagik_telemetry_serving", default=None))


class TelemetryMiddleware:
    """Pure ASGI: `app.add_middleware(TelemetryMiddleware)`. Messages pass unchanged, in order, and at once.

    Each request is one event, and each websocket one at its close, with the method WEBSOCKET. What runs inside is part
    of the request, and the request of the trace that its `traceparent` header names.

    Args:
        app: The ASGI application.
        skip: Templates of routes whose requests are not counted, such as ("/health", "/docs"). By default none.

    Raises:
        TypeError: The application can't be called, or `skip` is not a list of str.
        ValueError: An entry of `skip` is not a template.
    """

    def __init__(self, app: App, skip: Iterable[str] = ()) -> None:
        """Wrap the application."""
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
        names.declare_later(self._routes, Routes.templates)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; anything but a request or a websocket passes untracked."""
        if not names.is_closed() and is_on():
            attempt(self._routes.declare, scope.get("app"))
        request: _Request | None = begin(self._begin, scope, receive, send)
        if request is None:
            await self.app(scope, receive, send)
            return
        try:
            with Block(request.step):
                await self.app(scope, request.receive, request.send)
        except BaseException as error:
            record(request.end, error)
            raise
        record(request.end, None)

    def _begin(self, scope: Scope, receive: Receive, send: Send) -> _Request | None:
        """Return a request that has begun; None if it is not tracked, or tracked by the enclosing application."""
        if scope["type"] not in ("http", "websocket") or _serving.get() is scope:
            return None
        enclosing = enclosing_scope(attempt(traceparent, scope.get("headers", ())), is_unit=scope["type"] == "http")
        span = enclosing.span
        client = telemetry()
        if client is None:  # full traces are part of the caller's, though usage is not tracked
            return _Request(scope, enclosing, receive, send, lambda _error: None)
        outer, path = scope.get("app"), attempt(_path, scope, default="")

        def log(exchange: Exchange) -> None:
            template = self._template(scope, outer, path, exchange.status)
            if template not in self._skip:
                method = attempt(_method, scope, default=_OTHER)
                event = APIRequestEvent(template, method, exchange.status, exchange.duration_ms, exchange.success)
                client.track_event(event, ids=span.ids)

        def end(error: BaseException | None) -> None:
            if issubclass(type(error), Exception) and not exchange.left:
                with span.within():
                    client.track_error(class_name(type(error)), "api", unhandled=True)
            exchange.end(error)

        exchange = Exchange(receive, send, lambda over: record(log, over))
        return _Request(scope, enclosing, exchange.receive, exchange.send, end)

    def _template(self, scope: Scope, outer: object, path: str, status: int) -> str:
        template: str = attempt(self._routes.template, scope, outer, path, default=UNMATCHED)
        # A middleware of the application's may answer in the route's place, or copy the scope.
        if template == UNMATCHED and status not in _UNSERVED:
            template = attempt(self._routes.matching, outer, path, default=UNMATCHED)
        return template


class _Request(NamedTuple):
    """A request, or a websocket: its messages, and the function called at its end."""

    scope: Scope
    enclosing: TraceScope
    receive: Receive
    send: Send
    log: Callable[[BaseException | None], None]

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Return a block that is part of the request's span."""
        token = _serving.set(self.scope)
        try:
            with self.enclosing.span.within(), self.enclosing.within():
                yield
        finally:
            with contextlib.suppress(ValueError):  # left in another context than it was entered in
                _serving.reset(token)

    def end(self, error: BaseException | None) -> None:
        """End the request, log it, and decide on its traces."""
        try:
            self.log(error)
        finally:
            self.enclosing.end()


def _path(scope: Scope) -> str:
    path: str = scope.get("path", "").removeprefix(scope.get("root_path", ""))
    return path


def _method(scope: Scope) -> str:
    """Return the method. A method unknown to HTTP (RFC 9110, 9.3) is a text made up by the client."""
    if scope["type"] == "websocket":
        return _WEBSOCKET
    method = scope.get("method")
    return method if method in _METHODS else _OTHER
