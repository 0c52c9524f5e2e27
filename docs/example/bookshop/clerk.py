"""The clerk, an agent of pydantic-ai with a list of books. Its model is a function, so it needs no network."""

from __future__ import annotations

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from automagik_telemetry import instrument

COPIES = {"dune": 4, "emma": 1, "ulysses": 0}


def think(messages: list[ModelMessage], _info: AgentInfo) -> ModelResponse:
    """Replace a model: call the tool to find a book, then return the result."""
    match messages[-1].parts[-1]:
        case UserPromptPart(content=question):
            return ModelResponse(parts=[ToolCallPart("find_book", {"title": str(question)})])
        case ToolReturnPart(content=found):
            return ModelResponse(parts=[TextPart(str(found))])
    raise ValueError("unexpected message")


clerk = instrument(Agent(FunctionModel(think), name="clerk"))


@clerk.tool_plain
def find_book(title: str) -> str:
    """Return the number of copies of a book. Raises LookupError for an unknown book."""
    if title not in COPIES:
        raise LookupError(f"nobody here has heard of {title!r}")
    return f"{title}, {COPIES[title]} in stock"
