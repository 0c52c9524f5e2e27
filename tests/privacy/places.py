"""Every place that an event has, by every way in: each plants one text there and logs."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import multiprocessing
import threading
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click
import structlog
from click.testing import CliRunner
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from structlog.contextvars import bound_contextvars

from automagik_telemetry import emit_event, get_tracing_manager
from automagik_telemetry.events._registry import CATALOGUE
from automagik_telemetry.events.catalogue import EVENTS, FeatureUsageEvent, TelemetryEvent
from automagik_telemetry.integrations.agent import TrackedAgent, track_agent
from automagik_telemetry.integrations.asgi import TelemetryMiddleware
from automagik_telemetry.integrations.click import instrument_click, track_cli_command
from tests.privacy import framework_places
from tests.privacy.place import HOLDERS, PLACES, entry, place

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HOLDERS", "PLACES", "World", "framework_places"]

HARMLESS = {"flag": True, "count": 3, "duration": 12.5, "word": "simple"}
TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CARRIED = ("level", "timestamp", "trace_id", "span_id", "parent_span_id", "sample_rate")
RUN = {"agent_name": "simple", "success": True}


class World:
    """An application with loggers, a command and a web application, as it might be."""

    def __init__(self) -> None:
        telemetry = get_tracing_manager().telemetry
        assert telemetry is not None
        self.telemetry = telemetry
        self.log = logging.getLogger("automagik.agents")
        self.runner = CliRunner()
        self.loop = asyncio.Runner()
        self.app = _application()

    def request(self, method: str = "GET", path: str = "/agents/x", body: str = "", **scope: Any) -> None:
        """Send the application one request, and ignore its exceptions."""
        sent = {"type": "http.request", "body": body.encode(), "more_body": False}

        async def receive() -> Any:
            return sent

        async def send(_message: Any) -> None:
            """Take the answer."""

        request: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "root_path": "",
        }
        request |= {"method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "headers": []}
        request |= {"client": ("127.0.0.1", 5), "server": ("host", 80), **scope}
        with contextlib.suppress(Exception):
            self.loop.run(self.app(request, receive, send))


def _application() -> FastAPI:
    app = FastAPI()

    @app.api_route("/agents/{name}", methods=["GET", "POST"])
    async def agent(name: str, request: Request) -> dict[str, str]:
        return {"name": name, "body": (await request.body()).decode()}

    @app.get("/fails/{name}")
    async def fails(name: str) -> None:
        raise RuntimeError(name)

    app.add_middleware(TelemetryMiddleware)
    return app


@click.command()
@click.argument("words", nargs=-1)
@click.option("--message")
@click.option("--fail", is_flag=True)
@track_cli_command("agent run")
def _command(words: tuple[str, ...], message: str | None, fail: bool) -> None:
    local = words, message
    click.echo(repr(local))
    if fail:
        raise click.ClickException(repr(local))


def fail(text: str) -> BaseException:
    """Return an exception that holds `text` in its message, arguments, notes, cause, context, group and locals."""
    local = {"local": text}
    empty: dict[str, str] = {}
    try:
        try:
            try:
                empty[text]
            except KeyError as error:
                raise ValueError(f"no {text} in {local}") from error
        except ValueError:
            raise RuntimeError(text, local) from ExceptionGroup(text, [OSError(5, text, text)])
    except RuntimeError as error:
        error.add_note(text)
        return error
    raise AssertionError("a key that is missing raises")


# The standard library's loggers.
entry("message", lambda world, text: world.log.error(text))
entry("message with arguments", lambda world, text: world.log.error("agent.run %s", text))
entry("message with a mapping", lambda world, text: world.log.error("agent.run %(x)s", {"x": text}))
entry("message that is an object", lambda world, text: world.log.error(SimpleNamespace(event="agent.run", text=text)))
entry(
    "message that is a dict",
    lambda world, text: world.log.error({"event": "agent.run", text: text, "agent_name": text}),
)
entry("message after a known name", lambda world, text: world.log.error(f"agent.run for {text}"))  # noqa: G004 - as applications write it
entry("extra key", lambda world, text: world.log.error("agent.run", extra={text: 1, **RUN}))
entry("extra value", lambda world, text: world.log.error("agent.run", extra={"note": text, **RUN}))
entry("extra list", lambda world, text: world.log.error("agent.run", extra={"note": [{"a": (text,)}], **RUN}))
entry("logger name", lambda _, text: logging.getLogger(f"automagik.{text}").error("agent.run", extra=RUN))
entry("exception", lambda world, text: world.log.error("agent.run", extra=RUN, exc_info=fail(text)))
entry(
    "exception as a field",
    lambda world, text: world.log.error("agent.error", extra={"error_type": fail(text), "note": fail(text)}),
)
entry(
    "exception of a class", lambda world, text: world.telemetry.track_error(type(text, (Exception,), {}).__name__, text)
)


@place("stack")
def _(world: World, text: str) -> None:
    local = text
    world.log.error("agent.run", extra=RUN, stack_info=True)
    del local


@place("file and function of the record")
def _(world: World, text: str) -> None:
    record = world.log.makeRecord(world.log.name, 40, text, 7, "agent.run", (), None, text, RUN, text)
    record.module = record.processName = text
    world.log.handle(record)


@place("attribute put by a filter")
def _(world: World, text: str) -> None:
    def put(record: logging.LogRecord) -> bool:
        record.user, record.agent_name = text, text
        return True

    world.log.addFilter(put)
    world.log.error("agent.run")
    world.log.removeFilter(put)


@place("name of a level")
def _(world: World, text: str) -> None:
    logging.addLevelName(43, text)
    world.log.log(43, "agent.run", extra=RUN)


@place("name of a thread")
def _(world: World, text: str) -> None:
    thread = threading.Thread(name=text, target=lambda: world.log.error("agent.run", extra=RUN))
    thread.start()
    thread.join()


@place("name of the process")
def _(world: World, text: str) -> None:
    process = multiprocessing.current_process()
    before, process.name = process.name, text
    world.log.error("agent.run", extra=RUN)
    process.name = before


@place("name of a task")
def _(world: World, text: str) -> None:
    async def main() -> None:
        await asyncio.create_task(log(), name=text)

    async def log() -> None:
        world.log.error("agent.run", extra=RUN)

    world.loop.run(main())


# structlog, through the settings that `configure` makes and through an application's own.
def _log() -> Any:
    return structlog.get_logger("automagik.agents")


entry("structlog event", lambda _, text: _log().error(text))
entry("structlog positional", lambda _, text: _log().error("agent.run %s", text))
entry("structlog key", lambda _, text: _log().error("agent.run", **{text: 1, **RUN}))
entry("structlog value", lambda _, text: _log().error("agent.run", note={"a": [text]}, **RUN))
entry("structlog bound", lambda _, text: _log().bind(user=text, agent_name=text).error("agent.run"))
entry("structlog exception", lambda _, text: _log().error("agent.run", exc_info=fail(text), **RUN))
entry("structlog stack", lambda _, text: _log().error("agent.run", stack_info=True, note=text, **RUN))
entry("structlog logger name", lambda _, text: structlog.get_logger(f"automagik.{text}").error("agent.run", **RUN))


@place("structlog context")
def _(world: World, text: str) -> None:
    with bound_contextvars(user=text, agent_name=text, **{text: 1}):
        _log().error("agent.run")
        world.log.error("agent.run")
        world.telemetry.track_feature_usage("agents")


@place("structlog context ids")
def _(world: World, text: str) -> None:
    with bound_contextvars(trace_id=text, span_id=text, parent_span_id=text, sample_rate=text):
        world.log.error("agent.run", extra=RUN)


@place("emit_event in a chain of the application")
def _(_: World, text: str) -> None:
    log = structlog.wrap_logger(
        structlog.PrintLogger(io.StringIO()), [emit_event, structlog.processors.JSONRenderer(default=str)]
    )
    log.error("agent.run", agent_name=text, note=text, timestamp=text, **{text: text})
    log.error(text, agent_name=text)


# The facade.
entry("track_agent_run", lambda world, text: world.telemetry.track_agent_run(text, text, success=True, duration_ms=1.0))
entry("track_feature_usage", lambda world, text: world.telemetry.track_feature_usage(text, text))
entry("track_error", lambda world, text: world.telemetry.track_error(text, f"agent.{text}"))
entry("track_http_request", lambda world, text: world.telemetry.track_http_request(text, f"/users/{text}", 500, 1.0))
entry(
    "ids of an event",
    lambda world, text: world.telemetry.track_event(FeatureUsageEvent("agents", anonymous_id=text, session_id=text)),
)


@place("event of one's own class")
def _(world: World, text: str) -> None:
    @dataclass
    class Own(TelemetryEvent):
        name = text

    world.telemetry.track_event(Own())
    heir = type("FeatureUsageEvent", (FeatureUsageEvent,), {"name": text})
    world.telemetry.track_event(heir(text))


# Commands.
def _run(world: World, *arguments: str, **options: Any) -> None:
    world.runner.invoke(_command, list(arguments), **options)


entry("command arguments", lambda world, text: _run(world, text, "--message", text))
entry("command that fails", lambda world, text: _run(world, text, "--fail", "--message", text))
entry("command's environment", lambda world, text: _run(world, env={"AGENT_SECRET": text.replace("\0", "")}))
entry("command's input", lambda world, text: _run(world, input=text))
entry("command's name", lambda world, text: world.log.error("cli.command", extra={"command": f"agent {text}"}))

entry("command of a tree", lambda world, text: _run_tree(world, text, text))
entry("command of a tree that fails", lambda world, text: _run_tree(world, "agents", text, "--fail"))
entry("command of a tree with an unknown option", lambda world, text: _run_tree(world, "agents", f"--{text}"))
entry("command of a tree that is not listed", lambda world, text: _run_tree(world, f"{text}!"))


class _Tree(click.Group):
    """A group that answers to names that it does not list."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by any name with an exclamation mark."""
        return _command if cmd_name.endswith("!") else super().get_command(ctx, cmd_name)


