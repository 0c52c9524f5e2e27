"""Any kind of agent run is tracked, and otherwise behaves as undecorated."""

from __future__ import annotations

import asyncio
import enum
import inspect
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import structlog

from automagik_telemetry import get_tracing_manager
from automagik_telemetry.integrations._agent_run import AgentRun
from automagik_telemetry.integrations.agent import TrackedAgent, track_agent


class Answer:
    """A result with its number of tokens."""

    total_tokens = 42


class Framework(enum.Enum):
    """A framework name as applications define it."""

    AGNO = "agno"


def runs(receiver: Any, fields: Any) -> list[dict[str, Any]]:
    """Flush, and return the fields of every run that arrived."""
    assert get_tracing_manager().flush(10)
    return [fields(span) for span in receiver.spans() if span["name"] == "agent.run"]


KINDS = ["sync", "async", "generator", "async generator"]


def make(kind: str, body: Any) -> Any:
    """Return an agent class whose run is of that kind, and calls `body`."""

    def sync(self: Any, message: str, **_kwargs: Any) -> Any:
        return body(message)

    async def concurrent(self: Any, message: str, **_kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return body(message)

    def steps(self: Any, message: str, **_kwargs: Any) -> Any:
        yield "first"
        yield body(message)

    async def concurrent_steps(self: Any, message: str, **_kwargs: Any) -> Any:
        yield "first"
        await asyncio.sleep(0)
        yield body(message)

    run = dict(zip(KINDS, (sync, concurrent, steps, concurrent_steps), strict=True))[kind]
    return type("Agent", (), {"name": "simple", "framework_type": Framework.AGNO, "run": run})


def call(kind: str, agent: Any, *args: Any, **kwargs: Any) -> Any:
    """Call an agent's run to its end and return its result, or the list of what it yielded."""

    async def consume() -> list[Any]:
        return [item async for item in agent.run(*args, **kwargs)]

    if kind == "sync":
        return agent.run(*args, **kwargs)
    if kind == "async":
        return asyncio.run(agent.run(*args, **kwargs))
    return list(agent.run(*args, **kwargs)) if kind == "generator" else asyncio.run(consume())


@pytest.mark.parametrize("kind", KINDS)
def test_success(opted_in: Any, fields: Any, kind: str) -> None:
    """The result is the twin's, and the run is sent with name, framework, tokens and multimodal flag."""
    answer = Answer()
    twin, agent = make(kind, lambda _message: answer), make(kind, lambda _message: answer)
    agent.run = track_agent()(agent.run)
    assert call(kind, agent(), "secret", multimodal_content=b"secret") == call(kind, twin(), "secret")
    (sent,) = runs(opted_in, fields)
    assert sent["event.agent_name"] == "simple"
    assert sent["event.framework"] == "agno"
    assert sent["event.success"] is True
    assert sent["event.has_multimodal"] is True
    assert sent["event.token_count"] == 42
    assert "secret" not in str(opted_in.requests)


@pytest.mark.parametrize("kind", KINDS)
def test_failure_passes_through(opted_in: Any, fields: Any, kind: str) -> None:
    """The original exception arrives, with its traceback, and is sent as the class of an error and a failed run."""
    failure = ValueError("secret")

    def fail(_message: str) -> None:
        raise failure

    agent = make(kind, fail)
    agent.run = track_agent("my agent", "agno")(agent.run)
    with pytest.raises(ValueError, match="secret") as caught:
        call(kind, agent(), "hello")
    assert caught.value is failure
    assert [frame.name for frame in traceback.extract_tb(failure.__traceback__)][-1] == "fail"
    assert failure.__context__ is None
    (sent,) = runs(opted_in, fields)
    assert (sent["event.agent_name"], sent["event.success"]) == ("my agent", False)
    (error,) = [fields(span) for span in opted_in.spans() if span["name"] == "agent.error"]
    assert (error["event.error_type"], error["event.component"]) == ("ValueError", "agent.my agent")
    assert "secret" not in str(opted_in.requests)


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_cancellation(opted_in: Any, fields: Any, how: str) -> None:
    """A cancelled run stays cancelled, and is a failed run without an error of its own."""

    class Agent:
        name = "simple"
        framework = "agno"

        @track_agent()
        async def run(self) -> None:
            await asyncio.Event().wait()

    async def main() -> None:
        if how == "timeout":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await Agent().run()
            return
        task = asyncio.create_task(Agent().run())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    (sent,) = runs(opted_in, fields)
    assert sent["event.success"] is False
    assert [span["name"] for span in opted_in.spans()] == ["agent.run"]


def test_generators_pass_everything(opted_in: Any, fields: Any) -> None:
    """Sent values, thrown exceptions, return values and the end reach the generator as without us."""
    log: list[object] = []

    def steps() -> Any:
        try:
            log.append((yield 1))
            try:
                yield 2
            except KeyError as error:
                log.append(error)
            yield 3
        finally:
            log.append("closed")
        return "result"

    def use(function: Any) -> list[object]:
        log.clear()
        generator = function()
        thrown = KeyError("x")
        seen: list[object] = [next(generator), generator.send("sent"), generator.throw(thrown)]
        with pytest.raises(StopIteration) as stop:
            next(generator)
        unfinished = function()
        next(unfinished)
        unfinished.close()
        return [*seen, stop.value.value, log[0], log[1] is thrown, *log[2:]]

    assert use(track_agent("agent")(steps)) == use(steps)
    assert [run["event.success"] for run in runs(opted_in, fields)] == [True, True]


def test_async_generators_pass_everything(opted_in: Any, fields: Any) -> None:
    """Asynchronous generators behave in the same way."""
    log: list[object] = []

    async def steps() -> Any:
        try:
            log.append((yield 1))
            try:
                yield 2
            except KeyError as error:
                log.append(error)
            yield 3
        finally:
            log.append("closed")

    async def use(function: Any) -> list[object]:
        log.clear()
        generator = function()
        thrown = KeyError("x")
        seen: list[object] = [await anext(generator), await generator.asend("sent"), await generator.athrow(thrown)]
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        unfinished = function()
        await anext(unfinished)
        await unfinished.aclose()
        return [*seen, log[0], log[1] is thrown, *log[2:]]

    assert asyncio.run(use(track_agent("agent")(steps))) == asyncio.run(use(steps))
    assert [run["event.success"] for run in runs(opted_in, fields)] == [True, True]


def test_what_is_bound_does_not_leak_from_a_generator(opted_in: Any) -> None:
    """The caller's code between two steps is outside of the run."""

    @track_agent("agent")
    def steps() -> Any:
        yield structlog.contextvars.get_contextvars()
        yield structlog.contextvars.get_contextvars()

    generator = steps()
    inside = next(generator)
    assert structlog.contextvars.get_contextvars() == {}
    assert next(generator) == inside
    assert inside["trace_id"]
    generator.close()


@pytest.mark.parametrize("kind", KINDS)
def test_looks_like_the_function(kind: str) -> None:
    """Kind, signature and name stay."""
    function = make(kind, str).run
    tracked: Any = track_agent()(function)
    for question in (
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
        inspect.signature,
    ):
        assert question(tracked) == question(function)
    assert tracked.__name__ == function.__name__


def test_nested_runs_are_one_trace(opted_in: Any) -> None:
    """A run inside a run is its child; ids are hashed alike, so that they still join."""

    @track_agent("inner")
    async def inner() -> None:
        get = get_tracing_manager().telemetry
        assert get is not None
        get.track_feature_usage("agents")

    @track_agent("outer")
    async def outer() -> None:
        await inner()
        await asyncio.gather(inner(), inner())

    asyncio.run(outer())
    assert get_tracing_manager().flush(10)
    spans = opted_in.spans()
    assert len({span["traceId"] for span in spans}) == 1
    (root,) = [span for span in spans if "parentSpanId" not in span]
    children = [span for span in spans if span.get("parentSpanId") == root["spanId"]]
    assert [span["name"] for span in children] == ["agent.run"] * 3
    features = [span for span in spans if span["name"] == "feature.used"]
    assert Counter(span["parentSpanId"] for span in features) == dict.fromkeys((c["spanId"] for c in children), 1)


@pytest.mark.fault(52)
def test_hundreds_of_runs_at_once_never_mix(opted_in: Any, fields: Any) -> None:
    """Interleaved over tasks, threads and executors, each event carries its own run's trace."""

    async def work(number: int) -> None:
        telemetry = get_tracing_manager().telemetry
        assert telemetry is not None
        for _ in range(3):
            await asyncio.sleep(0)
            await asyncio.to_thread(telemetry.track_feature_usage, f"feature-{number}")

    @track_agent("agent")
    async def run(number: int) -> None:
        with structlog.contextvars.bound_contextvars(token_count=number):
            await work(number)

    async def crowd(first: int) -> None:
        await asyncio.gather(*(run(number) for number in range(first, first + 100)))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda first: asyncio.run(crowd(first)), (0, 100, 200)))
    assert get_tracing_manager().flush(20)
    traces: dict[str, set[str]] = {}
    for span in opted_in.spans():
        if span["name"] == "feature.used":
            traces.setdefault(span["traceId"], set()).add(fields(span)["event.feature_name"])
    assert len(traces) == 300
    assert all(len(names) == 1 for names in traces.values())
    assert len(set.union(*traces.values())) == 300


