"""What tracking a run costs: `python tests/bench/frameworks.py` prints medians beside the same run without it.

Both frameworks run offline: one question, a call of a tool, an answer. The endpoint refuses, as the worst that can be
without waiting. Of traces a tenth is kept, as by default, or all.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

from agno.agent import Agent as AgnoAgent
from pydantic_ai import Agent
from pydantic_ai.capabilities import AbstractCapability, CombinedCapability
from pydantic_ai.models.test import TestModel

from automagik_processors import LangWatchTrace, Scrub
from automagik_telemetry import configure
from automagik_telemetry.integrations import agno, pydantic_ai
from automagik_telemetry.integrations.agent import track_agent
from tests.automagik_telemetry.integrations.agno_agents import Offline

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS, CALLS = 30, 20
MODES = {
    "telemetry": {"AUTOMAGIK_TELEMETRY_ENABLED": "true"},
    "telemetry and traces": {"AUTOMAGIK_TELEMETRY_ENABLED": "true", "LANGWATCH_API_KEY": "sk-lw-key"},
    "telemetry and all traces": {
        "AUTOMAGIK_TELEMETRY_ENABLED": "true",
        "LANGWATCH_API_KEY": "sk-lw-key",
        "AUTOMAGIK_SAMPLING_RATE": "1",
        "AUTOMAGIK_TRACES_PER_MINUTE": "1000000",
    },
}


def look() -> str:
    """Look around."""
    return "well"


def of_pydantic_ai(look_on: Callable[[Any], Any]) -> Callable[[], None]:
    """Return a function that runs an agent of pydantic-ai `CALLS` times."""
    agent = look_on(Agent(TestModel(), name="simple", instructions="be short", tools=[look]))
    loop = asyncio.new_event_loop()

    async def runs() -> None:
        for _ in range(CALLS):
            await agent.run("hello")

    return lambda: loop.run_until_complete(runs())


def of_agno(look_on: Callable[[Any], Any]) -> Callable[[], None]:
    """Return the same for agno."""
    agent = look_on(AgnoAgent(model=Offline(), name="simple", tools=[look], telemetry=False))

    def runs() -> None:
        for _ in range(CALLS):
            agent.run("hello", session_id="one")

    return runs


def of_any(look_on: Callable[[Any], Any]) -> Callable[[], None]:
    """Return the same for a function."""
    answer = look_on(str.upper)

    def runs() -> None:
        for _ in range(CALLS):
            answer("hello")

    return runs


class Idle(AbstractCapability[Any]):
    """A capability that hands everything on: what pydantic-ai itself takes for any that looks on."""

    async def wrap_run(self, ctx: Any, *, handler: Any) -> Any:
        """Hand on."""
        del ctx
        return await handler()

    async def wrap_model_request(self, ctx: Any, *, request_context: Any, handler: Any) -> Any:
        """Hand on."""
        del ctx
        return await handler(request_context)

    async def wrap_tool_execute(self, ctx: Any, *, call: Any, tool_def: Any, args: Any, handler: Any) -> Any:
        """Hand on."""
        del ctx, call, tool_def
        return await handler(args)


def idle(agent: Any) -> Any:
    """Return the agent with such a capability."""
    agent._root_capability = CombinedCapability([Idle(), agent.root_capability])
    return agent


KINDS: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {
    "pydantic-ai": (of_pydantic_ai, pydantic_ai.instrument),
    "  a no-op": (of_pydantic_ai, idle),
    "agno": (of_agno, agno.instrument),
    "any agent": (of_any, track_agent("simple")),
}


def medians(**runs: Callable[[], None]) -> dict[str, float]:
    """Return the median time of one run in us for each, of this thread alone, in turn, for a machine has moods."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            started = time.thread_time()
            run()
            times[name].append((time.thread_time() - started) / CALLS * 1e6)
    return {name: statistics.median(each[ROUNDS // 10 :]) for name, each in times.items()}


def encoding() -> float:
    """Return the median time in us that one span of a usual trace takes to be scrubbed and encoded."""
    messages = [{"role": "user", "content": "a question of usual length, about this and that " * 4}] * 6
    span = {"name": "gpt-4o", "type": "llm", "start": 1e9, "end": 1e9, "model": "gpt-4o", "usage": {"input_tokens": 5}}
    spans = [{**span, "span_id": f"{number + 1:016x}", "input": messages, "output": "fine"} for number in range(10)]
    event = {"event": "trace", "trace_id": "1" * 32, "timestamp": 1e9, "spans": spans}
    scrub, encode = Scrub(), LangWatchTrace()
    times = []
    for _ in range(300):
        started = time.thread_time()
        encode(None, "info", scrub(None, "info", event))
        times.append((time.thread_time() - started) / len(spans) * 1e6)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    common = {"AUTOMAGIK_ENABLE_TRACING_IN_CI": "true", "AUTOMAGIK_TELEMETRY_ENDPOINT": "http://127.0.0.1:9"}
    common |= {"LANGWATCH_ENDPOINT": "http://127.0.0.1:9", "AUTOMAGIK_TRACE_QUEUE_SIZE": "1000000"}
    for mode, variables in MODES.items():
        with tempfile.TemporaryDirectory() as folder:
            before = dict(os.environ)
            os.environ |= {**common, **variables, "AUTOMAGIK_STATE_DIR": folder}
            tracing = configure()
            for kind, (make, track) in KINDS.items():
                both = medians(plain=make(lambda one: one), tracked=make(track))
                cost = both["tracked"] - both["plain"]
                sys.stdout.write(
                    f"{kind:12} {mode:25} {both['plain']:9.1f} -> {both['tracked']:9.1f} us {cost:+8.1f}\n"
                )
            tracing.shutdown()
            os.environ.clear()
            os.environ.update(before)
    sys.stdout.write(f"{encoding():.1f} us to scrub and encode a span of 6 messages\n")


if __name__ == "__main__":
    main()
