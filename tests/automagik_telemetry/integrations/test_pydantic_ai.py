"""pydantic-ai: real agents, offline, are tracked, and are otherwise as if nobody looked on."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic_ai import Agent, ApprovalRequired, BinaryContent, DeferredToolRequests, ModelRetry, RunContext
from pydantic_ai.agent import WrapperAgent
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.test import TestModel

from automagik_telemetry import get_tracing_manager, host
from automagik_telemetry.integrations.pydantic_ai import instrument, uninstrument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(autouse=True)
def to_the_last_detail(opted_in: Any) -> None:
    """Let events of level DEBUG leave too."""
    get_tracing_manager()
    host.sinks()["telemetry"].setLevel(logging.DEBUG)
    logging.getLogger(host.LOGGER).setLevel(logging.DEBUG)


def sent(receiver: Any) -> list[dict[str, Any]]:
    """Flush, and return every span that arrived."""
    assert get_tracing_manager().flush(10)
    spans: list[dict[str, Any]] = receiver.spans()
    return spans


def named(receiver: Any, fields: Any, name: str) -> list[dict[str, Any]]:
    """Return the fields of every event of that name that arrived."""
    return [fields(span) for span in sent(receiver) if span["name"] == name]


def adding(model: Any = None, **options: Any) -> Agent[None, str]:
    """Return an agent that uses a tool, and answers."""
    agent = Agent(model or TestModel(custom_output_text="done"), name="simple", **options)

    @agent.tool_plain
    def add(number: int) -> int:
        if telemetry := get_tracing_manager().telemetry:
            telemetry.track_feature_usage("tools")
        return number + 1

    return agent


def run_sync(agent: Any, *args: Any, **kwargs: Any) -> Any:
    """Run in an event loop that is closed afterwards: the framework leaves open the one that it makes."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        return agent.run_sync(*args, **kwargs)
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def run(agent: Agent[None, str]) -> tuple[object, int]:
    """Return the output, and the tokens."""
    result = await agent.run("secret")
    return result.output, result.usage.total_tokens


async def stream(agent: Agent[None, str]) -> tuple[object, int]:
    """Run with `run_stream`; return every state of the text, and the tokens."""
    async with agent.run_stream("secret") as result:
        return [text async for text in result.stream_text(debounce_by=None)], result.usage.total_tokens


async def events(agent: Agent[None, str]) -> tuple[object, int]:
    """Run with `run_stream_events`; return the kinds of the events, and the tokens."""
    async with agent.run_stream_events("secret") as stream:
        told: list[Any] = [event async for event in stream]
    return [event.event_kind for event in told], told[-1].result.usage.total_tokens


async def iterate(agent: Agent[None, str]) -> tuple[object, int]:
    """Run with `iter`; return the kinds of the nodes, and the tokens."""
    async with agent.iter("secret") as run:
        return [type(node).__name__ async for node in run], run.usage.total_tokens


def in_sync(agent: Agent[None, str]) -> tuple[object, int]:
    """Return the output of `run_sync`, and the tokens."""
    result = run_sync(agent, "secret")
    return result.output, result.usage.total_tokens


WAYS: dict[str, Any] = {
    "run_sync": in_sync,
    "run": lambda agent: asyncio.run(run(agent)),
    "run_stream": lambda agent: asyncio.run(stream(agent)),
    "run_stream_events": lambda agent: asyncio.run(events(agent)),
    "iter": lambda agent: asyncio.run(iterate(agent)),
}


@pytest.mark.parametrize("way", WAYS)
def test_success(opted_in: Any, fields: Any, way: str) -> None:
    """However it is started, the result is the twin's, and the run is one event, with a tool in it."""
    _, tokens = expected = WAYS[way](adding())
    assert WAYS[way](instrument(adding())) == expected
    (run,) = named(opted_in, fields, "agent.run")
    assert run["event.agent_name"] == "simple"
    assert run["event.framework"] == "pydantic_ai"
    assert run["event.success"] is True
    assert run["event.has_multimodal"] is False
    assert run["event.duration_ms"] > 0
    assert run["event.token_count"] == tokens
    (tool,) = named(opted_in, fields, "tool.executed")
    assert (tool["event.agent_name"], tool["event.success"]) == ("simple", True)
    assert tool["event.tool_name"].startswith("custom-")
    assert "secret" not in str(opted_in.requests)


