"""agno: an agent that is tracked otherwise behaves as before, alone and among others."""

from __future__ import annotations

import asyncio
import copy
import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from agno.agent import Agent
from agno.metrics import MessageMetrics
from agno.run.agent import RunOutput
from agno.run.base import RunStatus
from agno.tools import tool
from opentelemetry.sdk.trace import TracerProvider

from automagik_telemetry import get_tracing_manager
from automagik_telemetry.integrations.agno import instrument, uninstrument
from tests.automagik_telemetry.integrations.agno.agno_agents import Offline, collect, look, make
from tests.automagik_telemetry.integrations.arrived import named, sent

if TYPE_CHECKING:
    from agno.models.response import ModelResponse

pytestmark = pytest.mark.usefixtures("to_the_last_detail")


def test_joins_the_hosts_trace(opted_in: Any) -> None:
    """A run joins the trace of the application's OpenTelemetry span, in all of its parts."""
    bound: list[str] = []

    def see() -> None:
        """Look around."""
        bound.append(structlog.contextvars.get_contextvars()["trace_id"])

    with TracerProvider().get_tracer("host").start_as_current_span("request") as span:
        instrument(make(see)).run("secret")
    assert bound == [f"{span.get_span_context().trace_id:032x}"]
    assert sum(one["name"] == "agent.run" for one in sent(opted_in)) == 1


def test_runs_at_once_never_mix(opted_in: Any) -> None:
    """Runs over tasks and threads each have their own trace, with their own tool and event."""
    agent = instrument(make())

    async def crowd() -> None:
        runs = (agent.arun("secret", session_id=str(number)) for number in range(13))
        streams = (collect(agent.arun("secret", stream=True, session_id=f"stream {number}")) for number in range(12))
        await asyncio.gather(*runs, *streams)

    # One event loop alone, because agno shares a lock of asyncio with all.
    with ThreadPoolExecutor(2) as pool:
        threads = [pool.submit(agent.run, "secret", session_id=f"thread {number}") for number in range(25)]
        asyncio.run(crowd())
    assert all(thread.result() for thread in threads)
    traces: dict[str, list[str]] = {}
    for span in sent(opted_in):
        traces.setdefault(span["traceId"], []).append(span["name"])
    assert len(traces) == 50
    assert all(sorted(names) == ["agent.run", "feature.used", "tool.executed"] for names in traces.values())


def test_instrumented_twice_is_instrumented_once(opted_in: Any, fields: Any) -> None:
    """The same agent is returned, a second call changes nothing, it can be undone, and others are not tracked."""
    agent = make()
    assert instrument(instrument(agent)) is agent
    agent.run("secret")
    assert uninstrument(uninstrument(agent)) is agent
    assert type(agent) is Agent
    assert type(agent.model) is Offline
    agent.run("secret")
    make().run("secret")
    assert len(named(opted_in, fields, "agent.run")) == 1


def test_executor_outside_of_a_run() -> None:
    """An application that takes the agent's executor gets agno's own."""
    agent = instrument(make())
    assert isinstance(agent.background_executor, ThreadPoolExecutor)
    agent.background_executor.shutdown()


def test_without_a_model() -> None:
    """An agent that has no model yet can be tracked and untracked."""
    agent = Agent(telemetry=False)
    assert type(uninstrument(instrument(agent))) is Agent


def test_looks_like_the_agent() -> None:
    """Methods, signatures, attributes and the class's name stay, also for an application's own class."""

    class Mine(Agent):
        """An agent class of an application."""

        def run(self, input: Any, **kwargs: Any) -> Any:  # noqa: A002 - agno's name
            return super().run(input, **kwargs)

    for kind in (Agent, Mine):
        agent, twin = instrument(kind(id="a", telemetry=False)), kind(id="a", telemetry=False)
        assert isinstance(agent, kind)
        assert vars(agent) == vars(twin)
        assert repr(type(agent)) == repr(type(twin))
        for name in ("run", "arun", "continue_run", "acontinue_run"):
            ours, theirs = getattr(agent, name), getattr(twin, name)
            assert inspect.signature(ours) == inspect.signature(theirs)
            assert inspect.ismethod(ours)
            assert ours.__doc__ == theirs.__doc__


