"""A tracked call takes, returns and raises the same as an untracked one, for any objects of an application."""

# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportArgumentType=false, reportAttributeAccessIssue=false
# ruff: noqa: ARG002, B007, B008, C901, E501, PLE1205 - tables of calls with objects that are of no type

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import pickle
import signal
import types
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import pytest
import structlog
import typer

from automagik_telemetry import emit_event, get_tracing_manager
from automagik_telemetry.events.catalogue import EVENTS, FeatureUsageEvent
from automagik_telemetry.integrations.agent import TrackedAgent, track_agent
from automagik_telemetry.integrations.asgi import TelemetryMiddleware
from automagik_telemetry.integrations.click import instrument_click, instrument_typer, track_cli_command
from tests.automagik_telemetry.integrations import hostile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

OBJECTS = hostile.objects()
ERRORS = hostile.errors()
KINDS = ("plain", "coroutine", "generator", "asynchronous generator", "returned coroutine", "returned generator")


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """Set the handler of SIGINT back, where `asyncio.run` left its own because an exception's repr raises."""
    yield
    with contextlib.suppress(Exception):  # the handler that is replaced is returned, and its repr is asked for
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["off", "telemetry", "traces", "both"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The parts that are on."""
    if request.param in ("telemetry", "both"):
        request.getfixturevalue("opted_in")
    if request.param in ("traces", "both"):
        request.getfixturevalue("to_langwatch")
    manager = get_tracing_manager()
    assert (manager.telemetry is not None) == (request.param in ("telemetry", "both"))
    assert (manager.observability is not None) == (request.param in ("traces", "both"))
    return str(request.param)


@pytest.fixture(autouse=True)
def silence(
    capfd: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> Iterator[list[tuple[str, str]]]:
    """Provide a list of differences, and check that nothing was printed; an application's logging prints to stderr."""
    tried: list[tuple[str, str]] = []
    yield tried
    record_property("hostile cases", len(tried))
    gathered = capfd.readouterr()
    assert (gathered.out, gathered.err) == ("", "")


class Outcome(NamedTuple):
    """The outcome of a call: returned or yielded values, and the raised exception."""

    values: tuple[Any, ...]
    error: BaseException | None


def outcome(call: Callable[[], list[Any]]) -> Outcome:
    """Return the outcome of a call."""
    try:
        return Outcome(tuple(call()), None)
    except pytest.fail.Exception:  # it took too long
        raise
    except BaseException as error:  # any exception is an outcome
        return Outcome((), error)


def check(name: str, expected: Outcome, got: Outcome, *, alike: bool = False) -> str | None:
    """Return the differences: values and exceptions must be the same objects, or `alike` ones."""
    if len(expected.values) != len(got.values):
        return f"{name}: {len(got.values)} values, {_error(got.error)}, not {len(expected.values)}, {_error(expected.error)}"
    if alike:
        if type(expected.error) is not type(got.error):
            return f"{name}: raised {_error(got.error)} instead of {_error(expected.error)}"
    elif expected.error is not got.error:
        return f"{name}: raised {_error(got.error)} instead of {_error(expected.error)}"
    for one, other in zip(expected.values, got.values, strict=True):
        if one is not other and not (alike and type(one) is type(other)):
            return f"{name}: gave a {type(other)} instead of a {type(one)}"
    return None


def _error(error: BaseException | None) -> str:
    if error is None:
        return "nothing"
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename.rpartition('/')[2]}:{place.tb_lineno}" if place else ""
    text = "(no text)"
    with contextlib.suppress(Exception):
        text = str.__str__(str(error))[:80]
    return f"{type.__dict__['__name__'].__get__(type(error))} {text} at {where}"


