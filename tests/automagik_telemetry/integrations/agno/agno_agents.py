"""Agents of agno that need no network, and every way to run one."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agno.agent import Agent
from agno.metrics import MessageMetrics
from agno.models.base import Model
from agno.models.response import ModelResponse

from automagik_telemetry import get_tracing_manager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@dataclass
class Offline(Model):
    """A model that first calls all of its tools, and then answers; or fails."""

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
        """Answer after yielding to other tasks."""
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
        """Answer in parts, yielding to other tasks between them."""
        for part in self.invoke_stream(messages, tools=tools):
            await asyncio.sleep(0)
            yield part

    def _parse_provider_response(self, response: Any, **_kwargs: Any) -> ModelResponse:
        return response  # type: ignore[no-any-return]

    def _parse_provider_response_delta(self, response: Any) -> ModelResponse:
        return response  # type: ignore[no-any-return]


def look() -> str:
    """Log an event, which has the tool's trace."""
    if telemetry := get_tracing_manager().telemetry:
        telemetry.track_feature_usage("tools")
    return "secret"


def make(*tools: Any, failure: BaseException | None = None, **options: Any) -> Agent:
    """Return an agent that uses these tools, else `look`, and sends no telemetry of its own."""
    options = {"name": "simple", "tools": list(tools or [look]), "telemetry": False, **options}
    return Agent(model=Offline(failure=failure), **options)


def outcome(told: Any) -> tuple[Any, ...]:
    """Return the comparable part of a run, because some texts contain the duration of a tool."""
    what = getattr(told, "tool", None)
    content = re.sub(r"[0-9.]+s", "", str(getattr(told, "content", None)))
    return type(told), content, what and (what.tool_name, what.result)


async def collect(events: Any) -> list[Any]:
    """Return the items of an asynchronous iterator."""
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
