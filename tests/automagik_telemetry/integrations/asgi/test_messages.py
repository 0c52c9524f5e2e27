"""Requests by their messages: streams, websockets, clients that leave, and what runs inside a request."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import structlog
from fastapi import BackgroundTasks, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from automagik_telemetry import get_tracing_manager
from automagik_telemetry.events.catalogue import FeatureUsageEvent
from automagik_telemetry.integrations.agent import track_agent
from automagik_telemetry.integrations.asgi import TelemetryMiddleware
from tests.automagik_telemetry.tracing.test_propagation import PARENT, TRACE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

START = {"type": "http.response.start", "status": 200, "headers": []}
PART = {"type": "http.response.body", "body": b"x", "more_body": True}
LAST = {"type": "http.response.body", "body": b"x"}
HTTP_GONE = {"type": "http.disconnect"}


def serve(app: Any, *incoming: Any, kind: str = "http", gone_after: int = 100, **scope: Any) -> list[Any]:
    """Run a tracked application on messages; return the messages it sends, and the exception that ends it, if any.

    After `gone_after` messages the server's `send` raises, as those of newer servers do when the client has left.
    """
    sent: list[Any] = []
    messages = list(incoming)

    async def receive() -> Any:
        return messages.pop(0) if messages else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        if len(sent) >= gone_after:
            raise OSError("gone")
        sent.append(message)

    scope = {"type": kind, "path": "/", "headers": [], **({"method": "GET"} if kind == "http" else {}), **scope}
    try:
        asyncio.run(app(scope, receive, send))
    except BaseException as error:  # catches every exception
        sent.append(error)
    return sent


def sent(opted_in: Any, fields: Any, name: str = "api.request") -> list[dict[str, Any]]:
    """Return the fields of the events of that name."""
    assert get_tracing_manager().flush(10)
    return [fields(span) for span in opted_in.spans() if span["name"] == name]


def scripted(*steps: Any) -> Any:
    """Return an application that sends messages, receives where a step is None, and raises exceptions."""

    async def app(_scope: object, receive: Any, send: Any) -> None:
        for step in steps:
            if isinstance(step, BaseException):
                raise step
            await (receive() if step is None else send(step))

    return app


# The application's steps, its input, the messages until the client is gone; status, success and crashes.
CASES: dict[str, tuple[tuple[Any, ...], tuple[Any, ...], int, int, bool, int]] = {
    "complete": ((START, PART, LAST), (), 100, 200, True, 0),
    "client error": (({**START, "status": 404}, LAST), (), 100, 404, True, 0),
    "server error": (({**START, "status": 503}, LAST), (), 100, 503, False, 0),
    "crash at once": ((ValueError("secret"),), (), 100, 500, False, 1),
    "crash in the middle": ((START, PART, ValueError("secret")), (), 100, 200, False, 1),
    "crash in a background task": ((START, LAST, ValueError("secret")), (), 100, 200, True, 1),
    "no answer": ((), (), 100, 500, False, 0),
    "half an answer": ((START, PART), (), 100, 200, False, 0),
    "cancelled": ((START, PART, asyncio.CancelledError()), (), 100, 200, False, 0),
    "client left, seen": ((START, PART, None), (HTTP_GONE,), 100, 499, True, 0),
    "client left, unnoticed": ((START, None, PART, LAST), (HTTP_GONE,), 100, 499, True, 0),
    "client left while sending its body": ((None, ClientDisconnect()), (HTTP_GONE,), 100, 499, True, 0),
    "client left, and the server says so": ((START, PART, LAST), (), 2, 499, True, 0),
    "client left after the answer": ((START, LAST, None), (HTTP_GONE,), 100, 200, True, 0),
    "trailers": (
        ({**START, "trailers": True}, LAST, {"type": "http.response.trailers", "headers": []}),
        (), 100, 200, True, 0,
    ),
    "a file by its path": ((START, {"type": "http.response.pathsend", "path": "/secret"}), (), 100, 200, True, 0),
    "early hints": (({"type": "http.response.early_hint", "links": []}, START, LAST), (), 100, 200, True, 0),
}  # fmt: skip
SOCKET = {"type": "websocket.accept"}
TEXT = {"type": "websocket.send", "text": "secret"}
CLOSE = {"type": "websocket.close", "code": 1000}
GONE = {"type": "websocket.disconnect", "code": 1001}
WEBSOCKETS: dict[str, tuple[tuple[Any, ...], tuple[Any, ...], int, int, bool, int]] = {
    "closed by the server": ((None, SOCKET, TEXT, CLOSE), ({"type": "websocket.connect"},), 100, 101, True, 0),
    "closed by the client": ((SOCKET, TEXT, None, WebSocketDisconnect(1001)), (GONE,), 100, 101, True, 0),
    "left open": ((SOCKET, TEXT), (), 100, 101, True, 0),
    "refused": ((CLOSE,), (), 100, 403, True, 0),
    "refused with an answer": (
        ({**START, "type": "websocket.http.response.start", "status": 401},
         {**LAST, "type": "websocket.http.response.body"}),
        (), 100, 401, True, 0,
    ),
    "crash": ((SOCKET, ValueError("secret")), (), 100, 500, False, 1),
    "client gone while sending": ((SOCKET, TEXT, TEXT), (), 2, 101, True, 0),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "case"), [*(("http", case) for case in CASES), *(("websocket", case) for case in WEBSOCKETS)]
)
def test_what_happens_is_what_is_recorded(opted_in: Any, fields: Any, kind: str, case: str) -> None:
    """Each exchange is one event with its status and outcome. Messages and exceptions are the twin's objects."""
    steps, incoming, gone_after, status, success, crashes = (CASES if kind == "http" else WEBSOCKETS)[case]
    app = scripted(*steps)
    expected = serve(app, *incoming, kind=kind, gone_after=gone_after)
    got = serve(TelemetryMiddleware(app), *incoming, kind=kind, gone_after=gone_after)
    assert len(got) == len(expected)
    assert all(one is other or repr(one) == repr(other) for one, other in zip(got, expected, strict=True))
    (event,) = sent(opted_in, fields)
    assert (event["event.status_code"], event["event.success"]) == (status, success)
    assert event["event.method"] == ("GET" if kind == "http" else "WEBSOCKET")
    assert len(sent(opted_in, fields, "agent.error")) == crashes
    assert "secret" not in str(opted_in.requests)