def function_of(kind: str, given: Any = None, error: BaseException | None = None) -> Callable[..., Any]:
    """Return a function of a kind, which returns its argument or the `given` object, or raises."""

    def answer(asked: Any) -> Any:
        if error is not None:
            raise error
        return asked if given is None else given

    def plain(self: Any, asked: Any = None, **_options: Any) -> Any:
        return answer(asked)

    async def coroutine(self: Any, asked: Any = None, **_options: Any) -> Any:
        await asyncio.sleep(0)
        return answer(asked)

    def generator(self: Any, asked: Any = None, **_options: Any) -> Any:
        sent = yield asked
        yield sent
        return answer(asked)

    async def asynchronous_generator(self: Any, asked: Any = None, **_options: Any) -> Any:
        sent = yield asked
        yield sent
        yield answer(asked)

    def returned_coroutine(self: Any, asked: Any = None, **_options: Any) -> Any:
        return coroutine(self, asked)

    def returned_generator(self: Any, asked: Any = None, **_options: Any) -> Any:
        return generator(self, asked)

    made: dict[str, Callable[..., Any]] = {name.__name__.replace("_", " "): name for name in (
        plain, coroutine, generator, asynchronous_generator, returned_coroutine, returned_generator
    )}  # fmt: skip
    return made[kind]


def drive(call: Callable[[], Any]) -> list[Any]:
    """Call, and run the result to its end."""
    result = call()
    if type(result) is types.CoroutineType:
        return [finish(result)]
    if type(result) is types.GeneratorType:
        values = []
        try:
            values.append(next(result))
            while True:
                values.append(result.send(values[0]))
        except StopIteration as stop:
            values.append(stop.value)
        return values
    if type(result) is types.AsyncGeneratorType:
        values = [finish(result.asend(None))]
        with contextlib.suppress(StopAsyncIteration):
            while True:
                values.append(finish(result.asend(values[0])))
        return values
    return [result]


def finish(awaited: Any) -> Any:
    """Return the result of a coroutine that never waits, because an event loop would inspect it."""
    try:
        while True:
            awaited.send(None)
    except StopIteration as stop:
        return stop.value


class Tries:
    """Tries a call untracked and tracked with each hostile object, and collects the differences."""

    def __init__(self, tried: list[tuple[str, str]], integration: str, step: int = 1) -> None:
        self.tried = tried
        self.integration = integration
        self.wrong: list[str] = []
        self._places = 0
        self._step = step  # a different share of the objects for each place, all of them in turn

    def each(
        self,
        place: str,
        make: Callable[[Any], tuple[Callable[[], Any], Callable[[], Any]]],
        table: dict[str, Callable[[], Any]],
        *,
        alike: bool = False,
    ) -> None:
        """Try each object; `make` returns the untracked and the tracked call."""
        self._places += 1
        for name in sorted(table)[self._places % self._step :: self._step]:
            factory = table[name]
            odd = factory()
            self.tried.append((self.integration, name))
            try:
                untracked, tracked = make(odd)
                expected = outcome(lambda call=untracked: drive(call))  # type: ignore[misc]
                got = outcome(lambda call=tracked: drive(call))  # type: ignore[misc]
                wrong = check(f"{self.integration}, {place}, {name}", expected, got, alike=alike)
            except Exception as error:  # any exception is an outcome
                wrong = f"{self.integration}, {place}, {name}: setting up raised {_error(error)}"
            if wrong:
                self.wrong.append(wrong)

    def done(self) -> None:
        """Fail with all differences."""
        assert not self.wrong, f"{len(self.wrong)} of {len(self.tried)}:\n" + "\n".join(sorted(self.wrong))


@pytest.mark.fault(66)
@pytest.mark.parametrize("kind", KINDS)
def test_functions(mode: str, silence: list[tuple[str, str]], kind: str) -> None:
    """A tracked function of any kind: hostile arguments, agents, attributes of agents, results and exceptions."""
    tries = Tries(silence, f"track_agent {kind}", 2)

    def pair(call: Callable[[Callable[..., Any]], Any], **how: Any) -> Any:
        function = function_of(kind, **how)
        tracked = track_agent(*names)(function)
        return (lambda: call(function)), (lambda: call(tracked))

    for names in ((), ("simple", "agno")):
        tries.each("argument", lambda odd: pair(lambda run: run(None, odd)), OBJECTS)
        tries.each("agent", lambda odd: pair(lambda run: run(odd, 1)), OBJECTS)
    names = ()
    for option in ("multimodal_content", "session_id", "user_id", "anything"):
        tries.each(option, lambda odd, option=option: pair(lambda run: run(None, 1, **{option: odd})), OBJECTS)
    for attribute in ("name", "framework", "framework_type", "_tracked_as"):
        tries.each(
            attribute,
            lambda odd, attribute=attribute: pair(
                lambda run, agent=type("Agent", (), {attribute: odd})(): run(agent, 1)
            ),
            OBJECTS,
        )
    tries.each("result", lambda odd: pair(lambda run: run(None, 1), given=odd), OBJECTS)
    tries.each(
        "tokens",
        lambda odd: pair(lambda run, told=type("Told", (), {"total_tokens": odd})(): run(None, told)),
        OBJECTS,
    )
    tries.each("error", lambda odd: pair(lambda run: run(None, 1), error=odd), ERRORS)
    tries.done()


