"""One function for every integration: accepted objects, idempotence, and undo."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import click
import httpx
import pytest
import typer
import typer.testing
from agno.agent import Agent as AgnoAgent
from click.testing import CliRunner
from fastapi import FastAPI
from pydantic_ai import Agent
from pydantic_ai.agent import WrapperAgent
from pydantic_ai.models.test import TestModel
from starlette.applications import Starlette
from starlette.testclient import TestClient

from automagik_telemetry import get_tracing_manager, instrument, uninstrument
from automagik_telemetry.integrations.asgi import TelemetryMiddleware
from automagik_telemetry.integrations.click import instrument_click, instrument_typer
from tests.automagik_telemetry.integrations.agno.agno_agents import Offline

if TYPE_CHECKING:
    from collections.abc import Callable


def agno_agent() -> AgnoAgent:
    """Return an agent of agno."""
    return AgnoAgent(name="simple", model=Offline())


def group() -> click.Group:
    """Return a click group with a group in it."""
    return click.Group(
        "main", commands=[click.Group("agents", commands=[click.Command("list", callback=lambda: None)])]
    )


def typer_app() -> typer.Typer:
    """Return a Typer app with a command, a callback and an app in it."""
    app, inner = typer.Typer(), typer.Typer()
    app.callback()(lambda: None)
    app.command("status")(lambda: None)
    inner.command("list")(lambda: None)
    app.add_typer(inner, name="agents")
    return app


def web_app() -> FastAPI:
    """Return a FastAPI application that answers, and fails."""
    app = FastAPI()
    app.get("/users/{name}")(lambda name: name)

    @app.get("/fails")
    def fails() -> None:
        raise RuntimeError("secret")

    return app


async def get(app: Any, path: str) -> int:
    """Return the status of the answer to a GET request."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return (await client.get(path)).status_code


def run_agno(agent: AgnoAgent) -> None:
    """Run an agent of agno."""
    agent.run("hello")


def run_pydantic_ai(agent: Agent) -> None:
    """Run an agent of pydantic-ai."""
    asyncio.run(agent.run("hello"))


def run_click(command: click.Group) -> None:
    """Run a command of a command."""
    assert CliRunner().invoke(command, ["agents", "list"], catch_exceptions=False).exit_code == 0


def run_typer(app: typer.Typer) -> None:
    """Run a command of an app of an app."""
    assert typer.testing.CliRunner().invoke(app, ["agents", "list"], catch_exceptions=False).exit_code == 0


def run_asgi(app: Any) -> None:
    """Send a request."""
    assert asyncio.run(get(app, "/users/somebody")) == 200


KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any], None], str]] = {
    "agno": (agno_agent, run_agno, "agent.run"),
    "pydantic_ai": (lambda: Agent(TestModel(), name="simple"), run_pydantic_ai, "agent.run"),
    "wrapped": (lambda: WrapperAgent(Agent(TestModel(), name="simple")), run_pydantic_ai, "agent.run"),
    "click": (group, run_click, "cli.command"),
    "typer": (typer_app, run_typer, "cli.command"),
    "fastapi": (web_app, run_asgi, "api.request"),
}
kinds = pytest.mark.parametrize(("make", "run", "event"), KINDS.values(), ids=KINDS)


def state(target: Any) -> Any:
    """Return the class and the attributes of an object and its parts."""
    inner = [*getattr(target, "commands", {}).values()]
    if isinstance(target, WrapperAgent):
        inner.append(target.wrapped)
    if isinstance(target, AgnoAgent):
        inner.append(target.model)
    if isinstance(target, typer.Typer):
        inner += [target.info, target.registered_callback, *target.registered_commands]
        inner += [each.typer_instance for each in target.registered_groups]
    return (
        type(target),
        {key: id(value) for key, value in getattr(target, "__dict__", {}).items()},
        [state(each) for each in inner],
    )


def classes(state: Any) -> Any:
    """Return the classes in a state, because running an object may change its attributes."""
    return state[0], [classes(each) for each in state[2]]


@kinds
def test_tracks_once_and_is_undone(make: Any, run: Any, event: str, opted_in: Any) -> None:
    """Instrumented twice, each run is one event; uninstrumented, everything is as before and no run is an event."""
    target = make()
    before = state(target)
    assert instrument(instrument(target)) is target
    assert uninstrument(target) is target
    assert state(target) == before
    run(instrument(instrument(target)))
    assert uninstrument(target) is target
    assert classes(state(target)) == classes(before)
    run(target)
    assert uninstrument(uninstrument(target)) is target
    assert get_tracing_manager().flush(10)
    assert [span["name"] for span in opted_in.spans()] == [event]


