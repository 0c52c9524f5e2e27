"""Converts any Python value to JSON of bounded size, with a mark for each cut."""

from __future__ import annotations

from typing import Final

import orjson

from automagik_processors._bounded import Bounded, Bounds

MAX_DEPTH: Final = 16
"""Maximum levels of containers. A mark replaces deeper ones."""

MAX_NODES: Final = 10_000
"""Maximum number of values within one. A mark replaces further ones."""

MAX_TEXT: Final = 32_768
"""Maximum number of characters of one string. A mark has the number of those cut."""

MAX_VALUE: Final = 262_144
"""Maximum number of characters of all strings within one value."""


def dumps(value: object, max_value: int = MAX_VALUE, max_text: int = MAX_TEXT) -> str:
    """Return any value as JSON; never raise. See `dumps_bounded`."""
    return dumps_bounded(value, max_value, max_text)[0]


def dumps_bounded(value: object, max_value: int = MAX_VALUE, max_text: int = MAX_TEXT) -> tuple[str, int]:
    """Return any value as JSON, and the approximate number of characters that were cut; never raise.

    Values without a JSON form become strings: NaN, ints beyond 64 bits, dates, exceptions, and the str of any object.
    Of bytes only the number is kept. A string has at most `max_text` characters, and all together `max_value`.
    """
    bounded = Bounded(Bounds(MAX_DEPTH, MAX_NODES, text=max_text, total=max_value))
    return orjson.dumps(bounded.value(value)).decode(), bounded.lost
