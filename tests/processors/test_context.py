"""The values that structlog's contextvars add to an event."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars

from automagik_processors import merge_context

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(autouse=True)
def _nothing_bound() -> Iterator[None]:
    clear_contextvars()
    yield
    clear_contextvars()


def test_nothing_bound_changes_nothing() -> None:
    """Without anything bound the very same event goes on."""
    event = {"event": "e", "a": 1}
    assert merge_context(None, "info", event) is event
    assert event == {"event": "e", "a": 1}


def test_own_fields_win() -> None:
    """Bound values are added to the event without replacing its fields or changing the caller's dict."""
    event = {"event": "e", "a": 1}
    with bound_contextvars(a=2, b=3, event="other"):
        assert merge_context(None, "info", event) == {"event": "e", "a": 1, "b": 3}
    assert event == {"event": "e", "a": 1}


def test_the_enclosing_span_becomes_the_parent() -> None:
    """A bound span id becomes the parent's, in place of the bound span's own parent; the trace joins."""
    with bound_contextvars(trace_id=TRACE, span_id="1" * 16, parent_span_id="2" * 16):
        merged = merge_context(None, "info", {"event": "e"})
    assert merged == {"event": "e", "trace_id": TRACE, "parent_span_id": "1" * 16}


@pytest.mark.parametrize(
    ("own", "parent"),
    [
        ({"parent_span_id": "3" * 16}, "3" * 16),
        ({"span_id": "3" * 16}, "1" * 16),
        ({"span_id": "1" * 16}, "2" * 16),
        ({"trace_id": TRACE}, "1" * 16),
        ({"trace_id": "5" * 32}, None),
    ],
    ids=["own parent", "own span", "is that span", "same trace", "other trace"],
)
def test_an_events_own_place_in_a_trace_counts(own: dict[str, str], parent: str | None) -> None:
    """An event keeps its own parent, is not its own parent, and has none from another trace."""
    with bound_contextvars(trace_id=TRACE, span_id="1" * 16, parent_span_id="2" * 16):
        merged = merge_context(None, "info", {"event": "e", **own})
    assert merged == {"event": "e", "trace_id": TRACE, **own, **({"parent_span_id": parent} if parent else {})}


def test_another_threads_context_stays_there() -> None:
    """Only values bound on the calling thread are added."""
    thread = threading.Thread(target=bind_contextvars, kwargs={"a": 1})
    thread.start()
    thread.join()
    assert merge_context(None, "info", {"event": "e"}) == {"event": "e"}
