"""Templates: what the application's own table says, with everything that the route is mounted under."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Host, Mount, Route

from automagik_telemetry import get_tracing_manager
from automagik_telemetry.integrations.asgi import TelemetryMiddleware


async def answer(*_: object) -> PlainTextResponse:
    """Answer any request."""
    return PlainTextResponse("ok")


async def plain(_scope: object, _receive: object, send: Any) -> None:
    """Answer as an application without a framework."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def starlette() -> Starlette:
    """Return an application whose routes are mounted in all ways."""
    inner = Starlette(routes=[Route("/items/{item}", answer), Route("/files/{rest:path}", answer)])
    return Starlette(
        routes=[
            Route("/plain/{name}", answer, methods=["POST"]),
            Mount("/tenants/{tenant}", routes=[Route("/users/{name}", answer), Mount("/deep", app=inner)]),
            Mount("/v1/more", app=inner),
            Mount("/v1", app=inner),
            Mount("/raw", app=plain),
            Host("other.test", app=Starlette(routes=[Route("/hosted/{name}", answer)])),
        ]
    )


def fastapi() -> FastAPI:
    """Return an application of routers in routers, and of another in it."""
    router, nested, sub, app = APIRouter(), APIRouter(prefix="/nested"), FastAPI(), FastAPI()
    for each in (router, nested, sub):
        each.get("/users/{name}")(answer_user)
    router.include_router(nested, prefix="/in")
    app.include_router(router, prefix="/a")
    app.include_router(router, prefix="/b/{tenant}")
    app.mount("/sub", sub)
    return app


async def answer_user(name: str) -> str:
    """Answer a request of FastAPI's."""
    return name


STARLETTE = {
    "/plain/secret": "/plain/{name}",
    "/tenants/secret/users/secret": "/tenants/{tenant}/users/{name}",
    "/tenants/secret/deep/items/secret": "/tenants/{tenant}/deep/items/{item}",
    "/v1/items/secret": "/v1/items/{item}",
    "/v1/more/items/secret": "/v1/more/items/{item}",
    "/v1/files/secret/more": "/v1/files/{rest:path}",
    "/raw/secret": "/raw",
    "http://other.test/hosted/secret": "/hosted/{name}",
    "/v1/secret": "unmatched",
    "/secret": "unmatched",
}
FASTAPI = {
    "/a/users/secret": "/a/users/{name}",
    "/b/secret/users/secret": "/b/{tenant}/users/{name}",
    "/a/in/nested/users/secret": "/a/in/nested/users/{name}",
    "/b/secret/in/nested/users/secret": "/b/{tenant}/in/nested/users/{name}",
    "/sub/users/secret": "/sub/users/{name}",
    "/docs": "/docs",
    "/openapi.json": "/openapi.json",
    "/sub/docs": "/sub/docs",
    "/sub/secret": "unmatched",
    "/secret": "unmatched",
}


def templates(app: Any, opted_in: Any, fields: Any, *paths: str) -> list[str]:
    """Return the endpoints that are sent for GET requests."""

    async def ask() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            for path in paths:
                await client.get(path)

    asyncio.run(ask())
    assert get_tracing_manager().flush(10)
    assert "secret" not in str(opted_in.requests)
    return [fields(span)["event.endpoint"] for span in opted_in.spans()]


@pytest.mark.parametrize("how", ["added", "below another", "around"])
@pytest.mark.parametrize(("make", "expected"), [(starlette, STARLETTE), (fastapi, FASTAPI)])
def test_templates(opted_in: Any, fields: Any, make: Any, expected: dict[str, str], how: str) -> None:
    """Each is whole, and never the path, wherever the middleware stands."""
    app = make()
    if how == "around":
        app = TelemetryMiddleware(app)
    else:
        app.add_middleware(TelemetryMiddleware)
        if how == "below another":

            async def through(request: Any, call_next: Any) -> Any:
                return await call_next(request)

            app.add_middleware(BaseHTTPMiddleware, dispatch=through)
    assert templates(app, opted_in, fields, *expected) == list(expected.values())


def test_routes_that_are_added_later(opted_in: Any, fields: Any) -> None:
    """A route that an application adds while it runs is found."""
    app = FastAPI()
    app.add_middleware(TelemetryMiddleware)
    assert templates(app, opted_in, fields, "/docs") == ["/docs"]
    app.get("/later/{name}")(answer_user)
    assert templates(app, opted_in, fields, "/later/secret") == ["/docs", "/later/{name}"]


def test_skipped_by_template(opted_in: Any, fields: Any) -> None:
    """A skipped template is not counted, and the path of another route is not taken for it."""
    app = starlette()
    app.add_middleware(TelemetryMiddleware, skip=["/v1/items/{item}", "unmatched"])
    paths = ["/v1/items/secret", "/v1/more/items/secret", "/no/such"]
    assert templates(app, opted_in, fields, *paths) == ["/v1/more/items/{item}"]


def test_mounted_twice_is_counted_once(opted_in: Any, fields: Any) -> None:
    """An application and the one that it is mounted in may both have the middleware."""
    sub, app = FastAPI(), FastAPI()
    sub.get("/users/{name}")(answer_user)
    for each in (sub, app):
        each.add_middleware(TelemetryMiddleware)
    app.mount("/sub", sub)
    assert templates(app, opted_in, fields, "/sub/users/secret") == ["/sub/users/{name}"]


def test_behind_a_prefix(opted_in: Any, fields: Any) -> None:
    """The server's own root path is no part of the template."""
    app = starlette()
    app.add_middleware(TelemetryMiddleware)

    async def ask() -> None:
        transport = httpx.ASGITransport(app, root_path="/v1/more")
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            await client.get("/v1/more/v1/items/secret")

    asyncio.run(ask())
    assert templates(app, opted_in, fields) == ["/v1/items/{item}"]


@pytest.mark.parametrize("how", ["copies", "answers"])
def test_middleware_between(opted_in: Any, fields: Any, how: str) -> None:
    """A middleware of the host's may hand on a copy of the scope, or answer itself: the template is the route's."""

    class Between:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await (self.app(dict(scope), receive, send) if how == "copies" else plain(scope, receive, send))

    app = fastapi()
    app.get("/users/me")(answer)
    app.get("/users/{name}")(answer_user)
    app.add_middleware(Between)
    app.add_middleware(TelemetryMiddleware)
    expected = {"/users/me": "/users/me", "/users/secret": "/users/{name}", "/no/secret": "unmatched"}
    assert templates(app, opted_in, fields, *expected) == list(expected.values())


def test_a_framework_with_a_route_of_its_own(opted_in: Any, fields: Any) -> None:
    """Any application may say in the scope which route it chose."""

    async def app(scope: Any, receive: object, send: Any) -> None:
        scope["route"] = Route("/own/{name}", answer)
        await plain(scope, receive, send)

    assert templates(TelemetryMiddleware(app), opted_in, fields, "/own/secret") == ["/own/{name}"]


def test_endpoints_without_end(opted_in: Any, fields: Any) -> None:
    """An application that makes an endpoint for each request fills no memory."""

    async def app(scope: Any, receive: object, send: Any) -> None:
        scope["endpoint"] = object()
        await plain(scope, receive, send)

    tracked: Any = TelemetryMiddleware(app)
    assert set(templates(tracked, opted_in, fields, *["/secret"] * 1_500)) == {"unmatched"}
    assert len(tracked._routes._known) <= 1_002
