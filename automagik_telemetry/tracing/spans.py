"""Spans as they are open: what a piece of work took and gave, and which pieces it was part of.

What an integration calls. Opening and ending a span is cheap, and raises nothing.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from contextvars import ContextVar
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import structlog

from automagik_telemetry.tracing._propagation import SpanContext, application_ids, is_bound, new_ids, new_span_id
from automagik_telemetry.tracing._recorder import OpenTrace, Recorder

if TYPE_CHECKING:
    from contextvars import Token

    from automagik_processors._bounded import Bounded
    from automagik_telemetry.tracing._propagation import BoundSpanContext

_MAX_NAME = 256
_FIELDS = ("input", "output", "model", "provider", "usage", "cost", "first_token_at", "thread_id", "user_id")
_RENDERED = ("error", "metadata", "attributes", *_FIELDS)
_rendered = attrgetter(*_RENDERED)
_CONTENT = frozenset({*_FIELDS, "cost_estimated", "metadata", "attributes"})

_current: ContextVar[OpenSpan | None] = ContextVar("automagik_telemetry_open_span", default=None)
_recorder: Recorder | None = None


def record_with(recorder: Recorder | None) -> None:
    """Let all spans that are opened from now on be recorded by `recorder`, or none."""
    global _recorder  # noqa: PLW0603 - one per process
    _recorder = recorder


def current_span() -> OpenSpan | None:
    """Return the open span that the current code is part of."""
    span = _current.get()
    return span if span is not None and span.trace.mine else None


class OpenSpan:
    """One piece of work. Set its attributes at any time until its end; what they mean is said where a trace is encoded.

    `usage` are counts of tokens by name, `cost` is in USD, `first_token_at` in Unix seconds; `metadata` and
    `attributes` are dicts. Where nothing is recorded, all of this has no effect.
    """

    __slots__ = (
        *_CONTENT,
        "_began",
        "_span",
        "ended",
        "error",
        "is_root",
        "name",
        "parent_span_id",
        "recorded",
        "span_id",
        "start",
        "trace",
        "type",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - what it is, and its place; by name they take longer
        self,
        name: str,
        type: str,  # noqa: A002 - the attribute's name
        trace: OpenTrace,
        span_id: str,
        parent_span_id: str | None,
        span: SpanContext | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.trace = trace
        self.span_id = span_id
        """16 hex digits."""
        self.parent_span_id = parent_span_id
        self._span = span
        self.recorded = True
        self.input: object = None
        self.output: object = None
        self.model: str | None = None
        self.provider: str | None = None
        self.usage: dict[str, Any] | None = None
        self.cost: float | None = None
        self.cost_estimated = False
        self.first_token_at: float | None = None
        self.thread_id: str | None = None
        self.user_id: str | None = None
        self.metadata: dict[str, Any] | None = None
        self.attributes: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self.ended: float | None = None
        self.is_root = False
        self.start = time.time()
        self._began = time.perf_counter()

    @property
    def span(self) -> SpanContext:
        """The ids, as they are shared with what else they stand for."""
        if self._span is None:
            self._span = SpanContext.part_of(self.trace.trace_id, self.parent_span_id, self.span_id)
        return self._span

    @property
    def traceparent(self) -> str:
        """The W3C header that makes another process's work a part of this span."""
        return f"00-{self.trace.trace_id}-{self.span_id}-01"

    def within(self, *, bind: bool = True) -> Within:
        """Return a block in which what begins is part of this span; unless `bind`, what is logged is not."""
        return Within(self, bind=bind)

    def backdate(self, seconds: float) -> None:
        """Say that the span began earlier than it was opened."""
        self.start -= seconds
        self._began -= seconds

    def fail(self, error: BaseException) -> None:
        """Mark the span as failed."""
        with contextlib.suppress(Exception):
            self.error = _described(error)

    def end(self, error: BaseException | None = None) -> None:
        """End the span, failed if there is an `error`; once. The end of a trace's first span completes the trace."""
        if self.ended is not None:
            return
        self.ended = self.start + (time.perf_counter() - self._began)
        trace = self.trace
        recorder = trace.recorder
        if recorder is None or not self.recorded:
            return
        try:
            if error is not None and self.error is None:
                self.fail(error)
            if self.output is not None:
                self.output = recorder.hold(trace, self.output)
            if self.is_root:
                recorder.complete(trace, self)
        except Exception:  # noqa: BLE001, S110 - what a span was given may raise; the trace counts as abandoned
            pass

    def rendered(self, bounds: Bounded, ended: float) -> dict[str, Any]:
        """Return the span as plain data, without what was never set.

        One that still goes on ends with its trace, and says so in its metadata.
        """
        fields: dict[str, Any] = {
            "span_id": self.span_id,
            "parent_span_id": self.parent_span_id,
            "name": bounds.text(str(self.name)[:_MAX_NAME]),
            "type": str(self.type),
            "start": self.start,
            "end": max(self.start, ended if self.ended is None else self.ended),
        }
        for field, value in zip(_RENDERED, _rendered(self), strict=True):
            if value is not None:
                fields[field] = bounds.value(value)
        if self.cost_estimated:
            fields["cost_estimated"] = True
        if self.ended is None:
            said = fields.get("metadata")
            fields["metadata"] = {**(said if type(said) is dict else {}), "unfinished": True}
        return fields


