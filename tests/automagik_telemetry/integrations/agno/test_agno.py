"""agno: the runs of real agents, offline, are tracked, and end as they do without us."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from agno.agent import Agent
from agno.exceptions import InputCheckError, ModelProviderError
from agno.media import Image
from agno.tools import tool

from automagik_telemetry.integrations.agno import instrument
from tests.automagik_telemetry.integrations.agno.agno_agents import WAYS, Offline, look, make, outcome
from tests.automagik_telemetry.integrations.arrived import named, sent

if TYPE_CHECKING:
    from agno.models.response import ModelResponse

pytestmark = pytest.mark.usefixtures("to_the_last_detail")


@pytest.mark.parametrize("way", WAYS)
def test_success(opted_in: Any, fields: Any, way: str) -> None:
    """The result is the twin's in every way to start, and the run is one event, with a tool in it."""
    assert WAYS[way](instrument(make())) == WAYS[way](make())
    (run,) = named(opted_in, fields, "agent.run")
    assert run["event.agent_name"] == "simple"
    assert run["event.framework"] == "agno"
    assert run["event.success"] is True
    assert run["event.has_multimodal"] is False
    assert run["event.duration_ms"] > 0
    assert run["event.token_count"] == 10
    assert (run["event.input_tokens"], run["event.output_tokens"]) == (6, 4)
    assert (run["event.request_count"], run["event.tool_count"], run["event.retry_count"]) == (2, 1, 0)
    assert run["event.model"].startswith("custom-")
    (executed,) = named(opted_in, fields, "tool.executed")
    assert (executed["event.agent_name"], executed["event.success"]) == ("simple", True)
    assert executed["event.tool_name"] == "look"
    assert executed["event.duration_ms"] > 0
    assert "secret" not in str(opted_in.requests)


@pytest.mark.parametrize("way", WAYS)
def test_failing_tool(opted_in: Any, fields: Any, way: str) -> None:
    """The framework continues after a tool's exception; the tool failed, and the run did not."""

    def fail() -> None:
        """Fail."""
        raise KeyError("secret")

    assert WAYS[way](instrument(make(fail))) == WAYS[way](make(fail))
    assert [one["event.success"] for one in named(opted_in, fields, "tool.executed")] == [False]
    assert [run["event.success"] for run in named(opted_in, fields, "agent.run")] == [True]


@pytest.mark.parametrize("way", WAYS)
def test_failing_model(opted_in: Any, fields: Any, way: str) -> None:
    """A model's exception in agno is a failed run, and an error with the reported name, if any."""
    failure = ValueError("secret")
    assert WAYS[way](instrument(make(failure=failure))) == WAYS[way](make(failure=failure))
    (run,) = named(opted_in, fields, "agent.run")
    assert run["event.success"] is False
    (error,) = named(opted_in, fields, "agent.error")
    assert run["event.error_type"] == error["event.error_type"]
    assert error["event.error_type"] == ("AgentRunError" if way in ("run", "arun") else "ValueError")
    assert error["event.component"] == "agent.simple"
    assert "secret" not in str(opted_in.requests)


def test_agnos_own_errors(opted_in: Any, fields: Any) -> None:
    """The slugs that agno has for its exceptions are sent as their classes' names."""
    agent = instrument(make(failure=ModelProviderError("secret")))
    list(agent.run("secret", stream=True))
    assert [error["event.error_type"] for error in named(opted_in, fields, "agent.error")] == ["ModelProviderError"]


@pytest.mark.parametrize("options", [{}, {"stream": True}])
def test_exception_passes_through(opted_in: Any, fields: Any, options: dict[str, Any]) -> None:
    """An exception that agno raises is the twin's, and is sent as its class."""

    class Failing(Agent):
        def initialize_agent(self, debug_mode: bool | None = None) -> None:
            del debug_mode
            raise failure

    failure = LookupError("secret")
    agent = instrument(Failing(model=Offline(), name="simple", telemetry=False))
    with pytest.raises(LookupError) as caught:
        agent.run("secret", **options)
    assert caught.value is failure
    assert [error["event.error_type"] for error in named(opted_in, fields, "agent.error")] == ["LookupError"]
    assert [run["event.success"] for run in named(opted_in, fields, "agent.run")] == [False]


def test_refused_input(opted_in: Any, fields: Any) -> None:
    """A hook of the application refuses the input as it does without us, and the run failed."""

    def refuse() -> None:
        raise InputCheckError("secret")

    assert outcome(instrument(make(pre_hooks=[refuse])).run("x")) == outcome(make(pre_hooks=[refuse]).run("x"))
    assert [run["event.success"] for run in named(opted_in, fields, "agent.run")] == [False]