@pytest.mark.parametrize("way", WAYS)
def test_failing_model(opted_in: Any, fields: Any, way: str) -> None:
    """The very exception of the model arrives, and is sent as its class and a failed run."""

    def fail(look: Any) -> type[BaseException | None]:
        failure = ValueError("secret")

        def answer(_messages: Any, _info: AgentInfo) -> ModelResponse:
            raise failure

        async def answer_in_parts(_messages: Any, _info: AgentInfo) -> AsyncIterator[str]:
            yield ""
            raise failure

        agent = look(adding(FunctionModel(answer, stream_function=answer_in_parts)))
        with pytest.raises(ValueError, match="secret") as caught:
            WAYS[way](agent)
        assert caught.value is failure
        return type(failure.__context__)

    assert fail(instrument) == fail(lambda agent: agent)
    (run,) = named(opted_in, fields, "agent.run")
    assert run["event.success"] is False
    (error,) = named(opted_in, fields, "agent.error")
    assert (error["event.error_type"], error["event.component"]) == ("ValueError", "agent.simple")
    assert "secret" not in str(opted_in.requests)


def test_failing_tool(opted_in: Any, fields: Any) -> None:
    """A tool's exception ends the run as without us; the tool, the error and the run are sent."""
    failure = KeyError("secret")
    agent = Agent(TestModel(), name="simple")

    @agent.tool_plain
    def fail() -> None:
        raise failure

    with pytest.raises(KeyError) as caught:
        run_sync(instrument(agent), "secret")
    assert caught.value is failure
    assert [tool["event.success"] for tool in named(opted_in, fields, "tool.executed")] == [False]
    assert [error["event.error_type"] for error in named(opted_in, fields, "agent.error")] == ["KeyError"]
    assert [run["event.success"] for run in named(opted_in, fields, "agent.run")] == [False]


@pytest.mark.parametrize("tries", [2, 9])
def test_retries(opted_in: Any, fields: Any, tries: int) -> None:
    """Each time that a tool asks to be called again is a failed execution; too many are a failed run, as without us."""

    def make() -> Agent[None, str]:
        agent = Agent(TestModel(), name="simple", retries=3)
        calls: list[None] = []

        @agent.tool_plain
        def stubborn() -> str:
            calls.append(None)
            if len(calls) < tries:
                raise ModelRetry("secret")
            return "well"

        return agent

    def outcome(agent: Agent[None, str]) -> object:
        try:
            return run_sync(agent, "secret").output
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the twin's
            return type(error), str(error)

    assert outcome(instrument(make())) == outcome(make())
    executed = [tool["event.success"] for tool in named(opted_in, fields, "tool.executed")]
    (run,) = named(opted_in, fields, "agent.run")
    if tries == 2:
        assert (executed, run["event.success"]) == ([False, True], True)
    else:
        assert (executed, run["event.success"]) == ([False] * 4, False)
        assert len(named(opted_in, fields, "agent.error")) == 1


def test_tool_that_waits_for_approval(opted_in: Any, fields: Any) -> None:
    """A tool that was not executed is no execution, and the run that ends there is no failed one."""
    agent = Agent(TestModel(), name="simple", output_type=[str, DeferredToolRequests])

    @agent.tool_plain
    def delete() -> None:
        raise ApprovalRequired

    result = run_sync(instrument(agent), "secret")
    assert isinstance(result.output, DeferredToolRequests)
    assert named(opted_in, fields, "tool.executed") == []
    assert [run["event.success"] for run in named(opted_in, fields, "agent.run")] == [True]


