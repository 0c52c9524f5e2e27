"""Open spans, which integrations begin, fill and end.

Opening and ending a span is cheap, and raises nothing.
"""

from __future__ import annotations

import contextlib
import re
import time
import traceback
from asyncio import CancelledError
from contextvars import ContextVar
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from automagik_processors._bounded import cut, short_entries, weight
from automagik_processors._otlp_values import text_of
from automagik_processors._scalars import real_of
from automagik_telemetry._failsafe import attempt, class_name
from automagik_telemetry._process import kept
from automagik_telemetry.tracing._arguments import USAGE, token_count
from automagik_telemetry.tracing._conversation import MESSAGES_BEFORE, Conversation, Messages, is_chat
from automagik_telemetry.tracing._propagation import (
    SpanContext,
    application_ids,
    is_bound,
    new_ids,
    new_span_id,
    new_trace_id,
)
from automagik_telemetry.tracing._recorder import MAX_NAME, OpenTrace, Recorder
from automagik_telemetry.tracing._scope import Scope, current_scope

if TYPE_CHECKING:
    from contextvars import Token

    from automagik_processors._bounded import Bounded
    from automagik_telemetry.tracing._propagation import BoundSpanContext
    from automagik_telemetry.tracing._recorder import SamplingDecision, TraceBounds

__all__ = ["OpenSpan", "current_span", "open_span"]

INVALID: Final = "invalid."
"""Prefix of the name under which a value that is not valid is counted."""
_FIELDS = ("input", "output", "model", "provider", "usage", "cost", "first_token_at", "thread_id", "user_id")
_NAMES = ("model", "provider")
_names = attrgetter(*_NAMES)
_CONTENT = ("metadata", "input", "output")
_content = attrgetter(*_CONTENT)
_SETTABLE = frozenset({*_FIELDS, "cost_estimated", "metadata", "attributes"})
_COUNTED = frozenset({"model", "provider", "usage", "cost", "cost_estimated"})
_MAX_SHORT = 1_000
_CANCEL_SCOPE = re.compile(
    r"^Cancelled (by|via) cancel scope [0-9a-f]+( by <.*?>(?=; reason: |$))?(; reason: )?", re.DOTALL
)
_NO_CONVERSATION = "unknown"
"""A placeholder that applications pass where they have no ID."""
_MAX_CONVERSATIONS = 100
"""Spans of one trace whose last request to a model is remembered."""

_current: ContextVar[OpenSpan | None] = kept(
    "open_span", lambda: ContextVar("automagik_telemetry_open_span", default=None)
)
_recorder: Recorder | None = globals().get("_recorder")  # which a reload leaves


def record_with(recorder: Recorder | None) -> Recorder | None:
    """Set the recorder of all spans that are opened from now on, and return the previous one. None records nothing."""
    global _recorder
    before, _recorder = _recorder, recorder
    return before


def current_span() -> OpenSpan | None:
    """Return the current open span.

    Returns:
        The span, or None if none is open.
    """
    span = _outer()
    return span if span is not None and span.trace.accepts_spans else None


def _outer() -> OpenSpan | None:
    """Return the enclosing span, which may have ended; None if it is outside of a request with a trace of its own."""
    span = _current.get()
    if span is not None and (scope := current_scope()) is not None and scope.hidden is span:
        return None
    return span


