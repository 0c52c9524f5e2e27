"""The messages of successive requests to a model: each request shows those since the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from automagik_telemetry._failsafe import attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MESSAGES_BEFORE: Final = "automagik.messages_before"
"""The attribute that has the number of messages of the last request that a request repeats."""
_MAX_DEPTH: Final = 6
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})


class Messages(NamedTuple):
    """The input of a request: all messages that it sends, of any kind, and their form as chat messages."""

    items: Sequence[Any]
    convert: Callable[[Any], list[Any]]
    """Returns the chat messages of one item."""


class Conversation:
    """The messages of the last request. Messages of the next one are converted only if they are new."""

    __slots__ = ("_items", "_sizes")

    def __init__(self) -> None:
        self._items: Sequence[Any] = ()
        self._sizes: list[int] = []

    def advance(self, messages: Messages) -> tuple[list[Any], int]:
        """Return the chat messages of a request since the last one, and the number of those before.

        A request that repeats all messages shows the last one.
        """
        items, convert = messages
        before, end = 0, min(len(self._items), len(items) - 1)
        while before < end and _is_same(self._items[before], items[before], _MAX_DEPTH):
            before += 1
        new = [attempt(convert, item, default=[]) for item in items[before:]]
        self._items = items
        self._sizes = [*self._sizes[:before], *map(len, new)]
        return [message for one in new for message in one], sum(self._sizes[:before])


def _is_same(one: object, other: object, depth: int) -> bool:
    """Return whether two messages are the same object or plain data with the same content.

    No method of another class is called.
    """
    if one is other:
        return True
    kind = type(one)
    if kind is not type(other) or depth < 0:
        return False
    if kind in _PLAIN:
        return one == other
    if kind is dict:
        return (
            len(one) == len(other)  # type: ignore[arg-type] # known by their type, here and below
            and all(
                type(key) is str and key in other and _is_same(value, other[key], depth - 1)  # type: ignore[operator, index]
                for key, value in one.items()  # type: ignore[attr-defined]
            )
        )
    if kind is list:
        return len(one) == len(other) and all(map(_is_same, one, other, [depth - 1] * len(one)))  # type: ignore[arg-type, call-overload]
    return False


def is_chat(value: object) -> bool:
    """Return whether a value is a list of messages, each of which has a role."""
    return type(value) is list and bool(value) and all(type(item) is dict and "role" in item for item in value)
