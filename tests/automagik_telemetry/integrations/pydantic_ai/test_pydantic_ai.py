"""pydantic-ai: the runs of real agents, offline, are tracked, and end as they do without us."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from pydantic_ai import Agent, ApprovalRequired, BinaryContent, DeferredToolRequests, ModelRetry, RunContext
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.models.test import TestModel

from automagik_telemetry.integrations.pydantic_ai import instrument
from tests.automagik_telemetry.integrations.arrived import named, sent
from tests.automagik_telemetry.integrations.pydantic_ai.pydantic_ai_agents import WAYS, adding, events, run_sync, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.usefixtures("to_the_last_detail")


@pytest.mark.parametrize("way", WAYS)
def test_success(opted_in: Any, fields: Any, way: str) -> None:
    """The result is the twin's in every way to start, and the run is one event, with a tool in it."""
    agent = instrument(adding())  # before the first event, which the tool tracks
    _, tokens = expected = WAYS[way](adding())
    assert WAYS[way](agent) == expected
    (run,) = named(opted_in, fields, "agent.run")
    assert run["event.agent_name"] == "simple"
    assert run["event.framework"] == "pydantic_ai"
    assert run["event.success"] is True
    assert run["event.has_multimodal"] is False
    assert run["event.duration_ms"] > 0
    assert run["event.token_count"] == tokens == run["event.input_tokens"] + run["event.output_tokens"]
    assert (run["event.request_count"], run["event.tool_count"], run["event.retry_count"]) == (2, 1, 0)
    assert run["event.model"].startswith("custom-")
    (tool,) = named(opted_in, fields, "tool.executed")
    assert (tool["event.agent_name"], tool["event.success"]) == ("simple", True)
    assert tool["event.tool_name"] == "add"
    assert "secret" not in str(opted_in.requests)


@pytest.mark.parametrize("way", WAYS)
def test_failing_model(opted_in: Any, fields: Any, way: str) -> None:
    """The model's own exception arrives, and is sent as its class and a failed run."""

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
    """Each retry requested by a tool is a failed execution; too many are a failed run, as without us."""

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
        except Exception as error:  # any exception, the same as the twin's
            return type(error), str(error)

    assert outcome(instrument(make())) == outcome(make())
    tools = named(opted_in, fields, "tool.executed")
    executed = [tool["event.success"] for tool in tools]
    assert [tool.get("event.retry_count", 0) for tool in tools] == list(range(len(tools)))
    (run,) = named(opted_in, fields, "agent.run")
    if tries == 2:
        assert (executed, run["event.success"], run["event.retry_count"]) == ([False, True], True, 1)
    else:
        assert (executed, run["event.success"]) == ([False] * 4, False)
        assert len(named(opted_in, fields, "agent.error")) == 1


def test_tool_that_waits_for_approval(opted_in: Any, fields: Any) -> None:
    """A deferred tool is not an execution, and the run that ends there did not fail."""
    agent = Agent(TestModel(), name="simple", output_type=[str, DeferredToolRequests])

    @agent.tool_plain
    def delete() -> None:
        raise ApprovalRequired

    result = run_sync(instrument(agent), "secret")
    assert isinstance(result.output, DeferredToolRequests)
    assert named(opted_in, fields, "tool.executed") == []
    assert [run["event.success"] for run in named(opted_in, fields, "agent.run")] == [True]


def test_streaming_twin(opted_in: Any) -> None:
    """Parts of text, events and calls of the model are the twin's."""

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
    """The event records that the input held more than text, without the input."""
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


def test_output_of_a_tool_call(opted_in: Any, fields: Any) -> None:
    """A structured output, which a model also gives by a call, is not a tool."""

    def answer(_messages: Any, info: AgentInfo) -> ModelResponse:
        return ModelResponse([TextPart("so"), ToolCallPart(info.output_tools[0].name, {"response": 5})])

    agent = Agent(FunctionModel(answer), name="simple", output_type=int)
    assert run_sync(instrument(agent), "secret").output == 5
    assert named(opted_in, fields, "tool.executed") == []
    assert len(named(opted_in, fields, "agent.run")) == 1


@pytest.mark.parametrize("name", ["gpt-4o", "openai/gpt-4o", "openai/gpt-4o:batch"])
def test_public_models_are_told_by_name(opted_in: Any, fields: Any, name: str) -> None:
    """The name of a public model is sent as it is, without its provider."""

    def answer(_messages: Any, _info: AgentInfo) -> ModelResponse:
        return ModelResponse([TextPart("so")])

    run_sync(instrument(adding(FunctionModel(answer, model_name=name))), "secret")
    assert [run["event.model"] for run in named(opted_in, fields, "agent.run")] == ["gpt-4o"]
