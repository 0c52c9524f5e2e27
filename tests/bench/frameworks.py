"""The cost of a tracked agent run, beside the same run untracked: `python tests/bench/frameworks.py`.

Both frameworks run offline: one message, one tool call, one response. The endpoint refuses connections, the most
expensive failure that does not wait. A tenth of the traces is kept, as by default, or all of them.
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

from automagik_processors import Scrub
from automagik_telemetry import LangWatchTrace, configure
from automagik_telemetry.integrations import agno, pydantic_ai
from automagik_telemetry.integrations.agent import track_agent
from tests.automagik_telemetry.integrations.agno.agno_agents import Offline

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
    """Return a function that runs a pydantic-ai agent `CALLS` times."""
    agent = look_on(Agent(TestModel(), name="simple", instructions="be short", tools=[look]))
    loop = asyncio.new_event_loop()

    async def runs() -> None:
        for _ in range(CALLS):
            await agent.run("hello")

    return lambda: loop.run_until_complete(runs())


def of_agno(look_on: Callable[[Any], Any]) -> Callable[[], None]:
    """Return a function that runs an agno agent `CALLS` times."""
    agent = look_on(AgnoAgent(model=Offline(), name="simple", tools=[look], telemetry=False))

    def runs() -> None:
        for _ in range(CALLS):
            agent.run("hello", session_id="one")

    return runs


def of_any(look_on: Callable[[Any], Any]) -> Callable[[], None]:
    """Return a function that calls a plain function `CALLS` times."""
    answer = look_on(str.upper)

    def runs() -> None:
        for _ in range(CALLS):
            answer("hello")

    return runs


class Idle(AbstractCapability[Any]):
    """A capability that passes everything through: the cost of pydantic-ai's own hooks."""

    async def wrap_run(self, ctx: Any, *, handler: Any) -> Any:
        """Pass through."""
        del ctx
        return await handler()

    async def wrap_model_request(self, ctx: Any, *, request_context: Any, handler: Any) -> Any:
        """Pass through."""
        del ctx
        return await handler(request_context)

    async def wrap_tool_execute(self, ctx: Any, *, call: Any, tool_def: Any, args: Any, handler: Any) -> Any:
        """Pass through."""
        del ctx, call, tool_def
        return await handler(args)


def idle(agent: Any) -> Any:
    """Return the agent with an `Idle` capability."""
    agent._root_capability = CombinedCapability([Idle(), agent.root_capability])
    return agent


KINDS: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {
    "pydantic-ai": (of_pydantic_ai, pydantic_ai.instrument),
    "  a no-op": (of_pydantic_ai, idle),
    "agno": (of_agno, agno.instrument),
    "any agent": (of_any, track_agent("simple")),
}


def medians(**runs: Callable[[], None]) -> dict[str, float]:
    """Return the median CPU time per run of this thread in us.

    The functions alternate, because the machine's speed changes.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            started = time.thread_time()
            run()
            times[name].append((time.thread_time() - started) / CALLS * 1e6)
    return {name: statistics.median(each[ROUNDS // 10 :]) for name, each in times.items()}


def encoding() -> float:
    """Return the median time in us to scrub and encode one span of a usual trace."""
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