class OpenSpan:
    """An open span, as `open_span` returns it.

    Its attributes may be set until its end, and have no effect if the span is not recorded.

    Attributes:
        input: Input of the work: a string, a list of chat messages, or any data.
        output: Output of the work, likewise.
        model: Name of the model.
        provider: Provider of the model.
        usage: Counts of tokens by name.
        cost: Cost in USD.
        cost_estimated: Whether the cost is an estimate.
        first_token_at: Unix time in seconds of the first token.
        thread_id: ID of the conversation.
        user_id: ID of the user.
        metadata: Metadata of the trace.
        attributes: Further attributes.

    Args:
        name: Name of the span.
        type: Type of the span, such as "llm" or "tool".
        trace: The trace that it is part of.
        span_id: 16 hex digits.
        parent_span_id: ID of the enclosing span, if any.
        span: All IDs of the span, if it shares them with an event.
    """

    __slots__ = (
        *_SETTABLE,
        "_began",
        "_outer",
        "_span",
        "ended",
        "error",
        "is_root",
        "lost",
        "name",
        "parent_span_id",
        "recorded",
        "span_id",
        "start",
        "trace",
        "type",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - keyword arguments take longer
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
        self._outer: OpenSpan | None = None
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
        self.lost = 0
        self.start = time.time()
        self._began = time.perf_counter()

    @property
    def span(self) -> SpanContext:
        """The IDs, which the span's event shares."""
        if self._span is None:
            self._span = SpanContext.part_of(self.trace.trace_id, self.parent_span_id, self.span_id)
        return self._span

    @property
    def traceparent(self) -> str:
        """The W3C header that makes spans of another process children of this one."""
        return f"00-{self.trace.trace_id}-{self.span_id}-01"

    def within(self, *, bind: bool = True) -> Within:
        """Return a block in which new spans are children of this one.

        Args:
            bind: Whether log records in the block are children too. The default is True.

        Returns:
            The block.
        """
        return Within(self, bind=bind)

    def backdate(self, seconds: float) -> None:
        """Move the start of the span back.

        Args:
            seconds: How much earlier the span began than it was opened.
        """
        self.start -= seconds
        self._began -= seconds

    def shorten(self, seconds: float) -> None:
        """Let the span end earlier than its `end` is called.

        Args:
            seconds: How much earlier its work ended.
        """
        self._began += seconds

    def fail(self, error: BaseException) -> None:
        """Mark the span as failed.

        Args:
            error: The exception.
        """
        self.error = {
            "type": class_name(type(error)),
            "message": _message(error),
            "stacktrace": attempt(_stacktrace, error),
        }

    def end(self, error: BaseException | None = None) -> None:
        """End the span once. The end of the root span completes the trace.

        Args:
            error: The exception, if the span failed.
        """
        if self.ended is not None:
            return
        self.ended = self.start + (time.perf_counter() - self._began)
        trace = self.trace
        recorder = trace.recorder
        if recorder is None:
            return
        if error is not None and self.error is None:
            self.fail(error)
        if not self.recorded:
            recorder.end_dropped(trace, self)
        if self.recorded and self.output is not None:
            attempt(recorder.hold, trace, self, "output", self.output)
        if self.is_root:
            recorder.complete(trace, self)
        elif trace.kept is not None and self.recorded:
            recorder.keep_ended(trace, self)

    def open_ancestors(self) -> list[OpenSpan]:
        """Return the spans of the trace around this one that have not ended, without the root.

        Returns:
            The spans, the innermost first.
        """
        found = []
        outer = self._outer
        while outer is not None and outer.trace is self.trace:
            if outer.ended is None and outer.recorded and not outer.is_root:
                found.append(outer)
            outer = outer._outer  # noqa: SLF001 - of the same class
        return found

    def measures(self) -> dict[str, Any]:
        """Return its model, counts of tokens, cost and times.

        Returns:
            A new dict.
        """
        found = {name: value for name in _COUNTED if (value := getattr(self, name)) is not None}
        return {**found, "start": self.start, "end": self.ended}

    def rendered(self, bounds: TraceBounds, ended: float) -> dict[str, Any]:
        """Return the span as plain data, without unset fields.

        A span that has not ended gets the end of its trace, and `unfinished` in its metadata. One that lost content has
        the number of its characters.

        Args:
            bounds: Limits the size of the structure and of the content.
            ended: Unix time in seconds at which the trace ended.

        Returns:
            A new dict.
        """
        structure, content = bounds
        before = content.lost + structure.lost
        fields: dict[str, Any] = {
            "span_id": self.span_id,
            "parent_span_id": self.parent_span_id,
            "name": structure.text(text_of(self.name)[:MAX_NAME]),
            "type": text_of(self.type),
            "start": self.start,
            "end": max(self.start, ended if self.ended is None else self.ended),
        }
        for name, value in zip(_NAMES, _names(self), strict=True):
            if value is not None:
                fields[name] = _short(value, structure)
        self._add_who(fields, structure)
        if self.usage is not None or self.cost is not None or self.first_token_at is not None:
            _add_measures(fields, self, structure)
        if self.attributes is not None:
            fields["attributes"] = _attributes(self.attributes, bounds)
        if self.error is not None:
            fields["error"] = _error(self.error, bounds)
        for name, value in zip(_CONTENT, _content(self), strict=True):
            if value is not None and (plain := _content_of(value, content)) is not None:
                fields[name] = plain
        if lost := self.lost + content.lost + structure.lost - before:
            fields["truncated_characters"] = lost
        return fields if self.ended is not None else _unfinished(fields)

    def _add_who(self, fields: dict[str, Any], bounds: Bounded) -> None:
        """Add the conversation and the user: those of the outermost span that has them, else its own."""
        if self.type != "agent" and self.thread_id is None and self.user_id is None:
            return
        for name in ("thread_id", "user_id"):
            found = None
            span: OpenSpan | None = self
            while span is not None:
                value = getattr(span, name)
                if value is not None and value != _NO_CONVERSATION:
                    found = value
                span = span._outer  # noqa: SLF001 - of the same class
            if found is not None:
                fields[name] = _short(found, bounds)


class Within:
    """A block in which an open span is the current one."""

    __slots__ = ("_bound", "_span", "_token")

    def __init__(self, span: OpenSpan, *, bind: bool = True) -> None:
        self._span = span
        self._bound: BoundSpanContext | None = span.span.within() if bind else None

    def __enter__(self) -> OpenSpan:
        """Make the span the current one."""
        if self._bound is not None:
            self._bound.__enter__()
        self._token: Token[OpenSpan | None] = _current.set(self._span)
        return self._span

    def __exit__(self, *_: object) -> None:
        """Restore the previous span, unless the block is exited in another context than it was entered in."""
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
    **values: Any,
) -> OpenSpan:
    """Return a new open span: a child of the current one, or the root of a new trace.

    Args:
        name: Name of the span.
        type: Type of the span, such as "llm" or "tool". The default is "span".
        input: Input of the work: a string, a list of chat messages, or any data.
        span: The IDs of the span, if it shares them with an event. By default new ones.
        **values: Other attributes of `OpenSpan` by name. Another name becomes one of its `attributes`.

    Returns:
        The span. End it with `end`.
    """
    outer = _outer()
    if outer is not None and outer.trace.accepts_spans:
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
    **values: Any,
) -> OpenSpan:
    """Return a new open child of `outer`, independent of the current span."""
    opened = _child(outer, name, type, span)
    _fill(opened, values)
    return opened


