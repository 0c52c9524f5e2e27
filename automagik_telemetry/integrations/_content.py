"""Chat messages in OpenAI's shape: what the frameworks' own messages have in common.

Media are told by reference, or by their kind and size; their bytes are never kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from automagik_processors._bounded_json import dumps

_MAX_URL_CHARACTERS = 2_048
_MAX_CHARACTERS = 1_000_000
"""Characters kept here: as many as are searched for secrets, for half of one is not known; what is sent is less."""
_ROLES = {"developer": "system", "model": "assistant", "human": "user", "ai": "assistant"}
_KNOWN = frozenset({"system", "user", "assistant", "tool", "function"})


def message(role: object, content: object, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return one message; of what else it has, all that is not None or empty."""
    known = _ROLES.get(str(role), str(role))
    return {
        "role": known if known in _KNOWN else "unknown",
        "content": content,
        **{key: value for key, value in more.items() if value},
    }


def tool_call(name: object, arguments: object, call_id: object) -> dict[str, Any]:
    """Return a call that a model asked for; its arguments are JSON, as the model wrote them."""
    text = arguments if isinstance(arguments, str) else "{}" if arguments is None else _json(arguments)
    return {"id": str(call_id or ""), "type": "function", "function": {"name": str(name), "arguments": text}}


def text(value: object) -> str:
    """Return any content as a text: JSON if it is none."""
    return value if isinstance(value, str) else _json(without_bytes(value))


def part(value: str) -> dict[str, Any]:
    """Return a piece of content that is a text."""
    return {"type": "text", "text": value}


def image(url: str) -> dict[str, Any]:
    """Return a piece of content that is an image, by its address; one that holds the image itself is told as that."""
    if is_inline(url):
        return part(inline(url))
    return {"type": "image_url", "image_url": {"url": url}}


def media(kind: object, size: int | None = None, reference: object = None) -> dict[str, Any]:
    """Return what stands for a medium: its kind, and its size in bytes or where it is."""
    said = f"{size:,} bytes" if size is not None else str(reference or "no reference")
    return part(f"[{kind}: {inline(said) if is_inline(said) else said}]")


def is_inline(url: str) -> bool:
    """Return whether an address holds the content itself."""
    return url.startswith("data:") or len(url) > _MAX_URL_CHARACTERS


def inline(url: str) -> str:
    """Return what stands for such an address."""
    return f"[{url[:64].partition(';')[0].partition(',')[0]}: {len(url):,} characters]"


def without_bytes(value: object) -> object:
    """Return JSON without the media that it holds inline, in any of the shapes that providers have for them."""
    if isinstance(value, str):
        return inline(value) if value.startswith("data:") else value
    if isinstance(value, Mapping):
        return {
            key: f"[{len(item):,} characters]"
            if key in ("data", "b64_json", "file_data") and isinstance(item, str)
            else without_bytes(item)
            for key, item in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [without_bytes(item) for item in value]
    return value


def _json(value: object) -> str:
    return dumps(value, _MAX_CHARACTERS, _MAX_CHARACTERS)