@pytest.mark.fault(66)
def test_tracked_agents(mode: str, silence: list[tuple[str, str]]) -> None:
    """A `TrackedAgent`: hostile attributes, arguments and results, as a method, class method and static method."""
    tries = Tries(silence, "TrackedAgent", 2)

    def make(odd: Any, base: type, argument: Any, **members: Any) -> Callable[[], Any]:
        class Agent(base):  # type: ignore[misc]
            def run(self, asked: Any) -> Any:
                return asked

        class OfClass(base):  # type: ignore[misc]
            @classmethod
            def run(cls, asked: Any) -> Any:
                return asked

        class Static(base):  # type: ignore[misc]
            @staticmethod
            def run(asked: Any) -> Any:
                return asked

        for kind in (Agent, OfClass, Static):
            for name, value in members.items():
                setattr(kind, name, value)
        del odd

        def call() -> Any:
            gathered = [Agent().run(argument), OfClass.run(argument), Static().run(argument)]
            return gathered[0] if gathered[0] is gathered[1] is gathered[2] else gathered

        return call

    tries.each("argument", lambda odd: (make(odd, object, odd), make(odd, TrackedAgent, odd)), OBJECTS)
    for name in ("name", "framework", "framework_type", "__hash__", "__eq__", "__bool__"):
        tries.each(
            name,
            lambda odd, name=name: (make(odd, object, 1, **{name: odd}), make(odd, TrackedAgent, 1, **{name: odd})),
            OBJECTS,
        )
    tries.done()


@pytest.mark.fault(66)
def test_commands(mode: str, silence: list[tuple[str, str]]) -> None:
    """A command, decorated or in a tree of click's or Typer's: hostile arguments, results and exceptions."""
    tries = Tries(silence, "commands", 2)

    def decorated(call: Callable[[Any], Any], name: str, kind: str, **how: Any) -> Any:
        function = function_of(kind, **how)
        tracked = track_cli_command(name)(function)
        return (lambda: call(function)), (lambda: call(tracked))

    for kind in ("plain", "coroutine", "generator", "returned coroutine"):
        tries.each(
            "argument", lambda odd, kind=kind: decorated(lambda run: run(None, odd), "agent list", kind), OBJECTS
        )
        tries.each(
            "result", lambda odd, kind=kind: decorated(lambda run: run(1), "agent list", kind, given=odd), OBJECTS
        )
        tries.each("error", lambda odd, kind=kind: decorated(lambda run: run(1), "agent list", kind, error=odd), ERRORS)
    tries.done()


def _tree(odd: Any, *, error: bool, instrumented: bool, library: str) -> Callable[[], Any]:
    def work(context: Any) -> Any:
        if error:
            raise odd
        assert context.obj is odd
        return odd

    if library == "typer":
        app = typer.Typer(pretty_exceptions_enable=False)
        app.command("list")(_annotated(work, typer.Context))
        app.command("other")(lambda: None)
        tree = typer.main.get_command(instrument_typer(app) if instrumented else app)
    else:
        tree = click.Group("agent", commands={"list": click.Command("list", callback=click.pass_context(work))})
        if instrumented:
            instrument_click(tree)
    return lambda: tree.main(["list"], prog_name="agent", standalone_mode=False, obj=odd)


def _annotated(function: Any, kind: Any) -> Any:
    function.__annotations__ = {"context": kind}
    return function