@kinds
def test_can_be_instrumented_again(make: Any, run: Any, event: str, opted_in: Any) -> None:
    """An object can be instrumented again after `uninstrument`."""
    target = instrument(uninstrument(instrument(make())))
    run(target)
    assert get_tracing_manager().flush(10)
    assert [span["name"] for span in opted_in.spans()] == [event]


@kinds
def test_off_changes_nothing(make: Any, run: Any, event: str) -> None:
    """With telemetry off, an instrumented object works as before."""
    run(instrument(make()))


def test_a_web_application_is_tracked_in_place(opted_in: Any, fields: Any) -> None:
    """Its class looks the same, route and crash are recorded, and it can be instrumented while it serves."""
    app = web_app()
    stack, middleware = app.middleware_stack, list(app.user_middleware)
    assert asyncio.run(get(app, "/users/somebody")) == 200  # from here on Starlette refuses to add a middleware
    started = app.middleware_stack
    instrument(app)
    assert stack is None
    assert (isinstance(app, FastAPI), type(app).__name__, app.user_middleware) == (True, "FastAPI", middleware)
    assert asyncio.run(get(app, "/users/somebody")) == 200
    assert asyncio.run(get(app, "/fails")) == 500
    assert uninstrument(app).middleware_stack is started
    assert type(app) is FastAPI
    assert get_tracing_manager().flush(10)
    said = [fields(span) for span in opted_in.spans() if span["name"] == "api.request"]
    assert [(each["event.endpoint"], each["event.status_code"]) for each in said] == [
        ("/users/{name}", 200),
        ("/fails", 500),
    ]
    (crash,) = [fields(span) for span in opted_in.spans() if span["name"] == "agent.error"]
    assert crash["event.error_type"] == "RuntimeError"


@pytest.mark.parametrize("first", [True, False])
def test_an_application_with_the_middleware_is_counted_once(first: bool, opted_in: Any) -> None:
    """The routes that the application's own middleware skips stay skipped, whichever came first."""
    app = web_app()
    if first:
        instrument(app)
    app.add_middleware(TelemetryMiddleware, skip=["/fails"])
    instrument(app)
    assert [asyncio.run(get(app, path)) for path in ("/users/somebody", "/fails")] == [200, 500]
    uninstrument(app)
    classes: list[Any] = [each.cls for each in app.user_middleware]
    assert classes == [TelemetryMiddleware]
    assert get_tracing_manager().flush(10)
    assert [span["name"] for span in opted_in.spans() if span["name"] == "api.request"] == ["api.request"]


def test_servers_take_an_instrumented_application_for_one_of_asgi_3() -> None:
    """A test client, with a lifespan and a websocket, works as before."""
    app = instrument(Starlette())
    with TestClient(app) as client:
        assert client.get("/").status_code == 404


def test_what_another_library_patches_later_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that is patched after its object was instrumented serves through the patch."""
    app, served, serve = instrument(web_app()), [], FastAPI.__call__

    async def patched(self: FastAPI, scope: Any, receive: Any, send: Any) -> None:
        served.append(scope["path"])
        await serve(self, scope, receive, send)

    monkeypatch.setattr(FastAPI, "__call__", patched)
    assert asyncio.run(get(app, "/users/somebody")) == 200
    assert served == ["/users/somebody"]


def test_an_instrumented_application_can_be_collected() -> None:
    """An instrumented application can be garbage-collected."""
    app = instrument(web_app())
    asyncio.run(get(app, "/users/somebody"))
    last = weakref.ref(app)
    del app
    gc.collect()
    assert last() is None


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request with 204."""
    del receive
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


class Callable3:
    """An ASGI application that is an object."""

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        """Serve one connection."""
        await bare(scope, _receive, send)

    async def serve(self, scope: Any, receive: Any, send: Any, extra: int = 0) -> None:
        """Serve one connection as a method, with an additional argument that has a default."""
        del extra
        await bare(scope, receive, send)


def plain(scope: Any, receive: Any, send: Any) -> Any:
    """Return an awaitable."""
    return bare(scope, receive, send)


