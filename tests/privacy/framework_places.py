"""Agents of pydantic-ai and agno as places: names, questions, answers, tools, errors and ids that are private."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agno.agent import Agent as AgnoAgent
from agno.media import Image
from agno.tools.function import Function
from pydantic_ai import Agent, BinaryContent, ImageUrl, ModelRetry, Tool
from pydantic_ai.messages import ModelResponse, TextPart, ThinkingPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from automagik_telemetry.integrations import agno, pydantic_ai
from tests.automagik_telemetry.integrations.agno.agno_agents import Offline
from tests.privacy.place import place

if TYPE_CHECKING:
    from agno.models.response import ModelResponse as AgnoResponse

    from tests.privacy.places import World

_IDS = ("session_id", "user_id")


def _failure(text: str) -> Exception:
    """Return an exception whose class and message hold the text."""
    kind: type[Exception] = type(text.replace("\0", ""), (Exception,), {})
    return kind(text)


def _pydantic_ai(world: World, text: str, fails: Any = None, of: str = "") -> None:
    """Run an agent that has the text in every possible place, and whose model or tool fails."""

    def tool(argument: str) -> str:
        if of == "tool":
            raise fails
        return argument + text

    def answer(messages: Any, _info: AgentInfo) -> ModelResponse:
        if of == "model":
            raise fails
        if len(messages) > 1:
            return ModelResponse([TextPart(text), ThinkingPart(text)])
        return ModelResponse([ToolCallPart("tool" + text, {"argument": text})], provider_details={text: text})

    model = FunctionModel(answer, model_name=f"gpt-4o/{text}")
    tools = [Tool(tool, name="tool" + text, description=text)]
    agent = Agent(model, name=text, instructions=text, system_prompt=text, tools=tools, retries=0)
    asked: list[Any] = [text, ImageUrl(f"https://{text}"), BinaryContent(text.encode(), media_type="image/png")]
    with contextlib.suppress(Exception):
        world.loop.run(pydantic_ai.instrument(agent).run(asked, metadata=dict.fromkeys(_IDS, text)))


place("run of pydantic-ai")(_pydantic_ai)
place("run of pydantic-ai with a model that fails")(
    lambda world, text: _pydantic_ai(world, text, _failure(text), "model")
)
place("run of pydantic-ai with a tool that fails")(
    lambda world, text: _pydantic_ai(world, text, _failure(text), "tool")
)
place("run of pydantic-ai with a tool that is tried again")(
    lambda world, text: _pydantic_ai(world, text, ModelRetry(text), "tool")
)


@dataclass
class _Answering(Offline):
    """A model that answers with a text, after the call of a tool with it."""

    text: str = ""

    def _answer(self, messages: list[Any], tools: list[Any] | None) -> AgnoResponse:
        response = super()._answer(messages, tools)
        if response.content:
            response.content = response.reasoning_content = self.text
        for call in response.tool_calls or ():
            call["id"] = self.text
        return response


def _agno(text: str, fails: Any = None, of: str = "", **options: Any) -> None:
    """Run an agent that has the text in every possible place, and whose model or tool fails."""

    def tool() -> str:
        if of == "tool":
            raise fails
        return text

    model = _Answering(id=f"gpt-4o/{text}", provider=text, text=text, failure=fails if of == "model" else None)
    tools = [Function(name="tool" + text, description=text, entrypoint=tool)]
    agent = AgnoAgent(name=text, model=model, tools=tools, description=text, telemetry=False)
    images = [Image(url=f"https://{text}"), Image(content=text.encode())]
    with contextlib.suppress(Exception):
        result = agno.instrument(agent).run(text, images=images, metadata={text: text}, **options)
        list(result if options else ())


@place("run of agno")
def _(_world: World, text: str) -> None:
    _agno(text, session_id=text, user_id=text)


@place("run of agno that is streamed")
def _(_world: World, text: str) -> None:
    _agno(text, stream=True, stream_events=True)


place("run of agno with a model that fails")(lambda _, text: _agno(text, _failure(text), "model", stream=True))
place("run of agno with a tool that fails")(lambda _, text: _agno(text, _failure(text), "tool"))
