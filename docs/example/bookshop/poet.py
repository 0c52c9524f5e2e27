"""The poet, an agent of agno, has a verse for everything. Its model counts words, so it needs no network either."""

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

from automagik_telemetry.integrations.agno import instrument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from agno.models.message import Message

MOST_WORDS = 8


@dataclass
class Verses(Model):
    """Stands in for a model: takes its time with each word, and gives up where there are too many."""

    id: str = "offline"

    def invoke(self, messages: list[Message], *_: object, **__: object) -> ModelResponse:
        """Answer."""
        time.sleep(self._seconds(messages))
        return self._verse(messages)

    async def ainvoke(self, messages: list[Message], *_: object, **__: object) -> ModelResponse:
        """Answer, and let others run in the meantime."""
        await asyncio.sleep(self._seconds(messages))
        return self._verse(messages)

    def invoke_stream(self, messages: list[Message], *_: object, **__: object) -> Iterator[ModelResponse]:
        """Answer in one piece."""
        yield self.invoke(messages)

    async def ainvoke_stream(self, messages: list[Message], *_: object, **__: object) -> AsyncIterator[ModelResponse]:
        """Answer in one piece."""
        yield await self.ainvoke(messages)

    def _seconds(self, messages: list[Message]) -> float:
        return 0.004 * len(str(messages[-1].content).split())

    def _verse(self, messages: list[Message]) -> ModelResponse:
        words = str(messages[-1].content).split()
        if len(words) > MOST_WORDS:
            raise TimeoutError("that is no verse any more")
        usage = MessageMetrics(input_tokens=len(words), output_tokens=5, total_tokens=len(words) + 5)
        return ModelResponse(content=f"O {' '.join(words)}: on which shelf do you dream?", response_usage=usage)

    def _parse_provider_response(self, response: ModelResponse, **_: object) -> ModelResponse:
        return response

    def _parse_provider_response_delta(self, response: ModelResponse) -> ModelResponse:
        return response


logging.getLogger("agno").addFilter(lambda _record: False)  # whoever asks the poet is told of failures
# The last word is of agno's own telemetry, which the shop does without.
poet = instrument(Agent(model=Verses(), name="poet", telemetry=False))