@pytest.mark.fault(66)
@pytest.mark.parametrize("library", ["click", "typer"])
def test_trees(mode: str, silence: list[tuple[str, str]], library: str) -> None:
    """A command in a tree: hostile objects in its context, its results and exceptions."""
    tries = Tries(silence, library)
    # Both print an empty line for an interrupt.
    quiet = {name: make for name, make in ERRORS.items() if name != "interrupt"}
    for place, table in (("object", OBJECTS), ("error", quiet)):
        tries.each(
            place,
            lambda odd, place=place: tuple(
                _tree(odd, error=place == "error", instrumented=instrumented, library=library)
                for instrumented in (False, True)
            ),
            table,
            alike=place == "error",
        )
    tries.done()


@pytest.mark.fault(66)
def test_parts_of_a_tree(mode: str, silence: list[tuple[str, str]]) -> None:
    """A tree of click's whose commands themselves are hostile: names, callbacks, lists of commands."""
    tries = Tries(silence, "click", 2)

    class Callback:
        def __init__(self, odd: Any) -> None:
            self.__automagik_mark__ = odd

        def __call__(self) -> str:
            return "done"

    class Lists(click.Group):
        odd: Any

        def list_commands(self, ctx: Any) -> Any:
            return self.odd

    def tree(odd: Any, place: str, *, instrumented: bool) -> Callable[[], Any]:
        callback: Any = Callback(odd) if place == "callback" else (lambda: "done")
        if place == "callback that raises":
            callback = type("Callback", (), {"__call__": lambda _: "done", "__getattr__": hostile.raiser(ValueError)})()
        command = click.Command("list", callback=callback)
        if place == "name":
            command.name = odd
        if place in ("chain", "hidden"):
            command.chain = odd  # type: ignore[attr-defined]
        group: Any = (Lists if place == "list" else click.Group)("agent", commands={"list": command})
        group.odd = odd
        if place == "group name":
            group.name = odd
        if instrumented:
            instrument_click(group)
        return lambda: group.main(["list"], prog_name="agent", standalone_mode=False)

    for place in ("callback", "callback that raises", "name", "chain", "list", "group name"):
        tries.each(
            place,
            lambda odd, place=place: (tree(odd, place, instrumented=False), tree(odd, place, instrumented=True)),
            OBJECTS,
        )
    tries.done()


@pytest.mark.fault(66)
def test_surroundings_of_a_command(mode: str, silence: list[tuple[str, str]]) -> None:
    """A decorator looks for a Typer app among the names around it, which may have any value."""
    tries = Tries(silence, "track_cli_command")

    def around(odd: Any) -> Any:
        local = odd

        @track_cli_command("agent list")
        def command() -> int:
            return 1

        del local
        return command

    tries.each("surroundings", lambda odd: ((lambda: 1), around(odd)), OBJECTS)
    tries.done()


SCOPE: dict[str, Any] = {
    "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/a",
    "raw_path": b"/a", "root_path": "", "query_string": b"", "headers": [(b"host", b"test")], "client": ("::1", 1),
    "server": ("test", 1),
}  # fmt: skip
START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"x"}


def serve(app: Any, scope: Any, received: Any) -> list[Any]:
    """Serve a request; return the messages in both directions."""
    passed: list[Any] = []

    async def receive() -> Any:
        return received

    async def send(message: Any) -> None:
        passed.append(message)

    finish(app(scope, receive, send))
    return passed


