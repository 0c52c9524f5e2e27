"""A piece of work that other work may be part of: its ids, and how they are bound to the code that runs inside."""

from __future__ import annotations

import contextlib
import re
import sys
from contextvars import Context
from typing import TYPE_CHECKING, Any

import structlog

from automagik_processors._ids import FreshIds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextvars import ContextVar
    from typing import Self

_fresh = FreshIds()
new_ids = _fresh.new
"""Returns the ids of a new trace and its first span."""
new_span_id = _fresh.new_span
"""Returns a span id that nothing else has."""
# https://www.w3.org/TR/trace-context/: version 00 has four parts, a later one may have more, and ff is none.
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


# structlog's own variables: its functions look them up by name among all that are bound, at ten times the cost.
_TRACE, _SPAN, _PARENT = (
    Context().run(structlog.contextvars.bind_contextvars, **{name: ""})[name].var
    for name in ("trace_id", "span_id", "parent_span_id")
)


def is_bound() -> bool:
    """Return whether the surroundings are part of a trace or a span."""
    return _bound(_TRACE) is not None or _bound(_SPAN) is not None


class SpanContext:
    """Ids: the trace of the surroundings, else of the remote caller, else a new one; and the parent likewise.

    `trace_id` are 32 hex digits, `span_id` and `parent_span_id` 16; the parent is None for a trace's first span.
    `remote` are the caller's trace id and span id, see `traceparent`.
    """

    __slots__ = ("parent_span_id", "span_id", "trace_id")
    trace_id: str
    span_id: str
    parent_span_id: str | None

    def __init__(self, remote: tuple[str, str] | None = None) -> None:
        trace_id, parent = _bound(_TRACE), _bound(_SPAN)
        if not trace_id:
            trace_id, parent = remote or (new_span_id() + new_span_id(), parent)
        self.trace_id = trace_id
        self.span_id = new_span_id()
        self.parent_span_id = parent or None

    @classmethod
    def part_of(cls, trace_id: str, parent_span_id: str | None, span_id: str | None = None) -> Self:
        """Return a new span of a known trace, whatever is bound here."""
        span = cls.__new__(cls)
        span.trace_id = trace_id
        span.span_id = span_id or new_span_id()
        span.parent_span_id = parent_span_id or None
        return span

    @property
    def ids(self) -> dict[str, str]:
        """The ids as the fields of the event that the span is."""
        ids = {"trace_id": self.trace_id, "span_id": self.span_id}
        if self.parent_span_id is not None:
            ids["parent_span_id"] = self.parent_span_id
        return ids

    def within(self) -> BoundSpanContext:
        """Return a block in which everything logged, and every run, is part of this."""
        return BoundSpanContext(self)


class BoundSpanContext:
    """A `with` block in which a span's ids are bound."""

    __slots__ = ("_parent", "_span", "_tokens")

    def __init__(self, span: SpanContext) -> None:
        self._span = span

    def __enter__(self) -> None:
        """Bind."""
        span = self._span
        parent = span.parent_span_id
        self._tokens = _TRACE.set(span.trace_id), _SPAN.set(span.span_id)
        self._parent = None if parent is None else _PARENT.set(parent)

    def __exit__(self, *_: object) -> None:
        """Bind again what was bound before."""
        trace, span = self._tokens
        _TRACE.reset(trace)
        _SPAN.reset(span)
        if self._parent is not None:
            _PARENT.reset(self._parent)


def _bound(variable: ContextVar[Any]) -> Any:  # noqa: ANN401 - an application may have bound anything
    value = variable.get(None)
    return None if value is ... else value  # which structlog sets where something was unbound


def traceparent(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str] | None:
    """Return the trace id and span id of a W3C `traceparent`, or None if there is not exactly one, and valid."""
    values = [value for name, value in headers if name == b"traceparent"]
    if len(values) != 1:
        return None
    found = _TRACEPARENT.fullmatch(values[0].strip(b" \t"))
    if found is None or (found[1] == b"00" and found[4] is not None):
        return None
    return found[2].decode(), found[3].decode()


@contextlib.contextmanager
def join_application_trace() -> Iterator[None]:
    """Return a block in which what begins is part of the trace that the application has open.

    A trace that is bound already counts before it, for that one's spans are ours. Nothing is imported: an
    application that has not imported OpenTelemetry has no span.
    """
    ids = {} if "trace_id" in structlog.contextvars.get_contextvars() else application_ids()
    with structlog.contextvars.bound_contextvars(**ids):
        yield


def application_ids() -> dict[str, str]:
    """Return the `trace_id` and `span_id` of the application's current span; nothing without a valid one."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return {}
    try:
        span = api.get_current_span().get_span_context()
        valid = span.is_valid
    except Exception:  # noqa: BLE001 - the application's own tracing may be anything, and is no reason to fail
        return {}
    return {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"} if valid else {}
