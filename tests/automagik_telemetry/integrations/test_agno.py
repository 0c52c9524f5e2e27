"""agno: real agents, offline, are tracked, and are otherwise as if nobody looked on."""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from agno.agent import Agent
from agno.exceptions import InputCheckError, ModelProviderError
from agno.media import Image
from agno.metrics import MessageMetrics
from agno.models.base import Model
from agno.models.response import ModelResponse
from agno.run.agent import RunOutput
from agno.tools import tool
from opentelemetry.sdk.trace import TracerProvider

from automagik_telemetry import get_tracing_manager, host
from automagik_telemetry.integrations.agno import instrument, uninstrument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@dataclass
class Offline(Model):
    """A model that first calls every tool that it is given, and then answers; or fails."""

    id: str = "offline"
    failure: BaseException | None = None

    def _answer(self, messages: list[Any], tools: list[Any] | None) -> ModelResponse:
        usage = MessageMetrics(input_tokens=3, output_tokens=2, total_tokens=5)
        if tools and messages[-1].role != "tool":
            calls = [
                {
                    "id": str(number),
                    "type": "function",
                    "function": {"name": one["function"]["name"], "arguments": "{}"},
                }
                for number, one in enumerate(tools)
            ]
            return ModelResponse(role="assistant", tool_calls=calls, response_usage=usage)
        if self.failure is not None:
            raise self.failure
        return ModelResponse(role="assistant", content="done", response_usage=usage)

    def invoke(self, messages: Any, *_args: Any, tools: Any = None, **_kwargs: Any) -> ModelResponse:
        """Answer."""
        return self._answer(messages, tools)

    async def ainvoke(self, messages: Any, *_args: Any, tools: Any = None, **_kwargs: Any) -> ModelResponse:
        """Answer, and let others run before."""
        await asyncio.sleep(0)
        return self._answer(messages, tools)

    def invoke_stream(self, messages: Any, *_args: Any, tools: Any = None, **_kwargs: Any) -> Iterator[ModelResponse]:
        """Answer in parts."""
        yield self._answer(messages, tools)
        if messages[-1].role == "tool":
            yield ModelResponse(content=" indeed")

    async def ainvoke_stream(
        self, messages: Any, *_args: Any, tools: Any = None, **_kwargs: Any
    ) -> AsyncIterator[ModelResponse]:
        """Answer in parts, and let others run between them."""
        for part in self.invoke_stream(messages, tools=tools):
            await asyncio.sleep(0)
            yield part

    def _parse_provider_response(self, response: Any, **_kwargs: Any) -> ModelResponse:
        return response  # type: ignore[no-any-return]

    def _parse_provider_response_delta(self, response: Any) -> ModelResponse:
        return response  # type: ignore[no-any-return]


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


def look() -> str:
    """Tell of the trace that the tool is in, by an event."""
    if telemetry := get_tracing_manager().telemetry:
        telemetry.track_feature_usage("tools")
    return "secret"


def make(*tools: Any, failure: BaseException | None = None, **options: Any) -> Agent:
    """Return an agent that uses these tools, else `look`, and that does not call home."""
    options = {"name": "simple", "tools": list(tools or [look]), "telemetry": False, **options}
    return Agent(model=Offline(failure=failure), **options)


def outcome(told: Any) -> tuple[Any, ...]:
    """Return what does not differ between two runs that are alike: some texts tell how long a tool took."""
    what = getattr(told, "tool", None)
    content = re.sub(r"[0-9.]+s", "", str(getattr(told, "content", None)))
    return type(told), content, what and (what.tool_name, what.result)


async def collect(events: Any) -> list[Any]:
    """Return all that an asynchronous iterator yields."""
    return [outcome(event) async for event in events]


