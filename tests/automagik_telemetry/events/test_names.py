"""Names of what is instrumented are declared until the first event, run, request or start of a lifespan."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest
from agno.agent import Agent as AgnoAgent
from agno.tools import Toolkit, tool
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

from automagik_telemetry import configure, instrument
from automagik_telemetry.events import _names as names
from automagik_telemetry.events._allowlist import allowlist
from automagik_telemetry.events.catalogue import FeatureUsageEvent
from automagik_telemetry.integrations.asgi import TelemetryMiddleware


def clerk(name: str) -> Any:
    """Return an instrumented agent of pydantic-ai, which gets its tool afterwards."""
    agent = instrument(Agent(TestModel(), name=name))

    @agent.tool_plain(name=f"{name}-tool")
    def look() -> str:
        return "."

    return agent


def poet(name: str) -> Any:
    """Return an instrumented agent of agno, with every kind of tool."""

    def plain() -> None:
        """Do nothing."""

    plain.__name__ = f"{name}-plain"
    decorated = tool(name=f"{name}-decorated")(lambda: None)
    kit = Toolkit(name=f"{name}-kit", tools=[plain])
    return instrument(AgnoAgent(name=name, tools=[plain, decorated, kit], telemetry=False))


def test_names_before_the_first_event_are_declared(opted_in: Any) -> None:
    """Agents and their tools are declared at the first event; another message of a logger is not an event."""
    manager = configure()
    agents = [clerk("clerk"), poet("poet")]
    logging.getLogger("automagik.shop").info("started")
    assert "clerk" not in allowlist
    manager.track(FeatureUsageEvent("memory"))
    assert {"clerk", "agent.clerk", "clerk-tool", "poet", "poet-plain", "poet-decorated"} <= allowlist
    agents += [clerk("later"), poet("latest")]
    manager.track(FeatureUsageEvent("memory"))
    assert not {name for name in allowlist if name.startswith(("later", "latest", "agent.late"))}
    assert len(agents) == 4


def test_a_later_name_may_be_allowed(opted_in: Any, fields: Any) -> None:
    """An agent that is made after the first event is sent by its name if `allow` has it, else as a hash."""
    manager = configure(allow=["later"])
    manager.track(FeatureUsageEvent("memory"))
    for name in ("later", "unknown"):
        asyncio.run(clerk(name).run("hello"))
    assert manager.flush(10)
    runs = [fields(span)["event.agent_name"] for span in opted_in.spans() if span["name"] == "agent.run"]
    assert runs[0] == "later"
    assert runs[1].startswith("custom-")


def test_an_agents_own_first_run_has_its_name(opted_in: Any, fields: Any) -> None:
    """The names are declared before the first event is encoded, and agents that are made in the run are later ones."""
    agent = clerk("clerk")
    made = []

    def delegate() -> str:
        made.append(clerk("made-in-a-run"))
        return "."

    agent.tool_plain(delegate)
    manager = configure()
    asyncio.run(agent.run("hello"))
    assert manager.flush(10)
    assert [fields(span)["event.agent_name"] for span in opted_in.spans() if span["name"] == "agent.run"] == ["clerk"]
    assert len(made) == 1
    assert "made-in-a-run" not in allowlist


@pytest.mark.parametrize("kind", ["lifespan", "http", "websocket"])
def test_a_lifespan_and_a_request_close_it(opted_in: Any, kind: str) -> None:
    """The first scope that a server opens closes the allowlist, whether it is an event or not."""

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        agents.append(clerk("while-serving"))

    configure()
    agents = [clerk("at-start")]
    scope = {"type": kind, "path": "/", "headers": [], "method": "GET"}
    asyncio.run(TelemetryMiddleware(app)(scope, None, None))  # type: ignore[arg-type]  # no message is sent
    assert "at-start" in allowlist
    assert "while-serving" not in allowlist


def test_it_is_bounded_and_holds_no_agent(opted_in: Any) -> None:
    """Deleted agents, invalid names and endless sources cause no failure."""
    count = len(allowlist)
    instrument(AgnoAgent(name="gone", telemetry=False))
    gc.collect()
    instrument(AgnoAgent(name="4711", telemetry=False))
    owner = clerk("owner")
    names.declare_later(owner, lambda _: (f"endless-{number}" for number in iter(int, 1)))
    names.declare_later(owner, lambda _: 1 / 0)  # type: ignore[arg-type, return-value]  # it raises
    names.declare_later(owner, lambda _: (1 / 0 for _ in range(2)))
    names.declare_later("allows no weak reference", lambda _: ["unreferenced"])
    for _ in range(names.MAX_SOURCES):
        names.declare_later(owner, lambda _: ["same"])
    assert len(names._names.sources) == names.MAX_SOURCES
    names.close()
    assert "gone" not in allowlist
    assert "unreferenced" not in allowlist
    assert len(allowlist) <= count + 2 * names.MAX_NAMES
    names.declare_later(owner, lambda _: ["too-late"])
    names.close()
    assert names._names.sources == []
    assert "too-late" not in allowlist
