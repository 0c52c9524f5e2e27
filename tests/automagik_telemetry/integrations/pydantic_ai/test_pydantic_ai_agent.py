"""pydantic-ai: an agent that is tracked otherwise behaves as before, alone and among others."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic_ai import Agent, ModelRetry
from pydantic_ai.agent import WrapperAgent
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.test import TestModel

from automagik_telemetry import get_tracing_manager
from automagik_telemetry.events import _names as names
from automagik_telemetry.integrations.pydantic_ai import instrument, uninstrument
from tests.automagik_telemetry.integrations.arrived import named, sent
from tests.automagik_telemetry.integrations.pydantic_ai.pydantic_ai_agents import adding, run_sync

pytestmark = pytest.mark.usefixtures("to_the_last_detail")


def test_runs_at_once_never_mix(opted_in: Any) -> None:
    """Runs over tasks and threads each have their own trace, with their own tool and event."""
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
    """A run joins the trace of the application's OpenTelemetry span, whose spans do not change, and is counted once."""

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
    """The same agent is returned, a second call changes nothing, and it can be undone."""
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
    """The names of an agent that is made later, and of its tool, are hashes; the framework's exceptions have names."""
    names.close()
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
    get_tracing_manager().suppress("a test")
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
    """An object that is not an agent is refused at once, with a description of it."""
    with pytest.raises(TypeError, match=r"instrument takes a pydantic_ai\.Agent; this is"):
        instrument(wrong)
