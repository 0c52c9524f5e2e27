"""Requests are tracked by route template, and answered as without the middleware."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.applications import Starlette
from starlette.routing import Route

from automagik_telemetry import get_tracing_manager
from automagik_telemetry.integrations.asgi import TelemetryMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def application() -> FastAPI:
    """Return an application with one route for each case."""
    app = FastAPI()
    ran: list[str] = []
    app.state.ran = ran

    @app.get("/users/{name}")
    async def user(name: str, background: BackgroundTasks) -> str:
        background.add_task(lambda: ran.append("background"))
        return name

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks() -> AsyncIterator[str]:
            for number in range(3):
                yield str(number)

        return StreamingResponse(chunks())

    @app.get("/fails")
    async def fails() -> None:
        raise RuntimeError("secret")

    @app.get("/refuses")
    async def refuses() -> PlainTextResponse:
        return PlainTextResponse("no", 503)

    return app


async def get(app: Any, *paths: str) -> list[tuple[int, str]]:
    """Return the answers to GET requests."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return [(answer.status_code, answer.text) for path in paths for answer in [await client.get(path)]]


PATHS = ("/users/somebody?token=secret", "/stream", "/fails", "/refuses", "/no/such/path")


def test_same_answers_as_without(opted_in: Any, fields: Any) -> None:
    """Every answer equals the untracked twin's; events hold templates, never paths, queries or messages."""
    tracked, twin = application(), application()
    tracked.add_middleware(TelemetryMiddleware)
    answers = asyncio.run(get(tracked, *PATHS))
    assert answers == asyncio.run(get(twin, *PATHS))
    assert tracked.state.ran == ["background"]
    assert get_tracing_manager().flush(10)
    (crash,) = [span for span in opted_in.spans() if span["name"] == "agent.error"]
    assert fields(crash).items() >= {"event.error_type": "RuntimeError", "event.component": "api"}.items()
    sent = [fields(span) for span in opted_in.spans() if span["name"] == "api.request"]
    assert [
        (event["event.endpoint"], event["event.method"], event["event.status_code"], event["event.success"])
        for event in sent
    ] == [
        ("/users/{name}", "GET", 200, True),
        ("/stream", "GET", 200, True),
        ("/fails", "GET", 500, False),
        ("/refuses", "GET", 503, False),
        ("unmatched", "GET", 404, True),
    ]
    for private in ("somebody", "secret", "such"):
        assert private not in str(opted_in.requests)


def test_starlette_too(opted_in: Any, fields: Any) -> None:
    """A Starlette application's templates are found as well."""

    async def user(_request: object) -> PlainTextResponse:
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/users/{name}", user)])
    app.add_middleware(TelemetryMiddleware)
    assert asyncio.run(get(app, "/users/somebody")) == [(200, "hello")]
    get_tracing_manager().flush(10)
    assert fields(opted_in.spans()[0])["event.endpoint"] == "/users/{name}"


@pytest.mark.fault(53)
def test_messages_pass_unchanged_and_in_order(opted_in: Any) -> None:
    """Each message reaches the server as the same object, before the application sends the next."""
    messages = [
        {"type": "http.response.start", "status": 200, "headers": []},
        {"type": "http.response.body", "body": b"a", "more_body": True},
        {"type": "http.response.body", "body": b"b"},
    ]
    log: list[Any] = []

    async def app(_scope: object, _receive: object, send: Any) -> None:
        for message in messages:
            await send(message)
            log.append("went on")

    async def send(message: Any) -> None:
        log.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    asyncio.run(TelemetryMiddleware(app)({"type": "http", "method": "GET", "path": "/"}, receive, send))
    assert log == [messages[0], "went on", messages[1], "went on", messages[2], "went on"]
    assert log[0] is messages[0]
    get_tracing_manager().flush(10)
    assert len(opted_in.spans()) == 1


@pytest.mark.parametrize("kind", ["lifespan", "some extension"])
def test_other_connections_pass(opted_in: Any, kind: str) -> None:
    """A connection that is not a request passes unchanged, with the server's own callables."""
    got: list[object] = []

    async def app(*arguments: object) -> None:
        got.extend(arguments)

    async def nothing(*_: object) -> Any:
        return {}

    scope = {"type": kind}
    asyncio.run(TelemetryMiddleware(app)(scope, nothing, nothing))
    assert got == [scope, nothing, nothing]
    assert get_tracing_manager().flush(10)
    assert opted_in.requests == []


def test_exception_passes_through(opted_in: Any) -> None:
    """The server gets the application's own exception."""
    failure = RuntimeError("secret")

    async def app(*_: object) -> None:
        raise failure

    async def nothing(*_: object) -> Any:
        return {}

    with pytest.raises(RuntimeError) as caught:
        asyncio.run(TelemetryMiddleware(app)({"type": "http", "method": "GET", "path": "/"}, nothing, nothing))
    assert caught.value is failure


WRONG: list[tuple[Any, Any, type[Exception], str]] = [
    (None, (), TypeError, "ASGI application, not NoneType"),
    (print, "/health", TypeError, "skip is a list"),
    (print, [b"/health"], TypeError, "skip is a list"),
    (print, ["health"], ValueError, "begin with a /, unlike 'health'"),
]


@pytest.mark.parametrize(("app", "skip", "error", "words"), WRONG)
def test_wrong_use_is_one_clear_error(app: Any, skip: Any, error: type[Exception], words: str) -> None:
    """An object that is not an application, or not a template, is refused at start-up."""
    with pytest.raises(error, match=words):
        TelemetryMiddleware(app, skip=skip)


def test_a_wrong_configuration_breaks_no_request(monkeypatch: pytest.MonkeyPatch, opted_in: Any) -> None:
    """Requests are served untracked if our configuration file can't be read."""
    monkeypatch.setenv("AUTOMAGIK_LOGGING_CONFIG", "/no/such/file")
    app = application()
    app.add_middleware(TelemetryMiddleware)
    assert asyncio.run(get(app, "/users/somebody")) == [(200, '"somebody"')]
    assert opted_in.requests == []
