"""Bounds on what spans hold when their trace is logged, as plain data; and about how much a value holds before."""

from __future__ import annotations

from typing import Final

from automagik_processors._bounded import Bounded

MAX_DEPTH: Final = 12
"""Levels of containers in one value."""
MAX_NODES: Final = 50_000
"""Values in one trace."""
MAX_TEXT: Final = 100_000
"""Characters of one text."""
MAX_TRACE: Final = 1_000_000
"""Characters of all texts of one trace."""


def plain_trace() -> Bounded:
    """Return what turns the values of one trace into plain data.

    Of an object it keeps the name of its class: what else it would say of itself, nobody has chosen to send.
    """
    return Bounded(depth=MAX_DEPTH, nodes=MAX_NODES, text=MAX_TEXT, total=MAX_TRACE, unknown=_class_name)


def _class_name(value: object) -> str:
    return f"[{type(value).__name__}]"


def weight(value: object) -> int:
    """Return about how many characters a value holds, looking at no more than a few hundred parts of it."""
    kind = type(value)
    if kind is str:
        return len(value)  # type: ignore[arg-type] # known by its type
    total, left, waiting = 0, 300, [value]
    while waiting and left:
        left -= 1
        item = waiting.pop()
        kind = type(item)
        if kind is str or kind is bytes:
            total += len(item)  # type: ignore[arg-type] # known by its type
        elif kind is list or kind is tuple:
            waiting.extend(item)  # type: ignore[arg-type] # known by its type
        elif kind is dict:
            waiting.extend(item.values())  # type: ignore[attr-defined] # known by its type
        else:
            total += 16
    return total + 100 * len(waiting)
