"""Templates come from the application's own table, with the prefixes of all mounts."""

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

from automagik_telemetry import declare, get_tracing_manager
from automagik_telemetry.events._allowlist import allowlist
from automagik_telemetry.integrations.asgi import TelemetryMiddleware, _routes


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
    """Each template is complete, and never the path, wherever the middleware is added."""
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
    """The template of a route that an application adds while it serves is sent as a hash, unless it is declared."""
    app = FastAPI()
    app.add_middleware(TelemetryMiddleware)
    assert templates(app, opted_in, fields, "/docs") == ["/docs"]
    app.get("/later/{name}")(answer_user)
    app.get("/declared/{name}")(answer_user)
    declare("/declared/{name}")
    _, later, declared = templates(app, opted_in, fields, "/later/secret", "/declared/secret")
    assert later.startswith("custom-")
    assert declared == "/declared/{name}"


@pytest.mark.slow
@pytest.mark.fault(98)
@pytest.mark.parametrize("endpoint", [None, answer])
@pytest.mark.parametrize("kind", [FastAPI, Starlette])
def test_many_routes_that_are_added_while_serving(opted_in: Any, fields: Any, kind: Any, endpoint: Any) -> None:
    """Each is sent as a hash, the allowlist does not grow, and the table is not read at each request."""
    app = kind()
    app.add_middleware(TelemetryMiddleware)
    app.add_route("/first", answer)
    assert templates(app, opted_in, fields, "/first") == ["/first"]
    size = len(allowlist)

    def add(number: int) -> None:
        async def answer_later(request: Any) -> Any:
            return await answer(request)

        app.add_route(f"/users/{number}-secret", endpoint or answer_later)

    for number in range(2_000):
        add(number)
    reads = 0
    before = _routes._table

    def table(application: object) -> Any:
        nonlocal reads
        reads += 1
        return before(application)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_routes, "_table", table)
        found = templates(app, opted_in, fields, *(f"/users/{number * 20}-secret" for number in range(100)))[1:]
    hashed = {each for each in found if each.startswith("custom-")}
    assert {*found} - hashed <= {"unmatched"}
    assert endpoint or len(hashed) >= 60
    assert reads <= 4
    assert len(allowlist) == size


def test_skipped_by_template(opted_in: Any, fields: Any) -> None:
    """A skipped template is not counted, and the path of another route does not match it."""
    app = starlette()
    app.add_middleware(TelemetryMiddleware, skip=["/v1/items/{item}", "unmatched"])
    paths = ["/v1/items/secret", "/v1/more/items/secret", "/no/such"]
    assert templates(app, opted_in, fields, *paths) == ["/v1/more/items/{item}"]


def test_mounted_twice_is_counted_once(opted_in: Any, fields: Any) -> None:
    """An application and its parent may both have the middleware."""
    sub, app = FastAPI(), FastAPI()
    sub.get("/users/{name}")(answer_user)
    for each in (sub, app):
        each.add_middleware(TelemetryMiddleware)
    app.mount("/sub", sub)
    assert templates(app, opted_in, fields, "/sub/users/secret") == ["/sub/users/{name}"]


def test_behind_a_prefix(opted_in: Any, fields: Any) -> None:
    """The server's own root path is not part of the template."""
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
    """A middleware of the application may copy the scope, or answer itself: the template is the route's."""

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
    """Any application may set its route in the scope. It may be the path, so it is sent as a hash."""

    async def app(scope: Any, receive: object, send: Any) -> None:
        scope["route"] = Route("/own/{name}", answer)
        await plain(scope, receive, send)

    (template,) = templates(TelemetryMiddleware(app), opted_in, fields, "/own/secret")
    assert template.startswith("custom-")


@pytest.mark.slow
def test_endpoints_without_end(opted_in: Any, fields: Any) -> None:
    """An application that makes an endpoint for each request does not fill the memory."""

    async def app(scope: Any, receive: object, send: Any) -> None:
        scope["endpoint"] = object()
        await plain(scope, receive, send)

    tracked: Any = TelemetryMiddleware(app)
    assert set(templates(tracked, opted_in, fields, *["/secret"] * 1_500)) == {"unmatched"}
    assert len(tracked._routes._late) <= 1