def _run_tree(world: World, *arguments: str) -> None:
    world.runner.invoke(
        instrument_click(_Tree("tool", commands={"agents": _command})), list(arguments), prog_name="tool"
    )


# Names that are made while the application serves.
class _Listing(click.Group):
    """A group that lists commands of any names."""

    names: tuple[str, ...] = ()

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names."""
        return list(self.names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Return a command of any name."""
        return click.Command(cmd_name, callback=lambda: None)


@place("command that a group lists")
def _(world: World, text: str) -> None:
    group = instrument_click(_Listing("tool"))
    group.names = (text,)
    world.runner.invoke(group, ["--", text], prog_name="tool")


@place("command that is added later")
def _(world: World, text: str) -> None:
    group = instrument_click(click.Group("tool"))
    group.add_command(click.Command(text, callback=lambda: None))
    world.runner.invoke(group, ["--", text], prog_name="tool")


def _serve_later(world: World, add: Callable[[FastAPI], None], path: str) -> None:
    served, world.app = world.app, FastAPI()
    world.app.add_middleware(TelemetryMiddleware)
    world.request(path="/")
    add(world.app)
    world.request(path=path)
    world.app = served


async def _answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(request.url))


@place("route that is added while serving")
def _(world: World, text: str) -> None:
    name = text.replace("{", "").replace("}", "")
    _serve_later(world, lambda app: app.add_route(f"/users/{name}", _answer), f"/users/{name}")


