"""pydantic-ai: a run becomes a trace of its messages, requests, tools, tokens and cost, if enabled."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, ImageUrl, ModelRetry, RunContext
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.messages import ModelResponse, TextPart, ThinkingPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.test import TestModel
from pydantic_ai.usage import RequestUsage

from automagik_telemetry.integrations.pydantic_ai import instrument
from tests.automagik_telemetry.integrations.pydantic_ai.pydantic_ai_agents import WAYS, adding, run_sync

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.automagik_telemetry.integrations.conftest import Traced


@pytest.mark.parametrize("way", WAYS)
def test_run_becomes_a_trace(traced: Callable[[], list[Traced]], way: str) -> None:
    """Every way to start gives the agent's span, one for each request, and one for the tool, with their content."""
    assert WAYS[way](instrument(adding(instructions="be short"))) == WAYS[way](adding(instructions="be short"))
    agent, first, tool, second = traced()
    assert (agent.name, agent.type, agent.input, agent.output) == ("simple", "agent", "secret", "done")
    assert agent.said["langwatch.thread.id"]
    assert (tool.name, tool.type, tool.input, tool.output) == ("add", "tool", {"number": 0}, 1)
    assert {span.parent for span in (first, tool, second)} == {agent.id}
    assert len({span.raw["traceId"] for span in (agent, first, tool, second)}) == 1
    for request in (first, second):
        assert (request.name, request.type, request.said["gen_ai.request.model"]) == ("test", "llm", "test")
        assert request.said["gen_ai.system"] == "test"
        assert request.said["langwatch.metrics"]["prompt_tokens"] > 0
    asked = [{"role": "system", "content": "be short"}, {"role": "user", "content": "secret"}]
    (call,) = first.output[0].pop("tool_calls")
    assert (first.input, first.output) == (asked, [{"role": "assistant", "content": None}])
    assert call["function"] == {"name": "add", "arguments": '{"number":0}'}
    assert call["id"] == tool.said["gen_ai.tool.call.id"]
    called = {"role": "assistant", "content": None, "tool_calls": [call]}
    returned = {"role": "tool", "content": "1", "tool_call_id": call["id"], "name": "add"}
    assert (second.input, second.said["automagik.messages_before"]) == ([called, returned], 2)
    assert second.output == [{"role": "assistant", "content": "done"}]


def test_who_and_where(traced: Callable[[], list[Traced]]) -> None:
    """The run's metadata has its conversation and user."""
    run_sync(instrument(adding()), "hello", metadata={"session_id": "a session", "user_id": "a user"})
    agent = traced()[0]
    assert agent.said["langwatch.thread.id"] == "a session"
    assert agent.said["langwatch.user.id"] == "a user"


