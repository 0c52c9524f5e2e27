"""agno: a run becomes a trace of its messages, requests, tools, tokens and cost, if enabled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from agno.agent import Agent
from agno.exceptions import ModelProviderError
from agno.media import Image
from agno.metrics import MessageMetrics
from opentelemetry.sdk.trace import TracerProvider

from automagik_telemetry import get_tracing_manager
from automagik_telemetry.integrations.agent import track_agent
from automagik_telemetry.integrations.agno import instrument
from automagik_telemetry.tracing.spans import OpenSpan, current_span
from tests.automagik_telemetry.integrations.agno.agno_agents import WAYS, Offline, look, make, outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from agno.models.response import ModelResponse

    from tests.automagik_telemetry.integrations.conftest import Traced


@pytest.mark.parametrize("way", WAYS)
def test_run_becomes_a_trace(traced: Callable[[], list[Traced]], way: str) -> None:
    """Every way to start gives the agent's span, one for each request, and one for the tool, with their content."""
    assert WAYS[way](instrument(make(description="be short"))) == WAYS[way](make(description="be short"))
    agent, first, tool, second = traced()
    final = "done indeed" if " " in way else "done"
    assert (agent.name, agent.type, agent.input, agent.output) == ("simple", "agent", "secret", final)
    assert agent.said["langwatch.thread.id"]
    assert (tool.name, tool.type, tool.input, tool.output) == ("look", "tool", {}, "secret")
    assert {span.parent for span in (first, tool, second)} == {agent.id}
    assert len({span.raw["traceId"] for span in (agent, first, tool, second)}) == 1
    for request in (first, second):
        assert (request.name, request.type, request.said["gen_ai.request.model"]) == ("offline", "llm", "offline")
        assert request.said["langwatch.metrics"].items() >= {"prompt_tokens": 3, "completion_tokens": 2}.items()
    call = {"id": "0", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    assert [message["role"] for message in first.input] == ["system", "user"]
    assert first.output == [{"role": "assistant", "content": None, "tool_calls": [call]}]
    assert second.said["automagik.messages_before"] == 2
    assert second.input[0] == {"role": "assistant", "content": None, "tool_calls": [call]}
    assert second.input[1] == {"role": "tool", "content": "secret", "tool_call_id": "0", "name": "look"}
    assert second.output == [{"role": "assistant", "content": final}]
    if " " in way:
        times = second.said["langwatch.timestamps"]
        assert times["started_at"] <= times["first_token_at"] <= times["finished_at"]


def test_who_and_where(traced: Callable[[], list[Traced]]) -> None:
    """The run's session and user are the trace's."""
    instrument(make()).run("hello", session_id="a session", user_id="a user")
    agent = traced()[0]
    assert (agent.said["langwatch.thread.id"], agent.said["langwatch.user.id"]) == ("a session", "a user")


@pytest.mark.parametrize("way", ["run", "arun"])
def test_failing_tool(traced: Callable[[], list[Traced]], way: str) -> None:
    """A tool's exception is in its span; the run continues, and its own span did not fail."""

    def fail() -> None:
        """Fail."""
        raise KeyError("no such key")

    WAYS[way](instrument(make(fail)))
    agent, _, tool, _ = traced()
    assert (tool.raw["status"]["code"], agent.raw["status"]["code"]) == (2, 1)
    assert "no such key" in tool.raw["status"]["message"]


@pytest.mark.parametrize("way", WAYS)
def test_failing_model(traced: Callable[[], list[Traced]], way: str) -> None:
    """An exception of the model is in its request with its class, and the run has failed."""
    WAYS[way](instrument(make(failure=ValueError("no such model"))))
    agent, *others = traced()
    assert agent.raw["status"]["code"] == 2
    failed = [span for span in others if span.raw["status"]["code"] == 2]
    assert [(span.type, span.said["error.type"]) for span in failed] == [("llm", "ValueError")]


def test_retries(traced: Callable[[], list[Traced]]) -> None:
    """Each try of a request is a separate span."""

    class Once(Offline):
        tried = False

        def _answer(self, messages: list[Any], tools: list[Any] | None) -> ModelResponse:
            if not self.tried:
                self.tried = True
                raise ModelProviderError("busy", status_code=503)
            return super()._answer(messages, tools)

    model = Once(retries=1, delay_between_retries=0)
    instrument(Agent(model=model, name="simple", telemetry=False)).run("hello")
    assert [(span.type, span.raw["status"]["code"]) for span in traced()] == [("agent", 1), ("llm", 2), ("llm", 1)]


def test_images_by_reference(traced: Callable[[], list[Traced]]) -> None:
    """An image is sent by its address or its size, and never itself."""
    images = [Image(url="https://example.com/cat.png"), Image(content=b"hidden bytes", mime_type="image/png")]
    instrument(make()).run("what is this", images=images)
    agent, first, *_ = traced()
    pieces = [
        {"type": "text", "text": "what is this"},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        {"type": "text", "text": "[image/png: 12 bytes]"},
    ]
    assert agent.input == [{"role": "user", "content": pieces}]
    assert first.input[-1] == agent.input[0]
    assert "hidden" not in str([span.raw for span in traced()])


@pytest.mark.parametrize(("told", "cost", "estimated"), [(None, 2.5001, True), (0.5, 0.5, False)])
def test_cost(traced: Callable[[], list[Traced]], told: Any, cost: float, estimated: bool) -> None:
    """A cost that the model reports is sent as it is; otherwise it is estimated from the price list, and marked."""

    class Priced(Offline):
        def _answer(self, messages: list[Any], tools: list[Any] | None) -> ModelResponse:
            response = super()._answer(messages, tools)
            metrics = MessageMetrics(input_tokens=1_000_000, output_tokens=10, total_tokens=1_000_010, cost=told)
            response.response_usage = metrics
            return response

    model = Priced(id="gpt-4o", provider="OpenAI")
    instrument(Agent(model=model, name="simple", telemetry=False)).run("hello")
    (request,) = [span for span in traced() if span.type == "llm"]
    assert request.said["langwatch.metrics"]["cost"] == pytest.approx(cost)
    assert request.said.get("automagik.cost_estimated", False) == estimated


@pytest.mark.parametrize("way", WAYS)
def test_nested_agents_are_one_trace(traced: Callable[[], list[Traced]], way: str) -> None:
    """An agent in another's tool is a span of the tool, in the same trace, and each holds its own requests."""
    inner = instrument(make())

    def ask() -> str:
        """Ask another agent."""
        return str(inner.run("x").content)

    WAYS[way](instrument(make(ask, name="genie")))
    spans = traced()
    assert len({span.raw["traceId"] for span in spans}) == 1
    (genie,) = [span for span in spans if span.name == "genie"]
    (tool,) = [span for span in spans if span.name == "ask"]
    (agent,) = [span for span in spans if span.name == "simple"]
    assert (genie.parent, tool.parent, agent.parent) == (None, genie.id, tool.id)
    assert sorted(span.type for span in spans if span.parent == genie.id) == ["llm", "llm", "tool"]
    assert sorted(span.type for span in spans if span.parent == agent.id) == ["llm", "llm", "tool"]


def test_model_shared_with_an_agent_that_nobody_tracks(traced: Callable[[], list[Traced]]) -> None:
    """A model that another agent uses too works as before there, and looks the same everywhere."""
    model = Offline()
    instrument(Agent(model=model, name="simple", telemetry=False)).run("hello")
    twin = Offline()
    assert (repr(type(model)), repr(model), model.to_dict()) == (repr(Offline), repr(twin), twin.to_dict())
    other = Agent(model=model, name="stan", telemetry=False)
    assert outcome(other.run("hello")) == outcome(Agent(model=twin, name="stan", telemetry=False).run("hello"))
    assert [span.name for span in traced()] == ["simple", "offline"]


def test_joins_the_hosts_trace(traced: Callable[[], list[Traced]]) -> None:
    """A run is a child of the application's OpenTelemetry span."""
    with TracerProvider().get_tracer("host").start_as_current_span("request") as span:
        instrument(make()).run("hello")
    context = span.get_span_context()
    assert {one.raw["traceId"] for one in traced()} == {f"{context.trace_id:032x}"}
    assert traced()[0].parent == f"{context.span_id:016x}"


def test_runs_at_once_never_mix(traced: Callable[[], list[Traced]]) -> None:
    """Interleaved runs each have their own trace, with their own question, requests and tool."""
    agent = instrument(make())

    async def crowd() -> None:
        await asyncio.gather(*(agent.arun(f"question {n}", session_id=f"session {n}") for n in range(20)))

    asyncio.run(crowd())
    traces: dict[str, list[Traced]] = {}
    for span in traced():
        traces.setdefault(span.raw["traceId"], []).append(span)
    assert len(traces) == 20
    for root, first, tool, second in traces.values():
        number = root.input.removeprefix("question ")
        assert root.said["langwatch.thread.id"] == f"session {number}"
        assert first.input[-1]["content"] == root.input
        assert (tool.type, second.input[-1]["role"]) == ("tool", "tool")


def test_only_telemetry_touches_no_content(opted_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without observability the messages are not even read."""
    for name in ("request", "answer", "prompt"):
        monkeypatch.setattr(f"automagik_telemetry.integrations.agno._messages.{name}", pytest.fail)
    monkeypatch.setattr("automagik_telemetry.integrations.agno._agent.prompt", pytest.fail)
    monkeypatch.setattr("automagik_telemetry.integrations._agent_run.open_span", pytest.fail)
    assert instrument(make(look)).run("hello").content == "done"


def test_content_goes_nowhere_else(opted_in: Any, traced: Callable[[], list[Traced]]) -> None:
    """With both on, the messages are in the trace, and the telemetry is the same as without traces."""
    instrument(make()).run("secret question")
    assert traced()[0].input == "secret question"
    others = [body for path, _, body in opted_in.requests if path != "/api/otel/v1/traces"]
    assert "agent.run" in str(others)
    assert "secret" not in str(others)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_reader_that_stops_reading(traced: Callable[[], list[Traced]], asynchronous: bool) -> None:
    """A stream that is no longer read has not failed, and the run has the text up to then."""
    agent = instrument(Agent(name="simple", model=Offline()))

    async def read() -> None:
        stream: Any = agent.arun("hello", stream=True)
        async for _ in stream:
            break
        await stream.aclose()

    if asynchronous:
        asyncio.run(read())
    else:
        stream: Any = agent.run("hello", stream=True)
        next(stream)
        stream.close()
    span = traced()[0]
    assert (span.raw["status"], span.output) == ({"code": 1}, "done")


@pytest.mark.fault(110)
@pytest.mark.parametrize(
    ("way", "asynchronous"),
    [(way, False) for way in ("run", "arun", "run stream", "arun stream")] + [("arun", True), ("arun stream", True)],
)
def test_tools_that_are_generators(traced: Callable[[], list[Traced]], way: str, asynchronous: bool) -> None:
    """The span of a generator tool lasts until it is read: it holds the runs inside, the text, and its failure."""

    @track_agent("genie")
    def inner() -> str:
        return "ready"

    def steps() -> Any:
        """Answer in parts."""
        yield "one "
        yield inner()
        raise ValueError("no more")

    async def asteps() -> Any:
        """Answer in parts, asynchronously."""
        for step in steps():
            await asyncio.sleep(0)
            yield step

    WAYS[way](instrument(make(asteps if asynchronous else steps)))
    spans = traced()
    (tool,) = [span for span in spans if span.type == "tool"]
    (genie,) = [span for span in spans if span.name == "genie"]
    assert (genie.parent, tool.raw["status"]["message"]) == (tool.id, "no more")
    assert tool.output in ("one ready", "no more")
    assert tool.raw["endTimeUnixNano"] >= genie.raw["endTimeUnixNano"]


@pytest.mark.fault(120)
@pytest.mark.parametrize("way", WAYS)
def test_a_request_is_complete_at_its_end(traced: Callable[[], list[Traced]], way: str) -> None:
    """A request that has ended has its tokens and output, which the next process sends if this one dies in a tool."""
    seen: list[tuple[Any, Any, Any]] = []

    def see() -> str:
        span = current_span()
        spans = [one for one in span.trace.spans if isinstance(one, OpenSpan)] if span is not None else []
        seen.extend((one.ended is not None, one.usage, one.output) for one in spans if one.type == "llm")
        return "seen"

    WAYS[way](instrument(make(see)))
    ((ended, usage, output),) = seen
    assert (ended, usage["input_tokens"], usage["output_tokens"]) == (True, 3, 2)
    assert output[0]["role"] == "assistant"
    request = next(span for span in traced() if span.type == "llm")
    assert request.output[0]["tool_calls"][0]["function"]["name"] == "see"


def test_tokens_of_a_stream_that_is_left(opted_in: Any, fields: Any, to_langwatch: Any) -> None:
    """A run whose reader stops has the tokens of its requests so far, in the event too."""
    stream: Any = instrument(make()).run("hello", stream=True)
    for event in stream:
        if event.event == "RunContent":
            break
    stream.close()
    assert get_tracing_manager().flush(10)
    (run,) = [fields(span) for span in opted_in.spans() if span["name"] == "agent.run"]
    assert (run["event.success"], run["event.input_tokens"], run["event.output_tokens"]) == (True, 6, 4)
    assert run["event.token_count"] == 10