def test_copies(opted_in: Any, fields: Any) -> None:
    """A copy by agno is tracked, and one by Python is a plain agent; each runs itself instead of its original."""
    agent = instrument(make())
    for duplicate in (copy.copy(agent), copy.deepcopy(agent)):
        assert type(duplicate) is Agent
        duplicate.name = "genie"
        assert duplicate.run("secret").agent_name == "genie"
    duplicate = agent.deep_copy(update={"name": "stan"})
    assert duplicate.run("secret").agent_name == "stan"
    assert [run["event.agent_name"] for run in named(opted_in, fields, "agent.run")] == ["stan"]


def test_hooks_of_tools_stay(opted_in: Any) -> None:
    """The hooks of a tool are called as without us."""
    called: list[str] = []

    def hook(function_name: str, function_call: Any, arguments: dict[str, Any]) -> Any:
        called.append(function_name)
        return function_call(**arguments)

    hooked = tool(tool_hooks=[hook])(look)
    instrument(make(hooked)).run("secret")
    assert called == ["look"]
    assert sum(span["name"] == "tool.executed" for span in sent(opted_in)) == 1


def test_off_changes_nothing(opted_in: Any) -> None:
    """With telemetry off nothing is bound and nothing is sent, and the agent works as before."""
    get_tracing_manager().suppress("a test")
    bound: list[object] = []

    def see() -> None:
        """Look around."""
        bound.append(structlog.contextvars.get_contextvars())

    assert isinstance(instrument(make(see)).run("secret"), RunOutput)
    assert bound == [{}]
    assert opted_in.requests == []


@pytest.mark.parametrize("wrong", [None, "agent", Agent, object()])
def test_wrong_use(wrong: Any) -> None:
    """An object that is not an agent is refused at once, with a description of it."""
    with pytest.raises(TypeError, match=r"instrument takes an agno\.agent\.Agent or agno\.team\.Team; this is"):
        instrument(wrong)


def test_model_that_cannot_be_looked_at(opted_in: Any, fields: Any) -> None:
    """A model whose class can't be changed is used as it is, and the run is still tracked."""

    class Closed(Offline):
        def __setattr__(self, name: str, value: object) -> None:
            if name == "__class__":
                raise TypeError
            super().__setattr__(name, value)

    assert instrument(Agent(model=Closed(), name="simple", telemetry=False)).run("secret").content == "done"
    (run,) = named(opted_in, fields, "agent.run")
    assert (run["event.success"], run["event.token_count"]) == (True, 5)


class ByName(Offline):
    """A model that names the argument of the conversion of its usage."""

    def _get_metrics(self, response_usage: Any) -> MessageMetrics:
        return MessageMetrics(**response_usage)

    def invoke(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """Answer."""
        response = super().invoke(*args, **kwargs)
        response.response_usage = self._get_metrics(response_usage={"input_tokens": 3, "total_tokens": 3})
        return response


class Static(Offline):
    """A model whose conversion of its usage is a static method."""

    @staticmethod
    def _get_metrics(usage: Any) -> MessageMetrics:
        return MessageMetrics(**usage)

    def invoke(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """Answer."""
        response = super().invoke(*args, **kwargs)
        response.response_usage = self._get_metrics({"input_tokens": 3, "total_tokens": 3})
        return response


@pytest.mark.fault(113)
@pytest.mark.parametrize("model", [ByName, Static])
def test_model_that_converts_its_usage_in_its_own_way(opted_in: Any, fields: Any, model: type[Offline]) -> None:
    """A run succeeds however the model's own class defines and calls the method that converts its usage."""
    told = instrument(Agent(model=model(), name="simple", telemetry=False)).run("secret")
    assert (told.status, told.content) == (RunStatus.completed, "done")
    (run,) = named(opted_in, fields, "agent.run")
    assert (run["event.success"], run["event.token_count"]) == (True, 3)