def test_first_token_of_a_stream(traced: Callable[[], list[Traced]]) -> None:
    """A streamed answer is sent with the time of its first part, and its whole text."""

    async def answer(messages: Any, _info: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
        if len(messages) == 1:
            yield {0: DeltaToolCall(name="add", json_args='{"number"')}
            yield {0: DeltaToolCall(json_args=": 1}")}
        else:
            yield "one "
            await asyncio.sleep(0)
            yield "two"

    WAYS["run_stream"](instrument(adding(FunctionModel(stream_function=answer))))
    agent, *_, last = traced()
    assert (agent.output, last.output[0]["content"]) == ("one two", "one two")
    times = last.said["langwatch.timestamps"]
    assert times["started_at"] <= times["first_token_at"] <= times["finished_at"]
    assert last.said["langwatch.metrics"]["first_token_ms"] >= 0


@pytest.mark.parametrize("how", ["leaves", "is cancelled"])
def test_reader_that_stops_reading(traced: Callable[[], list[Traced]], how: str) -> None:
    """A stream that is no longer read has not failed, and the run has the text and tokens up to then."""

    async def answer(_messages: Any, _info: AgentInfo) -> AsyncIterator[str]:
        for word in ("one ", "two "):
            yield word
        if how == "is cancelled":
            reading.set()
            await asyncio.Event().wait()
        yield "three"

    async def read() -> None:
        async with instrument(Agent(FunctionModel(stream_function=answer), name="simple")).run_stream("hello") as run:
            async for _ in run.stream_text(delta=True, debounce_by=None):
                if how == "leaves":
                    break

    async def main() -> None:
        task = asyncio.create_task(read())
        if how == "is cancelled":
            await reading.wait()
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    reading = asyncio.Event()
    asyncio.run(main())
    agent, request = traced()
    assert (agent.raw["status"], request.raw["status"]) == ({"code": 1}, {"code": 1})
    assert agent.output == ("one " if how == "leaves" else "one two ")
    assert request.said["langwatch.metrics"]["completion_tokens"] > 0


def test_errors_and_retries(traced: Callable[[], list[Traced]]) -> None:
    """A tool that asks for a retry is a failed span and the next its repetition; the run's exception marks it."""
    agent = Agent(TestModel(), name="simple", retries=1)

    @agent.tool_plain
    def stubborn() -> None:
        raise ModelRetry("not so")

    with pytest.raises(Exception, match="stubborn"):
        run_sync(instrument(agent), "hello")
    root, *others = traced()
    tools = [span for span in others if span.type == "tool"]
    assert [tool.raw["status"]["code"] for tool in tools] == [2, 2]
    assert tools[0].said["error.type"] in ("ModelRetry", "ToolRetryError")
    assert root.raw["status"]["code"] == 2
    assert root.said["error.type"] == "UnexpectedModelBehavior"
    (event,) = root.raw["events"]
    assert "stubborn" in str(event)
    assert "not so" in str([span.input for span in others])


def test_failing_model(traced: Callable[[], list[Traced]]) -> None:
    """An exception of the model is in its request and in the run."""

    def fail(_messages: Any, _info: AgentInfo) -> ModelResponse:
        raise ValueError("no such model")

    with pytest.raises(ValueError, match="no such model"):
        run_sync(instrument(adding(FunctionModel(fail))), "hello")
    agent, request = traced()
    assert [span.raw["status"] for span in (agent, request)] == [{"code": 2, "message": "no such model"}] * 2
    assert "in fail" in str(request.raw["events"])


class Answer(BaseModel):
    """A structured output."""

    text: str
    number: int


def test_kinds_of_content(traced: Callable[[], list[Traced]]) -> None:
    """Images are sent by reference, bytes never; thoughts, structured outputs and files of tools have own types."""

    def answer(messages: Any, info: AgentInfo) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse([ThinkingPart("hmm"), TextPart("so"), ToolCallPart("draw", {"of": "a cat"}, "1")])
        return ModelResponse([ToolCallPart(info.output_tools[0].name, {"text": "x", "number": 5}, "2")])

    agent = Agent(FunctionModel(answer), name="simple", output_type=Answer, system_prompt="draw")

    @agent.tool_plain
    def draw(of: str) -> list[Any]:
        return [of, BinaryContent(b"hidden bytes", media_type="image/png")]

    link = ImageUrl("https://example.com/cat.png")
    inline = ImageUrl("data:image/png;base64," + "hidden" * 9)
    picture = BinaryContent(b"hidden bytes", media_type="image/jpeg")
    run_sync(instrument(agent), ["what is", link, inline, picture])
    root, first, tool, second = traced()
    pieces = [
        {"type": "text", "text": "what is"},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        {"type": "text", "text": f"[data:image/png: {len(inline.url)} characters]"},
        {"type": "text", "text": "[image/jpeg: 12 bytes]"},
    ]
    assert root.input == [{"role": "user", "content": pieces}]
    assert root.output == {"text": "x", "number": 5}
    assert first.input == [{"role": "system", "content": "draw"}, *root.input]
    assert (first.output[0]["content"], first.output[0]["reasoning_content"]) == ("so", "hmm")
    assert json.loads(first.output[0]["tool_calls"][0]["function"]["arguments"]) == {"of": "a cat"}
    assert tool.input == {"of": "a cat"}
    assert "a cat" in str(second.input[-1]["content"])
    assert "hidden" not in str([span.raw for span in traced()])


def test_cost(traced: Callable[[], list[Traced]]) -> None:
    """A cost that the framework reports is sent as it is; an estimate from its price list is marked."""

    def answer(messages: Any, _info: AgentInfo) -> ModelResponse:
        cost = Decimal(5) if "told" in str(messages) else None
        usage = RequestUsage(input_tokens=1_000_000, output_tokens=10, cost=cost)
        return ModelResponse([TextPart("so")], usage=usage, provider_name="openai")

    for asked in ("estimated", "told"):
        run_sync(instrument(Agent(FunctionModel(answer, model_name="gpt-4o"), name="simple")), asked)
    estimated, given = (span for span in traced() if span.type == "llm")
    assert 1 < estimated.said["langwatch.metrics"]["cost"] < 10
    assert estimated.said["automagik.cost_estimated"] is True
    assert given.said["langwatch.metrics"]["cost"] == 5
    assert "automagik.cost_estimated" not in given.said


def test_nested_agents_are_one_trace(traced: Callable[[], list[Traced]]) -> None:
    """An agent in another's tool is a span of the tool, in the same trace, and each holds its own requests."""
    inner = instrument(adding())
    outer = Agent(TestModel(), name="genie")

    @outer.tool
    async def ask(ctx: RunContext[object]) -> str:
        first, second = await asyncio.gather(inner.run("x"), inner.run("y"))
        del ctx
        return first.output + second.output

    run_sync(instrument(outer), "hello")
    spans = traced()
    assert len({span.raw["traceId"] for span in spans}) == 1
    genie, *others = spans
    (tool,) = [span for span in others if span.name == "ask"]
    agents = [span for span in others if span.type == "agent"]
    assert (genie.name, {span.parent for span in agents}, tool.parent) == ("genie", {tool.id}, genie.id)
    for agent in agents:
        assert sorted(span.type for span in spans if span.parent == agent.id) == ["llm", "llm", "tool"]


def test_beside_the_frameworks_own_instrumentation(traced: Callable[[], list[Traced]]) -> None:
    """Our spans join the trace of pydantic-ai's own OpenTelemetry spans, as children of the application's, once."""
    provider = TracerProvider()
    agent = adding(capabilities=[Instrumentation(InstrumentationSettings(tracer_provider=provider))])
    with provider.get_tracer("host").start_as_current_span("request") as host:
        run_sync(instrument(agent), "hello")
    spans = traced()
    assert [span.type for span in spans] == ["agent", "llm", "tool", "llm"]
    assert {span.raw["traceId"] for span in spans} == {f"{host.get_span_context().trace_id:032x}"}
    assert spans[0].parent is not None


def test_only_telemetry_touches_no_content(opted_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without observability the messages are not even read."""
    monkeypatch.setattr("automagik_telemetry.integrations.pydantic_ai._agent.request", pytest.fail)
    monkeypatch.setattr("automagik_telemetry.integrations.pydantic_ai._agent.chat", pytest.fail)
    monkeypatch.setattr("automagik_telemetry.integrations.pydantic_ai._agent.prompt", pytest.fail)
    monkeypatch.setattr("automagik_telemetry.integrations._agent_run.open_span", pytest.fail)
    assert run_sync(instrument(adding()), "hello").output == "done"


def test_only_traces(traced: Callable[[], list[Traced]], to_langwatch: Any) -> None:
    """With telemetry off the trace still arrives, and nothing else."""
    run_sync(instrument(adding()), "hello")
    assert len(traced()) == 4
    assert {path for path, _, _ in to_langwatch.requests} == {"/api/otel/v1/traces"}


def test_content_goes_nowhere_else(opted_in: Any, traced: Callable[[], list[Traced]], fields: Any) -> None:
    """With both on, the messages are in the same trace, and the telemetry is the same as without traces."""
    run_sync(instrument(adding()), "secret question")
    root = traced()[0]
    assert root.input == "secret question"
    others = [body for path, _, body in opted_in.requests if path != "/api/otel/v1/traces"]
    assert "secret" not in str(others)
    runs = [span for span in opted_in.spans() if span["name"] == "agent.run"]
    assert [fields(run)["event.request_count"] for run in runs] == [2]
