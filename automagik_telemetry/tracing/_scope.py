"""Commands, requests and websockets, which enclose runs of agents. Those of a request are kept or dropped together."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from automagik_telemetry._process import at_fork, kept
from automagik_telemetry.tracing._propagation import new_trace_id

if TYPE_CHECKING:
    from types import TracebackType

    from automagik_telemetry.tracing._propagation import SpanContext

MAX_PENDING: Final = 100
"""Runs of one request that wait for its end. Further ones are decided on when they end."""
MAX_PENDING_CHARACTERS: Final = 16_000_000
"""Characters of content of the runs that wait."""

_current: ContextVar[Scope | None] = kept("scope", lambda: ContextVar("automagik_telemetry_scope", default=None))


def current_scope() -> Scope | None:
    """Return the innermost scope of this context, which may have ended."""
    return _current.get()


_lock = threading.RLock()
"""Held for a few steps, by all scopes. An object that is freed meanwhile may end its run."""


class Scope:
    """A command, a request or a websocket, which encloses runs of agents.

    A request `is_unit`: its runs are one trace, kept or dropped together when it ends. A command or a websocket may
    serve for days, so each run in it is a trace of its own, and so is each run after the end of a request.

    `span` has the IDs of its event. `hidden` is the open span that encloses it, if it is not part of that span's trace.
    """

    __slots__ = ("_characters", "ended", "hidden", "is_unit", "link", "parent", "pending", "span", "trace_id")

    def __init__(self, span: SpanContext, *, is_unit: bool, is_remote: bool = False, hidden: object = None) -> None:
        outer = _current.get()
        self.span = span
        self.is_unit = is_unit
        self.hidden = hidden
        self.ended = False
        self.pending: list[tuple[Any, Any]] = []
        """Its traces that have ended, and their roots."""
        self.link: tuple[str, str] | None = None
        """The IDs of the span to which traces in this scope are linked."""
        self.trace_id = span.trace_id
        """The trace of the runs of a request."""
        self.parent = span.parent_span_id if is_remote else None
        """The span of the caller, which is their parent."""
        if not is_unit:
            self.link = span.trace_id, span.span_id
        elif outer is not None:
            self.link = outer.span.trace_id, outer.span.span_id
            if not is_remote:
                self.trace_id = new_trace_id()
        self._characters = 0

    def within(self) -> _Within:
        """Return a block in which this is the current scope."""
        return _Within(self)

    def take(self, trace: Any, root: Any) -> bool:
        """Keep a trace that has ended until the request ends. Return False if it is to be decided on now."""
        with _lock:
            characters = self._characters + trace.characters
            is_full = len(self.pending) >= MAX_PENDING or characters > MAX_PENDING_CHARACTERS
            if self.ended or not self.is_unit or is_full:
                return False
            self._characters = characters
            self.pending.append((trace, root))
            return True

    def end(self) -> None:
        """End the scope, and decide on its traces."""
        with _lock:
            self.ended = True
            pending, self.pending = self.pending, []
        if pending and (recorder := pending[0][0].recorder) is not None:
            recorder.decide(pending)


class _Within:
    """A `with` block in which a scope is the current one."""

    __slots__ = ("_scope", "_token")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __enter__(self) -> None:
        """Make the scope the current one."""
        self._token: Any = _current.set(self._scope)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Restore the one before."""
        _current.reset(self._token)


def _renew_lock() -> None:
    """Replace the lock in the child of a fork, because another thread may have held it."""
    global _lock  # noqa: PLW0603 - one per process
    _lock = threading.RLock()


at_fork(__name__, after_in_child=_renew_lock)
