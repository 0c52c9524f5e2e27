"""IDs of spans, and their propagation to nested code and from remote callers."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import structlog

from automagik_processors._ids import FreshIds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextvars import ContextVar
    from typing import Self

P = ParamSpec("P")
R = TypeVar("R")

_fresh = FreshIds()
new_ids = _fresh.new
"""Return the IDs of a new trace and its first span."""
new_span_id = _fresh.new_span
"""Return a new span ID."""


def new_trace_id() -> str:
    """Return a new trace ID."""
    return new_span_id() + new_span_id()


# https://www.w3.org/TR/trace-context/: version 00 has four parts, a later one may have more, and ff is not valid.
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


# structlog's own variables, because its functions look them up by name at ten times the cost.
_TRACE, _SPAN, _PARENT = (
    Context().run(structlog.contextvars.bind_contextvars, **{name: ""})[name].var
    for name in ("trace_id", "span_id", "parent_span_id")
)


def is_bound() -> bool:
    """Return whether a trace or a span is bound in this context."""
    return _bound(_TRACE) is not None or _bound(_SPAN) is not None


class SpanContext:
    """IDs of a span. The trace and the parent are the remote caller's, else those bound in this context, else new.

    `trace_id` has 32 hex digits, `span_id` and `parent_span_id` have 16. The parent is None for the first span of a
    trace. `remote` are the caller's trace ID and span ID, see `traceparent`.
    """

    __slots__ = ("parent_span_id", "span_id", "trace_id")
    trace_id: str
    span_id: str
    parent_span_id: str | None

    def __init__(self, remote: tuple[str, str] | None = None) -> None:
        trace_id, parent = remote or (_bound(_TRACE), _bound(_SPAN))
        if not trace_id:
            trace_id = new_trace_id()
        self.trace_id = trace_id
        self.span_id = new_span_id()
        self.parent_span_id = parent or None

    @classmethod
    def part_of(cls, trace_id: str, parent_span_id: str | None, span_id: str | None = None) -> Self:
        """Return a new span of a given trace, independent of this context."""
        span = cls.__new__(cls)
        span.trace_id = trace_id
        span.span_id = span_id or new_span_id()
        span.parent_span_id = parent_span_id or None
        return span

    @property
    def ids(self) -> dict[str, str]:
        """The IDs as fields of the span's event."""
        ids = {"trace_id": self.trace_id, "span_id": self.span_id}
        if self.parent_span_id is not None:
            ids["parent_span_id"] = self.parent_span_id
        return ids

    def within(self) -> BoundSpanContext:
        """Return a block in which log records and runs are part of this span."""
        return BoundSpanContext(self)


class BoundSpanContext:
    """A `with` block in which the IDs of a span are bound."""

    __slots__ = ("_parent", "_span", "_tokens")

    def __init__(self, span: SpanContext) -> None:
        self._span = span

    def __enter__(self) -> None:
        """Bind the IDs."""
        span = self._span
        parent = span.parent_span_id
        self._tokens = _TRACE.set(span.trace_id), _SPAN.set(span.span_id)
        self._parent = None if parent is None else _PARENT.set(parent)

    def __exit__(self, *_: object) -> None:
        """Restore the IDs that were bound before."""
        trace, span = self._tokens
        _TRACE.reset(trace)
        _SPAN.reset(span)
        if self._parent is not None:
            _PARENT.reset(self._parent)


def carry_context(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that runs in the current context, with its agent run and its trace.

    Threads and executors inherit no context: `threading.Thread`, `ThreadPoolExecutor` and `loop.run_in_executor`. Pass
    them `carry_context(function)`. Tasks of asyncio, `asyncio.to_thread` and Starlette's and anyio's worker threads
    inherit it themselves. A process inherits no context.

    Args:
        function: A function that is not a coroutine function.

    Returns:
        The function. It may be called several times, and by several threads at once: each call has a copy of the
        context.
    """
    context = copy_context()

    @functools.wraps(function)
    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        return context.copy().run(function, *args, **kwargs)

    return carried


def _bound(variable: ContextVar[Any]) -> Any:
    value = variable.get(None)
    return None if value is ... else value  # structlog's mark of an unbound variable


def traceparent(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str] | None:
    """Return the trace ID and span ID of a W3C `traceparent`; None unless there is exactly one valid header."""
    values = [value for name, value in headers if name == b"traceparent"]
    if len(values) != 1:
        return None
    found = _TRACEPARENT.fullmatch(values[0].strip(b" \t"))
    if found is None or (found[1] == b"00" and found[4] is not None):
        return None
    return found[2].decode(), found[3].decode()


@contextlib.contextmanager
def join_application_trace() -> Iterator[None]:
    """Return a block in which new spans are part of the application's open trace.

    A trace that is bound already takes precedence, because its spans are ours. Nothing is imported: an application
    that has not imported OpenTelemetry has no span.
    """
    ids = {} if "trace_id" in structlog.contextvars.get_contextvars() else application_ids()
    with structlog.contextvars.bound_contextvars(**ids):
        yield


def application_ids() -> dict[str, str]:
    """Return the `trace_id` and `span_id` of the application's current span; empty without a valid one."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return {}
    try:
        span = api.get_current_span().get_span_context()
        valid = span.is_valid
    except Exception:  # an error in the application's own tracing must not fail here
        return {}
    return {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"} if valid else {}