@place("mount that is added while serving")
def _(world: World, text: str) -> None:
    name = text.replace("{", "").replace("}", "")
    _serve_later(world, lambda app: app.mount(f"/users/{name}", PlainTextResponse(name)), f"/users/{name}/x")


# Agents.
@place("agent's own name and what it raises")
def _(_world: World, text: str) -> None:
    class Agent:
        name = framework = text

        @track_agent()
        def run(self, message: str) -> str:
            raise LookupError(message)

    with contextlib.suppress(LookupError):
        Agent().run(text)


@place("agent's class and result")
def _(_world: World, text: str) -> None:
    def run(_self: object, message: str) -> Any:
        return SimpleNamespace(total_tokens=message, text=message)

    type(text, (TrackedAgent,), {"run": run})().run(text)


# Requests.
entry("traceparent", lambda world, text: world.request(headers=[(b"traceparent", f"00-{text}-{text}-01".encode())]))
entry(
    "tracestate",
    lambda world, text: world.request(headers=[(b"traceparent", TRACEPARENT), (b"tracestate", text.encode())]),
)
entry("websocket", lambda world, text: world.request(type="websocket", path=f"/{text}", subprotocols=[text]))
entry("path", lambda world, text: world.request(path=f"/agents/{text}"))
entry("path of no route", lambda world, text: world.request(path=f"/{text}"))
entry("path that fails", lambda world, text: world.request(path=f"/fails/{text}"))
entry("method", lambda world, text: world.request(method=text))
entry("query", lambda world, text: world.request(query_string=text.encode()))
entry(
    "headers",
    lambda world, text: world.request(headers=[(b"authorization", text.encode()), (b"cookie", text.encode())]),
)
entry("name of a header", lambda world, text: world.request(headers=[(text.encode(), b"1")]))
entry("body", lambda world, text: world.request(method="POST", body=text))
entry("address of the client", lambda world, text: world.request(client=(text, 1), server=(text, 80)))
entry("root path", lambda world, text: world.request(root_path=f"/{text}", path=f"/{text}/agents/x"))


def _event_with(cls: type[TelemetryEvent], field: str, value: Any) -> TelemetryEvent:
    harmless: dict[str, Any] = {name: HARMLESS[kind.name] for name, kind in cls.kinds().items()}
    event = cls(**harmless)
    setattr(event, field, value)
    return event


def _fields_of(event: str, field: str) -> dict[str, Any]:
    fields = {name: HARMLESS[kind.name] for name, kind in CATALOGUE[event].items()}
    fields.pop(field, None)
    return fields


for _class in EVENTS:
    for _field in (*_class.kinds(), *CARRIED):
        _name = f"{_class.name} {_field}"

        @place(f"{_name} by logging")
        def _(world: World, text: str, event: str = _class.name, field: str = _field) -> None:
            for hold in HOLDERS:
                world.log.error(event, extra={field: hold(text), **_fields_of(event, field)})

        @place(f"{_name} by structlog")
        def _(_world: World, text: str, event: str = _class.name, field: str = _field) -> None:
            for hold in HOLDERS:
                _log().error(event, **{field: hold(text), **_fields_of(event, field)})

        if _field not in CARRIED:

            @place(f"{_name} by the facade")
            def _(world: World, text: str, cls: type[TelemetryEvent] = _class, field: str = _field) -> None:
                for hold in HOLDERS:
                    world.telemetry.track_event(_event_with(cls, field, hold(text)))
