"""pydantic-ai's messages as chat messages in OpenAI's shape."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from automagik_telemetry.integrations import _content as content
from automagik_telemetry.tracing._conversation import Messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.models import ModelRequestContext


def request(context: ModelRequestContext) -> Messages:
    """Return everything that a request sends: instructions, history and new messages."""
    parts = getattr(context.model_request_parameters, "instruction_parts", None) or ()
    return Messages([*(part.content for part in parts), *context.messages], _sent)


def _sent(item: Any) -> list[dict[str, Any]]:
    return [content.message("system", item)] if isinstance(item, str) else chat(item)


def chat(message: ModelMessage) -> list[dict[str, Any]]:
    """Return a request's parts as a message each, and a response as one."""
    if message.kind == "response":
        return [_assistant(message.parts)]
    made = []
    for part in message.parts:
        make = _PARTS.get(part.part_kind)
        with contextlib.suppress(Exception):  # a part with another version's attributes
            if make is not None:
                made.append(make(part))
    return made


def prompt(value: Any) -> Any:
    """Return the run's input."""
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


def _user(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return [piece for item in content.first(value) if (piece := _piece(item)) is not None]


def _piece(item: Any) -> dict[str, Any] | None:
    """Return a part of a user's message; None if it is not content."""
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


def _returned(part: Any) -> dict[str, Any]:
    return content.message("tool", _result(part.content), tool_call_id=part.tool_call_id, name=part.tool_name)


def _result(value: Any) -> str:
    """Return the result of a tool as a text; files are described."""
    items = list(content.first(value)) if isinstance(value, list | tuple) else [value]
    if any(getattr(item, "kind", None) == "binary" for item in items):
        return "\n".join(piece["text"] if (piece := _media(item)) else content.text(item) for item in items)
    return content.text(value)


def _media(item: Any) -> dict[str, Any] | None:
    return _piece(item) if getattr(item, "kind", None) == "binary" else None


def _retry(part: Any) -> dict[str, Any]:
    """Return the feedback to the model about a tool call or its text."""
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