@pytest.mark.fault(66)
def test_requests(mode: str, silence: list[tuple[str, str]]) -> None:
    """An ASGI application: hostile entries of the scope, headers, messages and exceptions."""
    tries = Tries(silence, "TelemetryMiddleware", 5)

    def pair(app: Any, scope: dict[str, Any], received: Any = None) -> Any:
        wrapped = TelemetryMiddleware(app)
        return tuple((lambda each=each: Passed(serve(each, type(scope)(scope), received))) for each in (app, wrapped))

    def sending(*messages: Any, also: dict[str, Any] | None = None, error: BaseException | None = None) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope.update(also or {})
            await send({"type": "noted", "seen": await receive()})
            for message in messages:
                await send(message)
            if error is not None:
                raise error

        return app

    class Passed(list):  # type: ignore[type-arg]
        pass

    fine = sending(START, BODY)
    for key in (*SCOPE, "app", "endpoint", "route", "state", "extensions"):
        tries.each(f"scope {key}", lambda odd, key=key: pair(fine, {**SCOPE, key: odd}), OBJECTS, alike=True)
    for key in ("endpoint", "route", "path", "app", "root_path", "router"):
        tries.each(
            f"set {key}", lambda odd, key=key: pair(sending(START, BODY, also={key: odd}), SCOPE), OBJECTS, alike=True
        )
    for entry in ("header", "name", "value"):
        tries.each(
            entry,
            lambda odd, entry=entry: pair(
                fine,
                {**SCOPE, "headers": [{"header": odd, "name": (odd, b""), "value": (b"traceparent", odd)}[entry]]},
            ),
            OBJECTS,
            alike=True,
        )
    for message in (START, BODY):
        for key in (*message, "trailers", "more_body"):
            odd_message = lambda odd, message=message, key=key: {**message, key: odd}  # noqa: E731 - bound to this turn
            tries.each(
                f"{message['type']} {key}",
                lambda odd, make=odd_message, first=message is BODY: pair(
                    sending(START, make(odd)) if first else sending(make(odd), BODY), SCOPE
                ),
                OBJECTS,
                alike=True,
            )
    tries.each("message", lambda odd: pair(sending(odd, BODY), SCOPE), OBJECTS, alike=True)
    tries.each("received", lambda odd: pair(fine, SCOPE, odd), OBJECTS, alike=True)
    tries.each("received type", lambda odd: pair(fine, SCOPE, {"type": odd}), OBJECTS, alike=True)
    for messages in ((), (START,), (START, BODY)):
        tries.each("error", lambda odd, messages=messages: pair(sending(*messages, error=odd), SCOPE), ERRORS)
    tries.done()


@pytest.mark.fault(66)
def test_events(mode: str, silence: list[tuple[str, str]]) -> None:
    """Every way to log an event: the facade, `emit_event`, structlog, a logger with `extra`; hostile fields."""
    tries = Tries(silence, "events", 8)
    logger = logging.getLogger("automagik.agents")
    for handler in list(logging.getLogger("automagik").handlers):
        if type(handler).__name__ == "LogCaptureHandler":  # pytest's handler raises if a record can't be formatted
            logging.getLogger("automagik").removeHandler(handler)

    def nothing() -> Callable[[], Any]:
        return lambda: None

    def facade(call: Callable[[Any], Any]) -> Callable[[], Any]:
        def tracked() -> None:
            if (telemetry := get_tracing_manager().telemetry) is not None:
                call(telemetry)

        return tracked

    for place, call in {
        "track_agent_run": lambda one, odd: one.track_agent_run(odd, odd, odd, odd),
        "track_feature_usage": lambda one, odd: one.track_feature_usage(odd, odd),
        "track_error": lambda one, odd: one.track_error(odd, odd, unhandled=odd),
        "track_http_request": lambda one, odd: one.track_http_request(odd, odd, odd, odd),
        "track_http_request status": lambda one, odd: one.track_http_request("GET", "/", odd, 1.0),
        "track_event": lambda one, odd: one.track_event(odd),
        "track_event ids": lambda one, odd: one.track_event(FeatureUsageEvent("a"), ids=odd),
        "track_event span": lambda one, odd: one.track_event(FeatureUsageEvent("a"), span_id=odd),
        "log": lambda one, odd: one.log("info", {"event": "feature.used", "feature_name": odd}),
        "flush": lambda one, odd: None if _waits(odd) else one.flush(odd),
    }.items():
        tries.each(place, lambda odd, call=call: (nothing(), facade(lambda one: call(one, odd))), OBJECTS)
    for event in EVENTS:
        for field in event.fields:
            tries.each(
                f"{event.name} {field}",
                lambda odd, event=event, field=field: (
                    nothing(),
                    facade(lambda one: one.track_event(_made(event, field, odd))),
                ),
                OBJECTS,
            )
            extra = lambda odd, field=field: {field: odd}  # noqa: E731 - bound to this turn
            tries.each(
                f"logger {event.name} {field}",
                lambda odd, event=event, extra=extra: (nothing(), lambda: logger.info(event.name, extra=extra(odd))),
                OBJECTS,
            )

    def record_of(odd: Any) -> Callable[[], Any]:
        """Return a factory of hand-made records, because `logging` itself inspects an argument."""

        def make() -> None:
            if logger.isEnabledFor(logging.INFO):
                logging.LogRecord("automagik.agents", logging.INFO, "", 1, "agent.run", (odd,), None)

        return make

    tries.each("logger name", lambda odd: (nothing(), lambda: logger.info(odd)), OBJECTS)
    tries.each(
        "logger argument", lambda odd: (record_of(odd), lambda: logger.info("agent.run", odd)), OBJECTS, alike=True
    )
    tries.each("logger error", lambda odd: (nothing(), lambda: logger.info("agent.run", exc_info=odd)), ERRORS)
    tries.each(
        "emit_event", lambda odd: ((lambda: odd), lambda: emit_event(None, "info", {"event": "feature.used", "feature_name": odd, "k": odd})["k"]), OBJECTS
    )  # fmt: skip
    tries.each(
        "emit_event name",
        lambda odd: ((lambda: odd), lambda: emit_event(None, "info", {"event": odd})["event"]),
        OBJECTS,
    )
    tries.each("emit_event dict", lambda odd: ((lambda: odd), lambda: emit_event(None, "info", odd)), OBJECTS)
    tries.each(
        "emit_event method",
        lambda odd: (nothing(), lambda: emit_event(None, odd, {"event": "feature.used"}).get("none")),
        OBJECTS,
    )
    chain = structlog.wrap_logger(
        structlog.testing.ReturnLogger() if hasattr(structlog.testing, "ReturnLogger") else structlog.ReturnLogger(),
        processors=[emit_event, lambda *_: "x"],
    )
    tries.each(
        "structlog", lambda odd: (nothing(), lambda: chain.info("feature.used", feature_name=odd) and None), OBJECTS
    )
    tries.done()


