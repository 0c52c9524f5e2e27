"""Adds the values that are bound with structlog's contextvars on the calling thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from structlog.contextvars import get_contextvars

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger


def merge_context(_logger: WrappedLogger, _method_name: str, event_dict: EventDict) -> EventDict:
    """Return the event with the bound values, which its own fields override.

    A bound `span_id` is the enclosing span's. It becomes `parent_span_id`, unless the event has a parent of its own,
    is that span itself, or belongs to another trace.

    Args:
        _logger: Not used; structlog passes it to each processor.
        _method_name: Not used, likewise.
        event_dict: The event.

    Returns:
        The event itself if nothing is bound, else a new dict.
    """
    bound = get_contextvars()
    if not bound:
        return event_dict
    span_id = bound.pop("span_id", None)
    trace_id = event_dict.get("trace_id")
    if trace_id is not None and not _same(trace_id, bound.get("trace_id")):
        bound.pop("parent_span_id", None)
    elif span_id is not None and not _same(event_dict.get("span_id"), span_id):
        bound["parent_span_id"] = span_id
    return {**bound, **event_dict}


def _same(one: object, other: object) -> bool:
    return type(one) is str and type(other) is str and one == other  # another object's __eq__ may raise