@pytest.mark.parametrize(
    "app", [bare, plain, Callable3(), Callable3().serve], ids=["function", "plain", "object", "method"]
)
def test_any_other_asgi_application_is_wrapped(app: Any, opted_in: Any) -> None:
    """The middleware is added around it once; undone, the application itself is returned."""
    wrapped: Any = instrument(app)
    assert isinstance(wrapped, TelemetryMiddleware)
    assert instrument(wrapped) is wrapped
    assert asyncio.run(get(wrapped, "/")) == 204
    assert uninstrument(wrapped) == app
    assert uninstrument(app) == app
    assert get_tracing_manager().flush(10)
    assert [span["name"] for span in opted_in.spans()] == ["api.request"]


def test_a_command_that_was_instrumented_by_itself_stays_so() -> None:
    """Undoing it for a group leaves the commands that the application instrumented one by one."""
    cli = group()
    agents = cli.commands["agents"]
    instrument(agents)
    tracked = type(agents)
    run_click(instrument(cli))
    uninstrument(cli)
    assert (type(cli), type(agents)) == (click.Group, tracked)
    uninstrument(agents)
    assert type(agents) is click.Group


def test_the_older_functions_are_the_same_implementation() -> None:
    """`uninstrument` undoes `instrument_click` and `instrument_typer`."""
    cli, app = instrument_click(group()), instrument_typer(typer_app())
    before = state(typer_app())[2]
    assert type(uninstrument(cli)) is click.Group
    assert [each[0] for each in state(uninstrument(app))[2]] == [each[0] for each in before]
    assert app.registered_commands[0].cls is typer_app().registered_commands[0].cls


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    """Answer by PEP 3333."""
    start_response("200 OK", [])
    return [str(environ).encode()]


class Hostile:
    """An object whose attributes and signature raise."""

    def __getattr__(self, name: str) -> Any:
        """Raise."""
        raise RuntimeError(name)

    def __call__(self, *args: Any) -> None:
        """Do nothing."""

    @property
    def __signature__(self) -> Any:
        """Raise."""
        raise RuntimeError("secret")


class Flasklike:
    """A WSGI application with the attribute of Flask's."""

    def __call__(self, *args: Any) -> Any:
        """Serve one request."""
        return self.wsgi_app(*args)

    def wsgi_app(self, environ: Any, start_response: Any) -> list[bytes]:
        """Serve one request."""
        return wsgi(environ, start_response)


REFUSED: list[tuple[Any, list[str]]] = [
    (wsgi, ["WSGI", "yet", "ASGI"]),
    (Flasklike(), ["WSGI", "Flasklike", "yet", "ASGI"]),
    (Hostile(), ["an instance of", "Hostile"]),
    (Mock(), ["an instance of unittest.mock.Mock"]),
    (5, ["an instance of int", "pydantic-ai", "agno", "click", "Typer", "ASGI"]),
    (None, ["None"]),
    ("agent", ["an instance of str"]),
    (Agent, ["the class Agent", "instance"]),
    (FastAPI, ["the class FastAPI", "instance"]),
    (print, ["the function print"]),
    (lambda: None, ["the function"]),
    (click, ["an instance of module"]),
    (Callable3.serve, ["the function Callable3.serve"]),
]


@pytest.mark.parametrize(
    ("target", "words"), REFUSED, ids=[str(words[0]) + str(n) for n, (_, words) in enumerate(REFUSED)]
)
def test_anything_else_is_one_clear_error(target: Any, words: list[str]) -> None:
    """The message names the type, and the allowed objects or the way out; the object is not changed."""
    for verb in (instrument, uninstrument):
        with pytest.raises(TypeError) as caught:
            verb(target)
        message = str(caught.value)
        assert [word for word in words if word not in message] == []
        assert " a A" not in message
        assert "\n" not in message


def test_typer_without_commands_is_refused() -> None:
    """A Typer app must have its commands before it is instrumented."""
    with pytest.raises(ValueError, match="after the app's commands"):
        instrument(typer.Typer())


@pytest.mark.slow
def test_no_framework_is_imported() -> None:
    """Recognizing an object imports none of the frameworks."""
    code = """
import sys, automagik_telemetry
try:
    automagik_telemetry.instrument(5)
except TypeError:
    pass
async def app(scope, receive, send): ...
automagik_telemetry.uninstrument(automagik_telemetry.instrument(app))
frameworks = {"agno", "click", "fastapi", "flask", "pydantic_ai", "starlette", "typer"}
sys.exit(", ".join(frameworks & set(sys.modules)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