def fill(opened: OpenSpan, **values: Any) -> OpenSpan:
    """Set fields of a span by name. Other names become entries of its `attributes`."""
    _fill(opened, values)
    return opened


def _fill(opened: OpenSpan, values: dict[str, Any]) -> None:
    recorder = opened.trace.recorder
    if recorder is None:
        return
    if not opened.recorded:
        # While it is open, it may yet fail, and be recorded then.
        kept = _COUNTED if opened.ended is not None else values.keys() - {"input"}
        opened.lost += weight(values["input"]) if opened.ended is None and "input" in values else 0
        values = {name: value for name, value in values.items() if name in kept}
        if opened.ended is not None and ("usage" in values or "cost" in values):
            recorder.add_late(opened.trace, {**opened.measures(), "usage": None, "cost": None, **values})
    for name, value in values.items():
        if value is None:
            continue
        if name == "input":
            _hold_input(recorder, opened, value)
        elif name == "output" and opened.ended is not None:
            recorder.hold(opened.trace, opened, name, value)
        elif name in _SETTABLE:
            setattr(opened, name, value)
        else:
            opened.attributes = {**(opened.attributes or {}), name: value}


def _hold_input(recorder: Recorder, opened: OpenSpan, value: object) -> None:
    """Set the input of a span; of a request to a model, the messages since the last one."""
    if opened.type == "llm":
        if type(value) is list and is_chat(value):
            value = Messages(value.copy(), lambda message: [message])
        if type(value) is Messages:
            conversations = opened.trace.conversations
            conversation = conversations.get(opened.parent_span_id)
            if conversation is None:
                conversation = Conversation()
                if len(conversations) < _MAX_CONVERSATIONS:
                    conversations[opened.parent_span_id] = conversation
            value, before = conversation.advance(value)
            if before:
                opened.attributes = {**(opened.attributes or {}), MESSAGES_BEFORE: before}
    recorder.hold(opened.trace, opened, "input", value)