STREAMED: dict[str, dict[str, bool]] = {
    "stream": {"stream": True},
    "events": {"stream": True, "stream_events": True},
    "output": {"stream": True, "stream_events": True, "yield_run_output": True},
}
WAYS: dict[str, Any] = {
    "run": lambda agent: outcome(agent.run("secret")),
    "arun": lambda agent: outcome(asyncio.run(agent.arun("secret"))),
    **{
        f"run {name}": lambda agent, options=options: [outcome(event) for event in agent.run("secret", **options)]
        for name, options in STREAMED.items()
    },
    **{
        f"arun {name}": lambda agent, options=options: asyncio.run(collect(agent.arun("secret", **options)))
        for name, options in STREAMED.items()
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_success(opted_in: Any, fields: Any, way: str) -> None:
    """However it is started, the result is the twin's, and the run is one event, with a tool in it."""
    assert WAYS[way](instrument(make())) == WAYS[way](make())
    (run,) = named(opted_in, fields, "agent.run")
    assert run["event.agent_name"] == "simple"
    assert run["event.framework"] == "agno"
    assert run["event.success"] is True
    assert run["event.has_multimodal"] is False
    assert run["event.duration_ms"] > 0
    assert run["event.token_count"] == 10
    (executed,) = named(opted_in, fields, "tool.executed")
    assert (executed["event.agent_name"], executed["event.success"]) == ("simple", True)
    assert executed["event.tool_name"].startswith("custom-")
    assert executed["event.duration_ms"] > 0
    assert "secret" not in str(opted_in.requests)


@pytest.mark.parametrize("way", WAYS)
def test_failing_tool(opted_in: Any, fields: Any, way: str) -> None:
    """The framework goes on after a tool's exception; the tool is a failed one, and the run is not."""

    def fail() -> None:
        """Fail."""
        raise KeyError("secret")

    assert WAYS[way](instrument(make(fail))) == WAYS[way](make(fail))
    assert [one["event.success"] for one in named(opted_in, fields, "tool.executed")] == [False]
    assert [run["event.success"] for run in named(opted_in, fields, "agent.run")] == [True]


@pytest.mark.parametrize("way", WAYS)
def test_failing_model(opted_in: Any, fields: Any, way: str) -> None:
    """What agno makes of a model's exception is a failed run, and an error of the name that it tells, if any."""
    failure = ValueError("secret")
    assert WAYS[way](instrument(make(failure=failure))) == WAYS[way](make(failure=failure))
    (run,) = named(opted_in, fields, "agent.run")
    assert run["event.success"] is False
    (error,) = named(opted_in, fields, "agent.error")
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
    """An exception that agno does let out is the twin's, and is sent as its class."""

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
    """A hook of the application's that refuses the input does it as without us, and the run is a failed one."""

    def refuse() -> None:
        raise InputCheckError("secret")

    assert outcome(instrument(make(pre_hooks=[refuse])).run("x")) == outcome(make(pre_hooks=[refuse]).run("x"))
    assert [run["event.success"] for run in named(opted_in, fields, "agent.run")] == [False]


@pytest.mark.parametrize("way", WAYS)
def test_retries(opted_in: Any, fields: Any, way: str) -> None:
    """A run that agno tries again is one run, of which the last try counts."""

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
    assert [run["event.success"] for run in named(opted_in, fields, "agent.run")] == [True]
    assert named(opted_in, fields, "agent.error") == []


def test_cancellation(opted_in: Any, fields: Any) -> None:
    """A cancelled run is a failed one without an error; one that the caller leaves is what it was until then."""

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
    """A run that waits for a confirmation and the one that continues it are two, with each its own tokens and tools."""

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
    """Whether the input held more than text is sent, and the input is not."""
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
    """What another agent's run yields through a tool comes as the twin's does, and is not taken for the agent's own."""
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


def test_runs_at_once_never_mix(opted_in: Any) -> None:
    """Of runs over tasks and threads, each has its own trace, with its own tool and its own event from inside it."""
    agent = instrument(make())

    async def crowd() -> None:
        runs = (agent.arun("secret", session_id=str(number)) for number in range(13))
        streams = (collect(agent.arun("secret", stream=True, session_id=f"stream {number}")) for number in range(12))
        await asyncio.gather(*runs, *streams)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: asyncio.run(crowd()), range(2)))
    traces: dict[str, list[str]] = {}
    for span in sent(opted_in):
        traces.setdefault(span["traceId"], []).append(span["name"])
    assert len(traces) == 50
    assert all(sorted(names) == ["agent.run", "feature.used", "tool.executed"] for names in traces.values())


def test_joins_the_hosts_trace(opted_in: Any) -> None:
    """A run joins the trace of the host's OpenTelemetry span, in all of its parts."""
    bound: list[str] = []

    def see() -> None:
        """Look around."""
        bound.append(structlog.contextvars.get_contextvars()["trace_id"])

    with TracerProvider().get_tracer("host").start_as_current_span("request") as span:
        instrument(make(see)).run("secret")
    assert bound == [f"{span.get_span_context().trace_id:032x}"]
    assert sum(one["name"] == "agent.run" for one in sent(opted_in)) == 1


def test_instrumented_twice_is_instrumented_once(opted_in: Any, fields: Any) -> None:
    """The agent itself comes back, a second time changes nothing, it can be undone, and others are not tracked."""
    agent = make()
    assert instrument(instrument(agent)) is agent
    agent.run("secret")
    assert uninstrument(uninstrument(agent)) is agent
    assert type(agent) is Agent
    agent.run("secret")
    make().run("secret")
    assert len(named(opted_in, fields, "agent.run")) == 1


def test_looks_like_the_agent() -> None:
    """Methods, signatures, attributes and the class's name stay, of an application's own class too."""

    class Mine(Agent):
        """Mine."""

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
    """A copy by agno is tracked, and one by Python is a plain agent; each runs itself, not what it is a copy of."""
    agent = instrument(make())
    for duplicate in (copy.copy(agent), copy.deepcopy(agent)):
        assert type(duplicate) is Agent
        duplicate.name = "genie"
        assert duplicate.run("secret").agent_name == "genie"
    duplicate = agent.deep_copy(update={"name": "stan"})
    assert duplicate.run("secret").agent_name == "stan"
    assert [run["event.agent_name"] for run in named(opted_in, fields, "agent.run")] == ["stan"]


def test_hooks_of_tools_stay(opted_in: Any) -> None:
    """The hooks that a tool brings are called as without us."""
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
    get_tracing_manager().hold_back("a test")
    bound: list[object] = []

    def see() -> None:
        """Look around."""
        bound.append(structlog.contextvars.get_contextvars())

    assert isinstance(instrument(make(see)).run("secret"), RunOutput)
    assert bound == [{}]
    assert opted_in.requests == []


@pytest.mark.parametrize("wrong", [None, "agent", Agent, object()])
def test_wrong_use(wrong: Any) -> None:
    """What is no agent is refused at once, with what it is."""
    with pytest.raises(TypeError, match=r"instrument takes an agno\.agent\.Agent; this is"):
        instrument(wrong)


def test_without_the_framework() -> None:
    """The package itself never imports the framework; the module says which extra it needs."""
    lines = (
        "import sys",
        "import automagik_telemetry, automagik_telemetry.integrations.agent",
        "assert 'agno' not in sys.modules",
        "sys.modules['agno'] = None",
        "import automagik_telemetry.integrations.agno",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: ")
    assert "automagik-telemetry[agno]" in done.stderr.splitlines()[-1]
