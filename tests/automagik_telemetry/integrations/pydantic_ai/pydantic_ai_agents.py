"""Agents of pydantic-ai that need no network, and every way to run one."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

from automagik_telemetry import get_tracing_manager


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
    """Run in an event loop that is closed afterwards, because the framework leaves its own open."""
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