def _child(outer: OpenSpan, name: str, type: str, span: SpanContext | None) -> OpenSpan:  # noqa: A002 - see `open_span`
    trace = outer.trace
    parent = outer.span_id if outer.recorded else outer.parent_span_id  # a dropped span can't be a parent
    opened = OpenSpan(name, type, trace, span.span_id if span is not None else new_span_id(), parent, span)
    opened._outer = outer  # noqa: SLF001 - of the class above
    if trace.recorder is not None:
        opened.recorded = trace.accepts_spans and trace.recorder.add(trace, opened)
    return opened


def open_root(name: str, type: str, span: SpanContext, outer: OpenSpan | None, **values: Any) -> OpenSpan:  # noqa: A002 - see `open_span`
    """Return the new open root span of a given trace, linked to what encloses it, if anything."""
    scope = current_scope()
    link = _ids(outer) if outer is not None else None if scope is None else (scope.span.trace_id, scope.span.span_id)
    opened = _root(name, type, span, _Origin(span.trace_id, span.parent_span_id, link))
    _fill(opened, values)
    return opened


def enclosing_scope(remote: tuple[str, str] | None, *, is_unit: bool) -> Scope:
    """Return the scope of a request or websocket, which is part of a remote caller's trace if there is one.

    An open span of this process that encloses it is its parent unless the caller names another trace.
    """
    outer = current_span()
    hidden = _current.get() if outer is None or (remote is not None and remote[0] != outer.trace.trace_id) else None
    return Scope(SpanContext(remote), is_unit=is_unit, is_remote=remote is not None, hidden=hidden)


class _Origin(NamedTuple):
    """The trace of a new root span, and the span that it is linked to."""

    trace_id: str
    parent: str | None
    link: tuple[str, str] | None = None
    scope: Scope | None = None
    span_id: str | None = None


def _ids(span: OpenSpan) -> tuple[str, str]:
    return span.trace.trace_id, span.span_id


def joined_trace_id() -> str | None:
    """Return the ID of the trace that a new root span would be part of; None if it would begin one of its own."""
    outer, scope = _outer(), current_scope()
    if outer is not None:
        return None if outer.trace.complete else outer.trace.trace_id
    if scope is not None:
        return scope.trace_id if scope.is_unit and not scope.ended else None
    if application := application_ids():
        return application["trace_id"]
    return SpanContext().trace_id if is_bound() else None


def _first(name: str, type: str, span: SpanContext | None, outer: OpenSpan | None) -> OpenSpan:  # noqa: A002 - see `open_span`
    """Return the root span of a trace in this process."""
    scope = current_scope()
    if outer is not None and not outer.trace.complete:  # of the parent process
        span = span or SpanContext.part_of(outer.trace.trace_id, outer.span_id)
        return _root(name, type, span, _Origin(span.trace_id, outer.span_id), outer.trace.decision)
    if outer is not None:
        return _root(name, type, span, _Origin(new_trace_id(), None, _ids(outer)))
    if scope is not None and (scope.ended or not scope.is_unit):
        return _root(name, type, span, _Origin(new_trace_id(), None, (scope.span.trace_id, scope.span.span_id)))
    if scope is not None:
        return _root(name, type, span or SpanContext(), _Origin(scope.trace_id, scope.parent, scope.link, scope))
    application = application_ids()
    if span is None and is_bound():
        span = SpanContext()
    elif span is None and application:
        span = SpanContext((application["trace_id"], application["span_id"]))
    if span is not None:
        return _root(name, type, span, _Origin(span.trace_id, _parent_outside(span, application)))
    trace_id, span_id = new_ids()
    return _root(name, type, None, _Origin(trace_id, None, span_id=span_id))