@pytest.mark.parametrize("way", WAYS)
def test_retries(opted_in: Any, fields: Any, way: str) -> None:
    """A run that agno retries is one run with the values of its last try."""

    class Once(Offline):
        failed = False

        def _answer(self, messages: list[Any], tools: list[Any] | None) -> ModelResponse:
            if not self.failed:
                self.failed = True
                raise ValueError("secret")
            return super()._answer(messages, tools)

    def retrying() -> Agent:
        return Agent(model=Once(), name="simple", telemetry=False, retries=1, delay_between_retries=0)

    assert WAYS[way](instrument(retrying())) == WAYS[way](retrying())
    (run,) = named(opted_in, fields, "agent.run")
    assert (run["event.success"], run["event.request_count"], run["event.retry_count"]) == (True, 2, 1)
    assert named(opted_in, fields, "agent.error") == []


def test_cancellation(opted_in: Any, fields: Any) -> None:
    """A cancelled run is a failed one without an error. One that the caller leaves keeps its state up to then."""

    class Hanging(Offline):
        async def ainvoke(self, *_args: Any, **_kwargs: Any) -> ModelResponse:
            return await asyncio.Event().wait()  # type: ignore[return-value]

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await instrument(Agent(model=Hanging(), name="simple", telemetry=False)).arun("secret")
        events: Any = instrument(make()).arun("secret", stream=True, stream_events=True)
        await anext(events)
        assert structlog.contextvars.get_contextvars() == {}
        await events.aclose()

    asyncio.run(main())
    events: Any = instrument(make()).run("secret", stream=True, stream_events=True)
    next(events)
    assert structlog.contextvars.get_contextvars() == {}
    events.close()
    assert [run["event.success"] for run in named(opted_in, fields, "agent.run")] == [False, True, True]
    assert named(opted_in, fields, "agent.error") == []


def test_continued_run(opted_in: Any, fields: Any) -> None:
    """A run that waits for a confirmation and its continuation are two runs, each with its own tokens and tools."""

    @tool(requires_confirmation=True)
    def delete() -> str:
        """Delete."""
        return "secret"

    agent = instrument(make(delete, look))
    paused = agent.run("secret")
    assert paused.is_paused
    for one in paused.tools or []:
        one.confirmed = True
    assert agent.continue_run(paused).content == "done"
    runs = named(opted_in, fields, "agent.run")
    assert [run["event.success"] for run in runs] == [True, True]
    assert sum(run["event.token_count"] for run in runs) == 10
    assert len(named(opted_in, fields, "tool.executed")) == 2


def test_multimodal(opted_in: Any, fields: Any) -> None:
    """The event records that the input held more than text, without the input."""
    instrument(make()).run("secret", images=[Image(content=b"secret")])
    assert [run["event.has_multimodal"] for run in named(opted_in, fields, "agent.run")] == [True]
    assert "secret" not in str(opted_in.requests)


@pytest.mark.parametrize("way", WAYS)
def test_nested_agents_are_one_trace(opted_in: Any, fields: Any, way: str) -> None:
    """An agent in another's tool is a child run, and its tokens are its own."""
    inner = instrument(make())

    def ask() -> str:
        """Ask another agent."""
        return str(inner.run("secret").content)

    WAYS[way](instrument(make(ask, name="genie")))
    spans = sent(opted_in)
    assert len({span["traceId"] for span in spans}) == 1
    runs = [span for span in spans if span["name"] == "agent.run"]
    (root,) = [span for span in runs if "parentSpanId" not in span]
    (child,) = [span for span in runs if span.get("parentSpanId") == root["spanId"]]
    assert [fields(span)["event.agent_name"] for span in (root, child)] == ["genie", "simple"]
    assert [fields(span)["event.token_count"] for span in (root, child)] == [10, 10]
    tools = [span["parentSpanId"] for span in spans if span["name"] == "tool.executed"]
    assert sorted(tools) == sorted([root["spanId"], child["spanId"]])


def test_tool_that_streams_another_agent(opted_in: Any) -> None:
    """The output of another agent's run in a tool is the twin's, and is not counted as the agent's own."""
    options: dict[str, Any] = {"stream": True, "stream_events": True, "yield_run_output": True}

    def outer(look_on: Any) -> list[Any]:
        inner = look_on(make(failure=ValueError("secret")))

        def ask() -> Any:
            """Ask another agent."""
            yield from inner.run("secret", **options)

        agent = look_on(make(ask, name="genie"))
        return [(outcome(event), event.agent_id) for event in agent.run("secret", stream=True, stream_events=True)]

    assert outer(instrument) == outer(lambda agent: agent)
    status = [span["status"]["code"] for span in sent(opted_in) if span["name"] == "agent.run"]
    assert status == [2, 1]