class Base(TrackedAgent):
    """An agent whose run is overridden below."""

    name = "simple"
    framework = "agno"

    async def run(self) -> str:
        """Answer."""
        return "base"


class Overriding(Base, agent_name="overriding"):
    """An agent that calls the run of its base."""

    async def run(self) -> str:
        """Answer with the base's answer."""
        return await super().run() + " and more"


class OnClass(TrackedAgent, agent_name="on class", framework="agno"):
    """An agent whose run is a class method."""

    @classmethod
    def run(cls, number: int) -> int:
        """Answer."""
        return number + 1


class OnNothing(TrackedAgent, agent_name="on nothing"):
    """An agent whose run is a static method."""

    @staticmethod
    def run(number: int) -> int:
        """Answer."""
        return number + 2


def test_base_class(opted_in: Any, fields: Any) -> None:
    """Runs that override each other are one run; class and static methods work; names come from the defining class."""
    assert asyncio.run(Base().run()) == "base"
    assert asyncio.run(Overriding().run()) == "base and more"
    assert OnClass.run(1) == OnClass().run(1) == 2
    assert OnNothing.run(1) == 3
    named = [(run["event.agent_name"], run["event.framework"]) for run in runs(opted_in, fields)]
    assert named[:4] == [("simple", "agno"), ("overriding", "agno"), ("on class", "agno"), ("on class", "agno")]
    assert len(named) == 5