@pytest.mark.parametrize(("method", "expected"), [("POST", "POST"), ("SECRET", "other"), ("get", "other")])
def test_methods_that_nobody_knows(opted_in: Any, fields: Any, method: str, expected: str) -> None:
    """A method made up by a client is not sent."""
    serve(TelemetryMiddleware(scripted(START, LAST)), method=method)
    assert [event["event.method"] for event in sent(opted_in, fields)] == [expected]
    assert method == expected or method not in str(opted_in.requests)


@track_agent("simple", "agno")
async def agent() -> str:
    """Run as an agent."""
    await asyncio.sleep(0)
    return "answer"


def application() -> FastAPI:
    """Return an application whose routes run agents wherever code can run."""
    app = FastAPI()

    @app.get("/agent")
    async def run() -> str:
        return await agent()

    @app.get("/thread")
    def thread() -> str:
        return asyncio.run(agent())

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def events() -> AsyncIterator[str]:
            for _ in range(2):
                yield f"data: {await agent()}\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> str:
        tasks.add_task(agent)
        return "later"

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.receive_text()
            await websocket.send_text(await agent())

    return app


def test_everything_inside_is_part_of_the_request(opted_in: Any) -> None:
    """Agents in endpoints, threads, streams and background tasks are children, in the trace that the caller named."""
    app = application()
    app.add_middleware(TelemetryMiddleware)
    twin = TestClient(application())
    with TestClient(app) as client:
        for number, path in enumerate(("/agent", "/thread", "/stream", "/background")):
            answer = client.get(path, headers={"traceparent": f"00-{TRACE[:-1]}{number}-{PARENT}-01"})
            assert (answer.status_code, answer.text) == (200, twin.get(path).text)
    assert structlog.contextvars.get_contextvars() == {}
    assert get_tracing_manager().flush(10)
    requests = [span for span in opted_in.spans() if span["name"] == "api.request"]
    assert len({span["traceId"] for span in requests}) == 4
    assert len({span["parentSpanId"] for span in requests}) == 1
    by_id = {span["spanId"]: span for span in requests}
    runs = [span for span in opted_in.spans() if span["name"] == "agent.run" and "parentSpanId" in span]
    assert [by_id[span["parentSpanId"]]["traceId"] for span in runs] == [span["traceId"] for span in runs]
    assert len(runs) == 5
    # The caller's ids are hashed before they are sent.
    assert TRACE[:-1] not in str(opted_in.requests)
    assert PARENT not in str(opted_in.requests)