def test_streaming_twin(opted_in: Any) -> None:
    """Parts of text, events and calls of the model come as the twin's do."""

    async def answer(messages: Any, _info: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
        if len(messages) == 1:
            yield {0: DeltaToolCall(name="add", json_args='{"number"')}
            yield {0: DeltaToolCall(json_args=": 1}")}
        else:
            for part in ("one ", "two ", "three"):
                yield part

    async def use(agent: Agent[None, str]) -> list[object]:
        seen: list[object] = [await stream(agent), await events(agent)]

        async def handle(_ctx: RunContext[None], told: Any) -> None:
            seen.extend([event.event_kind async for event in told])

        await agent.run("secret", event_stream_handler=handle)
        return seen

    model = FunctionModel(stream_function=answer)
    assert asyncio.run(use(instrument(adding(model)))) == asyncio.run(use(adding(model)))
    assert sum(span["name"] == "agent.run" for span in sent(opted_in)) == 3


def test_left_before_its_end(opted_in: Any, fields: Any) -> None:
    """A run that the caller leaves, or that is cancelled, is a failed one without an error of its own."""

    async def hang(_messages: Any, _info: AgentInfo) -> ModelResponse:
        return await asyncio.Event().wait()  # type: ignore[return-value]

    async def main() -> None:
        async with instrument(adding()).iter("secret") as run:
            async for _node in run:
                break
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await instrument(adding(FunctionModel(hang))).run("secret")

    asyncio.run(main())
    assert [run["event.success"] for run in named(opted_in, fields, "agent.run")] == [False, False]
    assert named(opted_in, fields, "agent.error") == []
    assert structlog.contextvars.get_contextvars() == {}


def test_multimodal(opted_in: Any, fields: Any) -> None:
    """Whether the input held more than text is sent, and the input is not."""
    picture = BinaryContent(b"secret", media_type="image/png")
    run_sync(instrument(adding()), ["secret", picture])
    run_sync(instrument(adding()), ["secret", "text"])
    runs = named(opted_in, fields, "agent.run")
    assert [run["event.has_multimodal"] for run in runs] == [True, False]
    assert "secret" not in str(opted_in.requests)


def test_nested_agents_are_one_trace(opted_in: Any, fields: Any) -> None:
    """An agent in another's tool is a child run; usage that both share is counted once."""
    inner = instrument(adding())
    outer = Agent(TestModel(), name="genie")

    @outer.tool
    async def ask(ctx: RunContext[object]) -> str:
        first, second = await asyncio.gather(inner.run("x", usage=ctx.usage), inner.run("y", usage=ctx.usage))
        return first.output + second.output

    result = run_sync(instrument(outer), "secret")
    spans = sent(opted_in)
    assert len({span["traceId"] for span in spans}) == 1
    runs = [span for span in spans if span["name"] == "agent.run"]
    (root,) = [span for span in runs if "parentSpanId" not in span]
    assert fields(root)["event.agent_name"] == "genie"
    children = [span for span in runs if span.get("parentSpanId") == root["spanId"]]
    assert [fields(span)["event.agent_name"] for span in children] == ["simple", "simple"]
    assert sum(fields(span)["event.token_count"] for span in runs) == result.usage.total_tokens
    tools = [span["parentSpanId"] for span in spans if span["name"] == "tool.executed"]
    assert sorted(tools) == sorted([root["spanId"], *(child["spanId"] for child in children)])


def test_runs_at_once_never_mix(opted_in: Any) -> None:
    """Of runs over tasks and threads, each has its own trace, with its own tool and its own event from inside it."""
    agent = instrument(adding())

    async def crowd() -> None:
        await asyncio.gather(*(agent.run("secret") for _ in range(25)))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: asyncio.run(crowd()), range(2)))
    traces: dict[str, list[str]] = {}
    for span in sent(opted_in):
        traces.setdefault(span["traceId"], []).append(span["name"])
    assert len(traces) == 50
    assert all(sorted(names) == ["agent.run", "feature.used", "tool.executed"] for names in traces.values())


