"""Any Python value as JSON of bounded size, with a mark where something was cut."""

from __future__ import annotations

from typing import Final

import orjson

from automagik_processors._bounded import Bounded

MAX_DEPTH: Final = 16
"""How many levels of containers are kept; a mark stands for what lies deeper."""

MAX_NODES: Final = 10_000
"""How many values are kept within one; a mark stands for what follows."""

MAX_TEXT: Final = 32_768
"""How many characters of one text are kept; a mark says how many are not."""

MAX_VALUE: Final = 262_144
"""How many characters of all the texts within one value are kept."""


def dumps(value: object, max_value: int = MAX_VALUE, max_text: int = MAX_TEXT) -> str:
    """Return `value` as JSON, whatever it is; never raises.

    What JSON has no form for becomes a text: NaN, ints beyond 64 bits, dates, exceptions, any object's str. Bytes are
    never kept, only how many there were. Texts hold at most `max_text` characters, and all of them at most `max_value`.
    """
    bounds = Bounded(depth=MAX_DEPTH, nodes=MAX_NODES, text=max_text, total=max_value)
    return orjson.dumps(bounds.value(value)).decode()