def _made(event: Any, field: str, odd: Any) -> Any:
    values = {name: 1 for name, declared in event.fields.items() if declared.default is ...}
    return event(**{**values, field: odd})


def _waits(odd: Any) -> bool:
    """Return whether a waiting time may be endless."""
    return issubclass(type(odd), int | float)


@pytest.mark.fault(66)
def test_spans(mode: str, silence: list[tuple[str, str]]) -> None:
    """Blocks and calls of observability: hostile names, inputs, outputs, attributes and exceptions."""
    observability = get_tracing_manager().observability
    if observability is None:
        return
    tries = Tries(silence, "observability", 3)
    provider: Any = next(iter(observability.providers.values()))

    def block(make: Callable[[], Any], do: Callable[[Any], Any] = lambda _: None) -> Callable[[], Any]:
        def run() -> None:
            with make() as span:
                do(span)

        return run

    nothing = lambda: None  # noqa: E731 - bound to this turn
    for place, make in {
        "trace_agent_run": lambda odd: block(lambda: observability.trace_agent_run(odd)),
        "trace_agent_run session": lambda odd: block(
            lambda: observability.trace_agent_run("a", odd, odd, odd, user_id=odd)
        ),
        "start_trace": lambda odd: block(lambda: provider.start_trace(odd)),
        "start_trace kind": lambda odd: block(lambda: provider.start_trace("a", odd)),
        "start_trace attributes": lambda odd: block(lambda: provider.start_trace("a", attributes=odd)),
        "start_trace metadata": lambda odd: block(lambda: provider.start_trace("a", metadata=odd)),
        "start_trace input": lambda odd: block(lambda: provider.start_trace("a", input_text=odd)),
        "start_trace id": lambda odd: block(lambda: provider.start_trace("a", trace_id=odd, span_id=odd)),
        "start_trace caller": lambda odd: block(lambda: provider.start_trace("a", traceparent=odd)),
        "set_input": lambda odd: block(lambda: provider.start_trace("a"), lambda span: span.set_input(odd)),
        "set_output": lambda odd: block(lambda: provider.start_trace("a"), lambda span: span.set_output(odd)),
        "set_error": lambda odd: block(lambda: provider.start_trace("a"), lambda span: span.set_error(odd)),
        "attribute": lambda odd: block(
            lambda: provider.start_trace("a"), lambda span: span.attributes.update(a=odd, user_id=odd, session_id=odd)
        ),
        "attributes": lambda odd: block(
            lambda: provider.start_trace("a"), lambda span: setattr(span, "attributes", odd)
        ),
        "name": lambda odd: block(lambda: provider.start_trace("a"), lambda span: setattr(span, "name", odd)),
        "span": lambda odd: block(
            lambda: provider.start_trace("a"), lambda span: block(lambda: span.span(odd, odd, odd, a=odd))()
        ),
        "log_llm_call": lambda odd: lambda: provider.log_llm_call(odd, odd, odd, odd, odd, odd, odd, odd, a=odd),
        "log_tool_call": lambda odd: lambda: provider.log_tool_call(odd, odd, odd),
        "log_metadata": lambda odd: lambda: provider.log_metadata(odd),
        "log_error": lambda odd: lambda: provider.log_error(odd, odd),
        "log_agent_config": lambda odd: lambda: provider.log_agent_config(odd, odd, odd, a=odd),
        "complete_trace": lambda odd: lambda: provider.complete_trace(odd, odd, odd, odd),
        "should_sample": lambda odd: lambda: observability.sampler.should_sample(odd) and None,
        "should_sample duration": lambda odd: lambda: observability.sampler.should_sample("a", odd, odd, odd) and None,
    }.items():
        tries.each(place, lambda odd, make=make: (nothing, make(odd)), OBJECTS)

    def failing(odd: BaseException, *, traced: bool) -> Callable[[], Any]:
        def run() -> None:
            with provider.start_trace("a") if traced else contextlib.nullcontext():
                raise odd

        return run

    tries.each("error", lambda odd: (failing(odd, traced=False), failing(odd, traced=True)), ERRORS)
    tries.done()