@pytest.mark.fault(53)
def test_websocket(opted_in: Any, fields: Any) -> None:
    """A websocket is one event, with its template, and the runs in it are its children."""
    app = application()
    app.add_middleware(TelemetryMiddleware)
    # The endpoint does not catch the exception for a disconnected client, which is not a crash.
    with (  # noqa: PT012 - it is raised at the end of the block
        pytest.raises(WebSocketDisconnect),
        TestClient(app) as client,
        client.websocket_connect("/socket") as socket,
    ):
        for _ in range(3):
            socket.send_text("secret")
            assert socket.receive_text() == "answer"
    (event,) = sent(opted_in, fields)
    assert (event["event.endpoint"], event["event.method"], event["event.status_code"]) == ("/socket", "WEBSOCKET", 101)
    (span,) = [span for span in opted_in.spans() if span["name"] == "api.request"]
    runs = [each["parentSpanId"] for each in opted_in.spans() if each["name"] == "agent.run"]
    assert runs == [span["spanId"]] * 3
    assert sent(opted_in, fields, "agent.error") == []


@pytest.mark.fault(52)
def test_concurrent_requests_do_not_mix(opted_in: Any, fields: Any) -> None:
    """Interleaved requests each keep their own trace, and leave nothing bound."""
    app = FastAPI()

    @app.get("/features/{name}")
    async def feature(name: str) -> str:
        await asyncio.sleep(0)
        collector = get_tracing_manager().telemetry
        assert collector is not None
        collector.track_event(FeatureUsageEvent(name))
        await asyncio.sleep(0)
        return json.dumps(structlog.contextvars.get_contextvars())

    app.add_middleware(TelemetryMiddleware)

    async def ask() -> list[Any]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answers = await asyncio.gather(*(client.get(f"/features/f{number}") for number in range(300)))
        assert structlog.contextvars.get_contextvars() == {}
        return [json.loads(answer.json()) for answer in answers]

    bound = asyncio.run(ask())
    assert len({each["trace_id"] for each in bound}) == len({each["span_id"] for each in bound}) == 300
    assert get_tracing_manager().flush(10)
    requests = {span["spanId"]: span["traceId"] for span in opted_in.spans() if span["name"] == "api.request"}
    used = [span for span in opted_in.spans() if span["name"] == "feature.used"]
    assert {span["parentSpanId"]: span["traceId"] for span in used} == requests
    assert len(requests) == 300


seen: ContextVar[str] = ContextVar("seen", default="unset")


def test_context_of_the_host_passes(opted_in: Any) -> None:
    """The application sees the context of its server, and its own changes stay visible to it."""

    async def app(_scope: object, _receive: object, send: Any) -> None:
        assert seen.get() == "server"
        seen.set("application")
        await send(START)
        await send(LAST)

    async def main() -> None:
        seen.set("server")

        async def send(_message: object) -> None:
            assert seen.get() == "application"

        async def receive() -> Any:
            return {}

        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        await TelemetryMiddleware(app)(scope, receive, send)
        assert seen.get() == "application"

    asyncio.run(main())


def test_lifespan_passes(opted_in: Any) -> None:
    """Start-up and shutdown work as without us, and a failing start-up fails."""
    log: list[str] = []

    async def lifespan(_app: object) -> AsyncIterator[None]:
        log.append("up")
        yield
        log.append("down")

    app = FastAPI(lifespan=asynccontextmanager(lifespan))
    app.add_middleware(TelemetryMiddleware)
    with TestClient(app):
        assert log == ["up"]
    assert log == ["up", "down"]
