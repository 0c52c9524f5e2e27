"""The agents: a base class that tracks its runs, and two agents that answer without a model."""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple

from automagik_telemetry import get_tracing_manager
from automagik_telemetry.telemetry.cli_events import AgentExecutionEvent


class AgentResponse(NamedTuple):
    """What an agent answers, and how many tokens (here: words) it took."""

    text: str
    total_tokens: int


class Agent:
    """Tracks each run: errors when they occur, and always the outcome and the duration."""

    name: str
    framework: str

    def __init__(self) -> None:
        self.tracing = get_tracing_manager()

    async def run(self, message_content: str, **kwargs: Any) -> AgentResponse:  # noqa: ANN401 - whatever a caller adds
        """Answer a message. Raises what the agent raises."""
        started = time.perf_counter()
        result: AgentResponse | None = None
        try:
            result = await self.answer(message_content)
        except Exception as error:
            if self.tracing.telemetry:
                self.tracing.telemetry.track_error(error_type=type(error).__name__, component=f"agent.{self.name}")
            raise
        finally:
            if self.tracing.telemetry:
                self.tracing.telemetry.track_event(
                    AgentExecutionEvent(
                        agent_name=self.name,
                        framework=self.framework,
                        success=result is not None,
                        duration_ms=(time.perf_counter() - started) * 1000,
                        has_multimodal=bool(kwargs.get("multimodal_content")),
                        token_count=result.total_tokens if result else None,
                    )
                )
        return result

    async def answer(self, message: str) -> AgentResponse:
        """Do the work."""
        raise NotImplementedError


class SimpleAgent(Agent):
    """Repeats a message in capitals; one that is empty is an error."""

    name = "simple"
    framework = "pydantic_ai"

    async def answer(self, message: str) -> AgentResponse:
        """Answer, or raise ValueError for a message without words."""
        await asyncio.sleep(0.002 * len(message.split()))
        if not message.strip():
            raise ValueError("the message is empty")
        return AgentResponse(message.upper(), 2 * len(message.split()))


class GenieAgent(Agent):
    """Grants wishes of up to five words; longer ones time out."""

    name = "genie"
    framework = "agno"

    async def answer(self, message: str) -> AgentResponse:
        """Answer, or raise TimeoutError for a wish that is too long."""
        words = message.split()
        async with asyncio.timeout(0.1):
            await asyncio.sleep(0.005 * len(words) if len(words) <= 5 else 1.0)  # noqa: PLR2004 - see the docstring
        return AgentResponse(f"granted: {message}", 3 * len(words))


AGENTS: dict[str, type[Agent]] = {agent.name: agent for agent in (SimpleAgent, GenieAgent)}
