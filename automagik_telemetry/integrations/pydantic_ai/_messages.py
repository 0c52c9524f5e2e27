"""pydantic-ai's messages as chat messages in OpenAI's shape."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from automagik_telemetry.integrations import _content as content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models import ModelRequestContext


class Conversation:
    """The messages of one run as chat messages; each is made into one once, however many requests repeat it."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[ModelMessage, list[dict[str, Any]]]] = {}

    def request(self, context: ModelRequestContext) -> list[dict[str, Any]]:
        """Return all that a request sends: instructions, history and what is new."""
        parts = getattr(context.model_request_parameters, "instruction_parts", None) or ()
        instructions = [content.message("system", part.content) for part in parts]
        return [*instructions, *(one for message in context.messages for one in self._chat(message))]

    def response(self, response: ModelResponse) -> list[dict[str, Any]]:
        """Return what a model answered."""
        return self._chat(response)

    def _chat(self, message: ModelMessage) -> list[dict[str, Any]]:
        made = self._made.get(id(message))
        if made is None:
            made = self._made[id(message)] = (message, chat(message))
        return made[1]


def chat(message: ModelMessage) -> list[dict[str, Any]]:
    """Return a request's parts as a message each, and a response as one."""
    if message.kind == "response":
        return [_assistant(message.parts)]
    made = []
    for part in message.parts:
        make = _PARTS.get(part.part_kind)
        with contextlib.suppress(Exception):  # a part of another version's shape
            if make is not None:
                made.append(make(part))
    return made


def prompt(value: Any) -> Any:  # noqa: ANN401 - a text, or messages
    """Return what a run was asked."""
    return value if value is None or isinstance(value, str) else [content.message("user", _user(value))]


def _assistant(parts: Iterable[Any]) -> dict[str, Any]:
    texts, thoughts, calls = [], [], []
    for part in parts:
        if part.part_kind == "text":
            texts.append(part.content)
        elif part.part_kind == "thinking":
            thoughts.append(part.content)
        elif part.part_kind in ("tool-call", "builtin-tool-call"):
            calls.append(content.tool_call(part.tool_name, part.args, part.tool_call_id))
        elif part.part_kind == "builtin-tool-return":
            texts.append(f"[{part.tool_name}: {content.text(part.content)}]")
        elif part.part_kind == "file":
            texts.append(content.media(part.content.media_type, len(part.content.data))["text"])
    said = "\n".join(texts) if texts else None
    return content.message("assistant", said, tool_calls=calls, reasoning_content="\n".join(thoughts))


def _user(value: Any) -> Any:  # noqa: ANN401 - a text, or pieces
    if isinstance(value, str):
        return value
    return [piece for item in value if (piece := _piece(item)) is not None]


def _piece(item: Any) -> dict[str, Any] | None:  # noqa: ANN401 - pydantic-ai's many kinds
    """Return a piece of what a user said; None for what is no content."""
    kind = getattr(item, "kind", None)
    if isinstance(item, str):
        return content.part(item)
    if kind in ("text-content", "structured-content"):
        return content.part(content.text(item.content))
    if kind == "image-url":
        return content.image(item.url)
    if kind == "binary":
        return content.media(item.media_type, len(item.data))
    if kind == "uploaded-file":
        return content.media("file", reference=item.file_id)
    return content.media(str(kind).removesuffix("-url"), reference=item.url) if hasattr(item, "url") else None


def _returned(part: Any) -> dict[str, Any]:  # noqa: ANN401 - see above
    return content.message("tool", _result(part.content), tool_call_id=part.tool_call_id, name=part.tool_name)


def _result(value: Any) -> str:  # noqa: ANN401 - a tool's own
    """Return what a tool gave, as a text; of files that it gave, what they are."""
    items = value if isinstance(value, list | tuple) else [value]
    if any(getattr(item, "kind", None) == "binary" for item in items):
        return "\n".join(piece["text"] if (piece := _media(item)) else content.text(item) for item in items)
    return content.text(value)


def _media(item: Any) -> dict[str, Any] | None:  # noqa: ANN401 - see above
    return _piece(item) if getattr(item, "kind", None) == "binary" else None


def _retry(part: Any) -> dict[str, Any]:  # noqa: ANN401 - see above
    """Return what the model was told to do better, in answer to a tool's call or to its text."""
    name = getattr(part, "tool_name", None)
    said = content.text(part.content)
    if name is None:
        return content.message("user", said)
    return content.message("tool", said, tool_call_id=part.tool_call_id, name=name)


_PARTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "system-prompt": lambda part: content.message("system", part.content),
    "instruction": lambda part: content.message("system", part.content),
    "user-prompt": lambda part: content.message("user", _user(part.content)),
    "tool-return": _returned,
    "retry-prompt": _retry,
    "retry-feedback": _retry,
}