def test_another_agent_inside_is_a_run(opted_in: Any, fields: Any) -> None:
    """Two agents of one class that call each other are two runs."""

    class Agent(TrackedAgent, agent_name="simple"):
        async def run(self, other: Agent | None = None) -> None:
            if other:
                await other.run()

    asyncio.run(Agent().run(Agent()))
    assert len(runs(opted_in, fields)) == 2


def test_name_that_nobody_declared(opted_in: Any, fields: Any) -> None:
    """An agent's name that exists only at run time is sent as a hash; one in code is sent as it is."""

    class Agent:
        def __init__(self, name: str) -> None:
            self.name = name

        @track_agent()
        def run(self) -> None:
            """Do nothing."""

    Agent("secret project").run()
    (sent,) = runs(opted_in, fields)
    assert sent["event.agent_name"].startswith("custom-")
    assert "secret" not in str(opted_in.requests)


def test_off_changes_nothing() -> None:
    """With telemetry off the agent works as before."""
    assert asyncio.run(Overriding().run()) == "base and more"
    with AgentRun("simple", "agno") as run:
        run.event.token_count = 5


@pytest.mark.parametrize("wrong", [None, "run", 5, int])
def test_wrong_use_is_said_when_decorating(wrong: Any) -> None:
    """An object that is not a function is refused at once, with a description of it."""
    with pytest.raises(TypeError, match="track_agent decorates"):
        track_agent()(wrong)
    with pytest.raises(TypeError, match="track_agent decorates"):
        type("Agent", (TrackedAgent,), {"run": wrong if wrong is not None else 7})
    with pytest.raises(TypeError, match="declared"):
        track_agent(5)  # type: ignore[arg-type]


def test_a_decorator_without_parentheses_is_said_when_decorating() -> None:
    """`@track_agent` above a function is an error with the correct form."""
    with pytest.raises(TypeError) as caught:

        @track_agent  # type: ignore[arg-type]
        def run() -> None: ...

    assert str(caught.value) == (
        "track_agent needs parentheses: write @track_agent() or @track_agent('name') above "
        "the function test_a_decorator_without_parentheses_is_said_when_decorating.<locals>.run"
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [(int, "the class int"), ("run", "an instance of str"), (object(), "an instance of object")],
)
def test_an_article_fits_what_it_stands_before(wrong: Any, words: str) -> None:
    """An error describes the given object with the right article."""
    with pytest.raises(TypeError, match=f"this is {words}$"):
        track_agent()(wrong)