@pytest.mark.fault(66)
def test_pydantic_ai(mode: str, silence: list[tuple[str, str]]) -> None:
    """An agent of pydantic-ai: hostile dependencies, metadata, prompts, names, models, results of tools, exceptions."""
    from pydantic_ai import Agent
    from pydantic_ai.models.test import TestModel

    from automagik_telemetry.integrations import pydantic_ai

    tries = Tries(silence, "pydantic_ai", 12)

    def agent(place: str, odd: Any, *, instrumented: bool) -> Callable[[], Any]:
        class Model(TestModel):
            @property
            def model_name(self) -> Any:
                return odd if place == "model" else "test"

            async def request(self, *args: Any, **kwargs: Any) -> Any:
                if place == "model error":
                    raise odd
                return await super().request(*args, **kwargs)

        made: Any = Agent(Model(custom_output_text="done"), name="simple", output_type=str, deps_type=object)

        @made.tool_plain
        def look() -> Any:
            if place == "tool error":
                raise odd
            return odd if place == "tool" else "seen"

        if place == "name":
            made._name = odd
        if instrumented:
            pydantic_ai.instrument(made)
        options: dict[str, Any] = {
            "deps": {"deps": odd},
            "metadata": {"metadata": odd},
            "metadata entry": {"metadata": {"session_id": odd, "user_id": odd}},
            "conversation": {"conversation_id": odd},
        }.get(place, {})
        prompt = odd if place == "prompt" else [odd] if place == "part" else "secret"

        async def run() -> Any:
            return (await made.run(prompt, **options)).output

        return lambda: asyncio.run(run())

    # pydantic-ai itself follows endless values, and calls mocks.
    left_out = ("without end", "anything", "asynchronous mock")
    ending = {name: make for name, make in OBJECTS.items() if not any(each in name for each in left_out)}
    for place in ("deps", "metadata", "metadata entry", "conversation", "prompt", "part", "name", "model", "tool"):
        tries.each(
            place,
            lambda odd, place=place: tuple(agent(place, odd, instrumented=each) for each in (False, True)),
            ending,
            alike=True,
        )
    quiet = {name: make for name, make in ERRORS.items() if name not in ("interrupt", "base")}  # of the event loop
    for place in ("tool error", "model error"):
        tries.each(
            place,
            lambda odd, place=place: tuple(agent(place, odd, instrumented=each) for each in (False, True)),
            quiet,
            alike=True,
        )
    tries.done()