def _root(
    name: str,
    type: str,  # noqa: A002 - see `open_span`
    span: SpanContext | None,
    origin: _Origin,
    decision: SamplingDecision | None = None,
) -> OpenSpan:
    """Return the root span of a trace. Its event may be part of another trace."""
    recorder, (trace_id, parent, link, scope, span_id) = _recorder, origin
    span_id = span.span_id if span is not None else span_id or new_span_id()
    if recorder is None:
        return OpenSpan(name, type, OpenTrace(None, trace_id), span_id, parent, span)
    trace = recorder.begin(trace_id, joined=parent is not None)
    trace.link, trace.scope = link, scope
    if decision is not None and decision.should_sample:
        trace.decision = decision
    opened = OpenSpan(name, type, trace, span_id, parent, span)
    opened.is_root = True
    if trace.recorder is not None:
        trace.spans.append(opened)
        recorder.keep(trace, opened)
    return opened


def _parent_outside(span: SpanContext, application: dict[str, str]) -> str | None:
    """Return the parent of a trace's root span in this process: the caller's or the application's span, if recorded."""
    parent = span.parent_span_id
    if parent is None:
        return None
    bound = structlog.contextvars.get_contextvars()
    if parent != bound.get("span_id"):
        return parent
    if application.get("trace_id") == span.trace_id:
        return application["span_id"]
    return bound.get("parent_span_id")


def _add_measures(fields: dict[str, Any], span: OpenSpan, bounds: Bounded) -> None:
    """Add counts of tokens, cost and times as plain numbers; omit each that is not valid, and count it by name."""
    for name, value in (("usage", span.usage), ("cost", span.cost), ("first_token_at", span.first_token_at)):
        if value is not None:
            fields[name] = bounds.value(value)
    if span.cost_estimated:
        fields["cost_estimated"] = True
    usage = fields.get("usage")
    if type(usage) is dict:
        for name in USAGE & usage.keys():
            count = token_count(usage[name])
            if count is None and usage[name] is not None:
                bounds.mark(INVALID + name)
            usage[name] = count
    for name in ("cost", "first_token_at"):
        if name in fields:
            number = fields[name] if type(fields[name]) is float else real_of(fields[name])
            if number is not None and number >= 0:
                fields[name] = number
            else:
                del fields[name]
                bounds.mark(INVALID + name)


def _short(value: object, structure: Bounded) -> Any:
    plain = structure.value(value)
    return cut(plain, _MAX_SHORT) if type(plain) is str else plain


def _unfinished(fields: dict[str, Any]) -> dict[str, Any]:
    metadata = fields.get("metadata")
    return {**fields, "metadata": {**(metadata if type(metadata) is dict else {}), "unfinished": True}}


def _content_of(value: object, content: Bounded) -> Any:
    """Return content as plain data; None if the limits of the trace are reached."""
    if content.is_spent:
        content.lost += weight(value)
        return None
    return content.value(value)


def _error(given: dict[str, Any], bounds: TraceBounds) -> dict[str, Any]:
    """Return an error as plain data. Its class and message are structure, its stack is content."""
    error = {name: bounds.structure.value(given.get(name)) for name in ("type", "message")}
    stack = given.get("stacktrace")
    return error if stack is None else {**error, "stacktrace": _content_of(stack, bounds.content)}


def _attributes(given: dict[str, Any], bounds: TraceBounds) -> Any:
    """Return attributes as plain data. Numbers and short texts are structure, everything else is content."""
    short = short_entries(given)
    if len(short) == len(given):
        return bounds.structure.value(given)
    rest = {key: value for key, value in given.items() if key not in short}
    kept = _content_of(rest, bounds.content)
    return {**bounds.structure.value(short), **(kept if type(kept) is dict else {})}


def _message(error: BaseException) -> str:
    """Return an exception's text; of a cancellation its cause, without the address of anyio's cancel scope."""
    if not issubclass(type(error), CancelledError):
        return text_of(error)
    cause = BaseException.__dict__["__cause__"].__get__(error)  # which a subclass may replace
    if cause is not None:
        return text_of(cause) or class_name(type(cause))
    return _CANCEL_SCOPE.sub("", text_of(error)) or "cancelled"


def _stacktrace(error: BaseException) -> str | None:
    """Return an exception's stack as text, so that none of the frames that it holds is kept."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        # A class may make up new causes without end, which the traceback module would follow.
        if any(getattr(type(one), name) is not getattr(BaseException, name) for name in ("__cause__", "__context__")):
            return None
        waiting += [other for other in (one.__cause__, one.__context__) if other is not None]
    return "".join(traceback.format_exception(type(error), error, error.__traceback__, limit=50))
