"""The places that may have private data, and the kinds of values there."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

Place = Callable[[Any, str], None]
PLACES: dict[str, Place] = {}
"""The functions that plant a text in a `World`, by the name of the place."""


def place(name: str) -> Callable[[Place], Place]:
    """Enter a place into the list."""

    def enter(function: Place) -> Place:
        PLACES[name] = function
        return function

    return enter


def entry(name: str, function: Place) -> None:
    """Enter a place that is one expression."""
    PLACES[name] = function


class Text(str):
    """A text with methods of its own."""

    __slots__ = ()


class Shown:
    """An object that shows a text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


HOLDERS: tuple[Callable[[str], Any], ...] = (
    lambda text: text,
    lambda text: f"agent.{text}",
    Text,
    lambda text: Enum("Choice", {"ONE": text}).ONE,  # type: ignore[attr-defined]
    lambda text: text.encode(),
    lambda text: [text],
    lambda text: {text: {"a": text}},
    lambda text: (1, {text}),
    ValueError,
    Shown,
    lambda text: Path(text.replace("\0", "")),
    lambda text: int.from_bytes(text.encode()),
)
"""The containers in which a field has the text."""