class Within:
    """A block in which an open span is the current one."""

    __slots__ = ("_bound", "_span", "_token")

    def __init__(self, span: OpenSpan, *, bind: bool = True) -> None:
        self._span = span
        self._bound: BoundSpanContext | None = span.span.within() if bind else None

    def __enter__(self) -> OpenSpan:
        """Enter."""
        if self._bound is not None:
            self._bound.__enter__()
        self._token: Token[OpenSpan | None] = _current.set(self._span)
        return self._span

    def __exit__(self, *_: object) -> None:
        """Leave; a block that is left in another context than it was entered in leaves that one alone."""
        with contextlib.suppress(ValueError):
            _current.reset(self._token)
        if self._bound is not None:
            with contextlib.suppress(ValueError):
                self._bound.__exit__()


def open_span(
    name: str,
    type: str = "span",  # noqa: A002 - the attribute's name
    *,
    input: object = None,  # noqa: A002 - see above
    span: SpanContext | None = None,
    **values: Any,  # noqa: ANN401 - see OpenSpan
) -> OpenSpan:
    """Return a new open span: part of the current one, or else the first of a new trace.

    `span` gives the ids, shared with what else they stand for; `values` are the span's other attributes.
    """
    outer = _current.get()
    if outer is not None and outer.trace.mine:
        opened = _child(outer, name, type, span)
    else:
        opened = _first(name, type, span, outer)
    if input is not None:
        values["input"] = input
    if values:
        _fill(opened, values)
    return opened


def child_of(
    outer: OpenSpan,
    name: str,
    type: str = "span",  # noqa: A002 - the attribute's name
    *,
    span: SpanContext | None = None,
    **values: Any,  # noqa: ANN401 - see OpenSpan
) -> OpenSpan:
    """Return a new open span that is part of `outer`, wherever it is called."""
    opened = _child(outer, name, type, span)
    _fill(opened, values)
    return opened


def fill(opened: OpenSpan, **values: Any) -> OpenSpan:  # noqa: ANN401 - see OpenSpan
    """Set attributes of a span by name; a name that it does not have becomes one of its `attributes`."""
    _fill(opened, values)
    return opened


def _fill(opened: OpenSpan, values: dict[str, Any]) -> None:
    recorder = opened.trace.recorder
    if recorder is None or not opened.recorded:
        return
    for name, value in values.items():
        if value is None:
            continue
        if name == "input":
            opened.input = recorder.hold(opened.trace, value)
        elif name in _CONTENT:
            setattr(opened, name, value)
        else:
            opened.attributes = {**(opened.attributes or {}), name: value}


def _child(outer: OpenSpan, name: str, type: str, span: SpanContext | None) -> OpenSpan:  # noqa: A002 - see `open_span`
    trace = outer.trace
    opened = OpenSpan(name, type, trace, span.span_id if span is not None else new_span_id(), outer.span_id, span)
    if trace.recorder is not None:
        opened.recorded = trace.mine and trace.recorder.add(trace, opened)
    return opened


def _first(name: str, type: str, span: SpanContext | None, outer: OpenSpan | None) -> OpenSpan:  # noqa: A002 - see `open_span`
    """Return the first span of a trace in this process."""
    parent: str | None
    if outer is not None:  # a part of the trace has been logged, or belongs to the parent process
        span = span or SpanContext.part_of(outer.trace.trace_id, outer.span_id)
        trace_id, span_id, parent = span.trace_id, span.span_id, outer.span_id
    else:
        application = application_ids()
        if span is None and (application or is_bound()):
            span = SpanContext((application["trace_id"], application["span_id"]) if application else None)
        if span is not None:
            trace_id, span_id, parent = span.trace_id, span.span_id, _parent_outside(span, application)
        else:
            (trace_id, span_id), parent = new_ids(), None
    recorder = _recorder
    if recorder is None:
        return OpenSpan(name, type, OpenTrace(None, trace_id), span_id, parent, span)
    trace = recorder.begin(trace_id, joined=parent is not None)
    if outer is not None and (decision := outer.trace.decision) is not None and decision.should_sample:
        trace.decision = decision
    opened = OpenSpan(name, type, trace, span_id, parent, span)
    opened.is_root = True
    if trace.recorder is not None:
        trace.spans.append(opened)
    return opened


def _parent_outside(span: SpanContext, application: dict[str, str]) -> str | None:
    """Return the parent of a trace's first span: the caller's or the application's, if it is recorded."""
    parent = span.parent_span_id
    if parent is None:
        return None
    bound = structlog.contextvars.get_contextvars()
    if parent != bound.get("span_id"):
        return parent
    if application.get("trace_id") == span.trace_id:
        return application["span_id"]
    return bound.get("parent_span_id")


def _described(error: BaseException) -> dict[str, Any]:
    """Return an exception as plain data, so that none of the frames that it holds is kept."""
    kind = type(error)
    return {
        "type": kind.__name__,
        "message": str(error),
        "stacktrace": "".join(traceback.format_exception(kind, error, error.__traceback__, limit=50)),
    }
