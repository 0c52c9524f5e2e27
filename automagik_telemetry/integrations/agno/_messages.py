"""agno's messages as chat messages in OpenAI's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from automagik_telemetry.integrations import _content as content
from automagik_telemetry.tracing._conversation import Messages

if TYPE_CHECKING:
    from collections.abc import Iterable

_MEDIA = ("images", "audio", "videos", "files")


def request(messages: Iterable[Any]) -> Messages:
    """Return the messages that a request sends."""
    return Messages(list(content.first(messages)), lambda message: [_message(message)])


def answer(response: Any) -> list[dict[str, Any]]:
    """Return the model's answer."""
    return [
        content.message(
            "assistant",
            _content(response),
            tool_calls=_calls(response),
            reasoning_content=getattr(response, "reasoning_content", None),
        )
    ]


def prompt(value: Any, options: dict[str, Any]) -> Any:
    """Return the run's input: a text, or messages if it came with media."""
    pieces = [_medium(kind, item) for kind in _MEDIA for item in content.first(options.get(kind) or ())]
    if isinstance(value, list) and value and all(hasattr(one, "role") for one in content.first(value)):
        return [_message(one) for one in content.first(value)]
    if not pieces:
        return value if value is None or isinstance(value, str) else content.without_bytes(value)
    return [content.message("user", [content.part(content.text(value)), *pieces])]


def _message(message: Any) -> dict[str, Any]:
    return content.message(
        message.role,
        _content(message),
        tool_calls=_calls(message),
        tool_call_id=message.tool_call_id,
        name=message.tool_name if message.role == "tool" else message.name,
        reasoning_content=message.reasoning_content,
    )


def _content(message: Any) -> Any:
    said = content.without_bytes(getattr(message, "content", None))
    pieces = [_medium(kind, item) for kind in _MEDIA for item in _listed(getattr(message, kind, None))]
    if not pieces:
        return said if said is None or isinstance(said, str | list) else content.text(said)
    own = said if isinstance(said, list) else [content.part(content.text(said))] if said else []
    return [*own, *pieces]


def _listed(media: Any) -> list[Any]:
    return list(content.first(media)) if isinstance(media, list | tuple) else [media] if media else []


def _calls(message: Any) -> list[dict[str, Any]]:
    made = []
    for call in content.first(getattr(message, "tool_calls", None) or ()):
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            made.append(content.tool_call(function.get("name"), function.get("arguments"), call.get("id")))
    return made


def _medium(kind: str, item: Any) -> dict[str, Any]:
    url, data = getattr(item, "url", None), getattr(item, "content", None)
    if kind == "images" and isinstance(url, str):
        return content.image(url)
    size = len(data) if isinstance(data, bytes | str) else None
    name = getattr(item, "mime_type", None) or kind.removesuffix("s")
    return content.media(name, None if url else size, url or getattr(item, "filepath", None))
