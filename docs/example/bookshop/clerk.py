"""The clerk, an agent of pydantic-ai, knows every book of the shop. Its model is a function, so it needs no network."""

from __future__ import annotations

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from automagik_telemetry.integrations.pydantic_ai import instrument

COPIES = {"dune": 4, "emma": 1, "ulysses": 0}


def think(messages: list[ModelMessage], _info: AgentInfo) -> ModelResponse:
    """Stand in for a model: look the book up, then say what was found."""
    match messages[-1].parts[-1]:
        case UserPromptPart(content=question):
            return ModelResponse(parts=[ToolCallPart("find_book", {"title": str(question)})])
        case ToolReturnPart(content=found):
            return ModelResponse(parts=[TextPart(str(found))])
    raise ValueError("a message that nobody sends")


clerk = instrument(Agent(FunctionModel(think), name="clerk"))


@clerk.tool_plain
def find_book(title: str) -> str:
    """Return how many copies of a book there are. Raises LookupError for a book that nobody has heard of."""
    if title not in COPIES:
        raise LookupError(f"nobody here has heard of {title!r}")
    return f"{title}, {COPIES[title]} in stock"