@pytest.mark.fault(66)
def test_agno(mode: str, silence: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent of agno: hostile inputs, ids, names, models, media, results of tools, exceptions."""
    from automagik_telemetry.integrations import agno
    from tests.automagik_telemetry.integrations.agno import agno_agents

    for name in ("agno", "agno-team", "agno-workflow"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", True)  # agno prints its errors
    tries = Tries(silence, "agno", 12)

    def agent(place: str, odd: Any, *, instrumented: bool) -> Callable[[], Any]:
        def look() -> Any:
            """Look."""
            if place == "tool error":
                raise odd
            return odd if place == "tool" else "seen"

        made: Any = agno_agents.make(look, failure=odd if place == "model error" else None)
        for attribute in ("name", "session_id", "user_id", "stream", "id"):
            if place == attribute:
                setattr(made, attribute, odd)
        if place in ("model id", "model provider"):
            setattr(made.model, place.rpartition(" ")[2], odd)
        if instrumented:
            agno.instrument(made)
        options = {place.partition(" ")[2]: odd} if place.startswith("option ") else {}

        def run() -> Any:
            told = made.run(odd if place == "input" else "secret", **options)
            if type(told) is types.GeneratorType:
                return [type(each) for each in told]
            return told.content if type(told.content) is str else type(told.content)

        return run

    for place in (
        *("input", "name", "session_id", "user_id", "stream", "model id", "model provider", "tool"),
        *("option session_id", "option user_id", "option images", "option stream", "option background"),
    ):
        tries.each(
            place,
            lambda odd, place=place: tuple(agent(place, odd, instrumented=each) for each in (False, True)),
            OBJECTS,
            alike=True,
        )
    for place in ("tool error", "model error"):
        tries.each(
            place,
            lambda odd, place=place: tuple(agent(place, odd, instrumented=each) for each in (False, True)),
            {name: make for name, make in ERRORS.items() if name not in ("interrupt", "base")},
            alike=True,
        )
    tries.done()


@pytest.mark.fault(66)
def test_nothing_is_looked_at_while_off() -> None:
    """While nothing is on, no integration uses the application's objects."""
    odd = hostile.witness()
    assert get_tracing_manager().telemetry is None
    for kind in KINDS:
        run = track_agent()(function_of(kind))
        for arguments in ((None, odd), (odd, 1)):
            assert len(
                drive(lambda run=run, arguments=arguments: run(*arguments, session_id=odd, multimodal_content=odd))
            )  # type: ignore[misc]
        command = track_cli_command("agent list")(function_of(kind))
        drive(lambda command=command: command(None, odd))  # type: ignore[misc]
    tree = _tree(odd, error=False, instrumented=True, library="click")
    assert tree() is odd

    async def app(*_given: Any) -> None:
        return

    finish(TelemetryMiddleware(app)(odd, odd, odd))  # type: ignore[arg-type]
    assert emit_event(None, odd, odd) is odd  # type: ignore[arg-type, comparison-overlap]
    assert type(odd).touched == []


def test_functions_stay_what_they_were() -> None:
    """A tracked function has the signature, kind, name and pickle of the function itself."""
    for kind in KINDS:
        plain = function_of(kind)
        for tracked in (track_agent()(plain), track_cli_command("agent list")(plain)):
            assert inspect.signature(tracked) == inspect.signature(plain)
            assert (tracked.__name__, tracked.__qualname__, tracked.__module__, tracked.__doc__) == (
                plain.__name__,
                plain.__qualname__,
                plain.__module__,
                plain.__doc__,
            )
            assert tracked.__wrapped__ is plain  # type: ignore[attr-defined]
            assert inspect.iscoroutinefunction(tracked) == inspect.iscoroutinefunction(plain)
        agent = track_agent()(plain)
        assert inspect.isgeneratorfunction(agent) == inspect.isgeneratorfunction(plain)
        assert inspect.isasyncgenfunction(agent) == inspect.isasyncgenfunction(plain)
    assert pickle.loads(pickle.dumps(pickled)) is pickled  # noqa: S301 - made here


@track_agent()
def pickled() -> None:
    """Do nothing, by name."""
