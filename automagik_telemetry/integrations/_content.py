"""Chat messages in OpenAI's format: the common parts of the frameworks' messages.

Media are described by reference, or by their kind and size. Their bytes are never kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from automagik_processors._bounded import CUT
from automagik_processors._bounded_json import dumps

_MAX_ITEMS = 10_000
"""Maximum number of items of one value, on all levels, that are examined."""
_MAX_URL_CHARACTERS = 2_048
_MAX_CHARACTERS = 1_000_000
"""Characters kept here. All are searched for secrets, because half a secret is not recognized; fewer are sent."""
_ROLES = {"developer": "system", "model": "assistant", "human": "user", "ai": "assistant"}
_KNOWN = frozenset({"system", "user", "assistant", "tool", "function"})


def message(role: object, content: object, **more: Any) -> dict[str, Any]:
    """Return one message, with the other values that are not None or empty."""
    known = _ROLES.get(str(role), str(role))
    return {
        "role": known if known in _KNOWN else "unknown",
        "content": content,
        **{key: value for key, value in more.items() if value},
    }


def tool_call(name: object, arguments: object, call_id: object) -> dict[str, Any]:
    """Return a call requested by a model; its arguments are JSON, as the model wrote them."""
    text = arguments if isinstance(arguments, str) else "{}" if arguments is None else _json(arguments)
    return {"id": str(call_id or ""), "type": "function", "function": {"name": str(name), "arguments": text}}


def text(value: object) -> str:
    """Return any content as a text, encoded as JSON if it is not a text."""
    return value if isinstance(value, str) else _json(without_bytes(value))


def part(value: str) -> dict[str, Any]:
    """Return a text part of content."""
    return {"type": "text", "text": value}


def image(url: str) -> dict[str, Any]:
    """Return an image part of content by its URL. An inline image is described instead."""
    if is_inline(url):
        return part(inline(url))
    return {"type": "image_url", "image_url": {"url": url}}


def media(kind: object, size: int | None = None, reference: object = None) -> dict[str, Any]:
    """Return the description of a medium: its kind, and its size in bytes or its location."""
    said = f"{size:,} bytes" if size is not None else str(reference or "no reference")
    return part(f"[{kind}: {inline(said) if is_inline(said) else said}]")


def is_inline(url: str) -> bool:
    """Return whether a URL holds the content itself."""
    return url.startswith("data:") or len(url) > _MAX_URL_CHARACTERS


def inline(url: str) -> str:
    """Return the description that replaces such a URL."""
    return f"[{url[:64].partition(';')[0].partition(',')[0]}: {len(url):,} characters]"


def first(items: Iterable[Any]) -> Iterator[Any]:
    """Yield the first items of the application's value, which may be endless."""
    return islice(items, _MAX_ITEMS)


def without_bytes(value: object) -> object:
    """Return JSON without inline media, in any of the formats that providers use."""
    return _without_bytes(value, iter(range(_MAX_ITEMS)))


def _without_bytes(value: object, left: Iterator[int]) -> object:
    """Return the same, with a mark once no items are `left` to examine, because a value may contain itself."""
    if next(left, None) is None:
        return CUT
    if isinstance(value, str):
        return inline(value) if value.startswith("data:") else value
    if isinstance(value, Mapping):
        return {
            key: f"[{len(item):,} characters]"
            if key in ("data", "b64_json", "file_data") and isinstance(item, str)
            else _without_bytes(item, left)
            for key, item in first(value.items())
        }
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [_without_bytes(item, left) for item in first(value)]
    return value


def _json(value: object) -> str:
    return dumps(value, _MAX_CHARACTERS, _MAX_CHARACTERS)