def test_beside_the_frameworks_own_instrumentation(opted_in: Any) -> None:
    """A run joins the trace of the host's OpenTelemetry span, whose spans stay what they are, and is counted once."""

    def spans(look: Any) -> list[tuple[str, Any]]:
        exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        settings = InstrumentationSettings(tracer_provider=provider)
        seen: list[str] = []
        agent = Agent(TestModel(), name="simple", capabilities=[Instrumentation(settings)])

        @agent.tool_plain
        def look_around() -> None:
            seen.append(structlog.contextvars.get_contextvars().get("trace_id", ""))

        run_sync(look(agent), "secret")
        finished = exporter.get_finished_spans()
        ours.append((seen[0], {f"{span.context.trace_id:032x}" for span in finished if span.context}))
        return [(span.name, span.parent is None) for span in finished]

    ours: list[tuple[str, set[str]]] = []
    assert spans(instrument) == spans(lambda agent: agent)
    assert ours[0][1] == {ours[0][0]}
    assert sum(span["name"] == "agent.run" for span in sent(opted_in)) == 1


def test_instrumented_twice_is_instrumented_once(opted_in: Any, fields: Any) -> None:
    """The agent itself comes back, a second time changes nothing, and it can be undone."""
    agent = adding()
    assert instrument(instrument(agent)) is agent
    run_sync(agent, "secret")
    assert uninstrument(uninstrument(agent)) is agent
    assert run_sync(agent, "secret").output == "done"
    assert len(named(opted_in, fields, "agent.run")) == 1


def test_only_the_given_agent(opted_in: Any, fields: Any) -> None:
    """Other agents of the same class are not tracked; an agent that wraps another is."""
    instrument(adding())
    run_sync(adding(), "secret")
    assert named(opted_in, fields, "agent.run") == []
    wrapper = WrapperAgent(adding())
    assert instrument(wrapper) is wrapper
    run_sync(wrapper, "secret")
    assert len(named(opted_in, fields, "agent.run")) == 1


def test_names_that_nobody_declared(opted_in: Any, fields: Any) -> None:
    """An agent's and a tool's name leave as hashes; the framework's exceptions by their names."""
    agent = Agent(TestModel(), name="secret project", retries=0)

    @agent.tool_plain
    def secret_tool() -> None:
        raise ModelRetry("secret")

    with pytest.raises(Exception, match="secret_tool"):
        run_sync(instrument(agent), "secret")
    (error,) = named(opted_in, fields, "agent.error")
    assert not error["event.error_type"].startswith("custom-")
    assert "secret" not in str(opted_in.requests)


def test_off_changes_nothing(monkeypatch: pytest.MonkeyPatch, opted_in: Any) -> None:
    """With telemetry off nothing is bound and nothing is sent, and the agent works as before."""
    get_tracing_manager().hold_back("a test")
    agent = Agent(TestModel(), name="simple")
    bound: list[object] = []

    @agent.tool_plain
    def look() -> None:
        bound.append(structlog.contextvars.get_contextvars())

    run_sync(instrument(agent), "secret")
    assert bound == [{}]
    assert opted_in.requests == []


@pytest.mark.parametrize("wrong", [None, "agent", Agent, object()])
def test_wrong_use(wrong: Any) -> None:
    """What is no agent is refused at once, with what it is."""
    with pytest.raises(TypeError, match=r"instrument takes a pydantic_ai\.Agent; this is"):
        instrument(wrong)


def test_without_the_framework() -> None:
    """The package itself never imports the framework; the module says which extra it needs."""
    lines = (
        "import sys",
        "import automagik_telemetry, automagik_telemetry.integrations.agent",
        "assert 'pydantic_ai' not in sys.modules",
        "sys.modules['pydantic_ai'] = None",
        "import automagik_telemetry.integrations.pydantic_ai",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: ")
    assert "automagik-telemetry[pydantic-ai]" in done.stderr.splitlines()[-1]


def test_output_of_a_tool_call(opted_in: Any, fields: Any) -> None:
    """A structured output, which a model gives by a call too, is no tool."""

    def answer(_messages: Any, info: AgentInfo) -> ModelResponse:
        return ModelResponse([TextPart("so"), ToolCallPart(info.output_tools[0].name, {"response": 5})])

    agent = Agent(FunctionModel(answer), name="simple", output_type=int)
    assert run_sync(instrument(agent), "secret").output == 5
    assert named(opted_in, fields, "tool.executed") == []
    assert len(named(opted_in, fields, "agent.run")) == 1
