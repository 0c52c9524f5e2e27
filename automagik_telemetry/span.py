"""A piece of work that other work may be part of: its ids, and how they are bound to the code that runs inside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import structlog

from automagik_processors.ids import ForkSafeRandom

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

_random = ForkSafeRandom()
# https://www.w3.org/TR/trace-context/: version 00 has four parts, a later one may have more, and ff is none.
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


class Span:
    """Ids: the trace of the surroundings, else of the remote caller, else a new one; and the parent likewise.

    `remote` are the caller's trace id (32 hex digits) and span id (16), see `traceparent`.
    """

    __slots__ = ("_bound", "span_id")

    def __init__(self, remote: tuple[str, str] | None = None) -> None:
        outer = structlog.contextvars.get_contextvars()
        trace_id, parent = outer.get("trace_id"), outer.get("span_id")
        if not trace_id:
            trace_id, parent = remote or (f"{_random.getrandbits(128) or 1:032x}", parent)
        self.span_id = f"{_random.getrandbits(64) or 1:016x}"
        self._bound = {"trace_id": trace_id, "span_id": self.span_id}
        if parent:
            self._bound["parent_span_id"] = parent

    @classmethod
    def part_of(cls, trace_id: str, parent_span_id: str | None, span_id: str | None = None) -> Self:
        """Return a new span of a known trace, whatever is bound here."""
        span = cls.__new__(cls)
        span.span_id = span_id or f"{_random.getrandbits(64) or 1:016x}"
        bound = {"trace_id": trace_id, "span_id": span.span_id}
        span._bound = bound | {"parent_span_id": parent_span_id} if parent_span_id else bound  # noqa: SLF001 - our own
        return span

    @property
    def trace_id(self) -> str:
        """The trace, as 32 hex digits."""
        trace_id: str = self._bound["trace_id"]
        return trace_id

    @property
    def parent_span_id(self) -> str | None:
        """The span that this one is part of, as 16 hex digits."""
        return self._bound.get("parent_span_id")

    def within(self) -> Bound:
        """Return a block in which everything logged, and every run, is part of this."""
        return Bound(self._bound)


class Bound:
    """A `with` block in which ids are bound; a class, and not `bound_contextvars`, for it costs a third of that."""

    __slots__ = ("_ids", "_tokens")

    def __init__(self, ids: dict[str, Any]) -> None:
        self._ids = ids

    def __enter__(self) -> None:
        """Bind."""
        self._tokens = structlog.contextvars.bind_contextvars(**self._ids)

    def __exit__(self, *_: object) -> None:
        """Bind again what was bound before."""
        structlog.contextvars.reset_contextvars(**self._tokens)


def traceparent(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str] | None:
    """Return the trace id and span id of a W3C `traceparent`, or None if there is not exactly one, and valid."""
    values = [value for name, value in headers if name == b"traceparent"]
    if len(values) != 1:
        return None
    found = _TRACEPARENT.fullmatch(values[0].strip(b" \t"))
    if found is None or (found[1] == b"00" and found[4] is not None):
        return None
    return found[2].decode(), found[3].decode()
