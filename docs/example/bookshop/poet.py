"""The poet, an agent of agno. Its model formats a verse, so it needs no network."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agno.agent import Agent
from agno.metrics import MessageMetrics
from agno.models.base import Model
from agno.models.response import ModelResponse

from automagik_telemetry import instrument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from agno.models.message import Message

MAX_WORDS = 8


@dataclass
class Verses(Model):
    """Replaces a model: it sleeps for each word, and raises TimeoutError for too many."""

    id: str = "offline"

    def invoke(self, messages: list[Message], *_: object, **__: object) -> ModelResponse:
        """Return a verse."""
        time.sleep(self._seconds(messages))
        return self._verse(messages)

    async def ainvoke(self, messages: list[Message], *_: object, **__: object) -> ModelResponse:
        """Return a verse, without blocking the event loop."""
        await asyncio.sleep(self._seconds(messages))
        return self._verse(messages)

    def invoke_stream(self, messages: list[Message], *_: object, **__: object) -> Iterator[ModelResponse]:
        """Yield a verse in one piece."""
        yield self.invoke(messages)

    async def ainvoke_stream(self, messages: list[Message], *_: object, **__: object) -> AsyncIterator[ModelResponse]:
        """Yield a verse in one piece."""
        yield await self.ainvoke(messages)

    def _seconds(self, messages: list[Message]) -> float:
        return 0.004 * len(str(messages[-1].content).split())

    def _verse(self, messages: list[Message]) -> ModelResponse:
        words = str(messages[-1].content).split()
        if len(words) > MAX_WORDS:
            raise TimeoutError("that is no verse any more")
        usage = MessageMetrics(input_tokens=len(words), output_tokens=5, total_tokens=len(words) + 5)
        return ModelResponse(content=f"O {' '.join(words)}: on which shelf do you dream?", response_usage=usage)

    def _parse_provider_response(self, response: ModelResponse, **_: object) -> ModelResponse:
        return response

    def _parse_provider_response_delta(self, response: ModelResponse) -> ModelResponse:
        return response


logging.getLogger("agno").addFilter(lambda _record: False)  # failures are reported to the caller
# `telemetry` is agno's own, which the shop turns off.
poet = instrument(Agent(model=Verses(), name="poet", telemetry=False))
