"""A block that is a trace, or a span of the one that is open: what `start_trace` and `trace_agent_run` return."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import structlog

from automagik_telemetry.tracing._propagation import SpanContext, application_ids, traceparent
from automagik_telemetry.tracing._types import SamplingDecision
from automagik_telemetry.tracing.sampler import take_decision
from automagik_telemetry.tracing.spans import OpenSpan, Within, current_span, fill, open_span

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_REQUESTED = SamplingDecision(should_sample=True, reason="requested", sample_rate=1.0)
_IDS: Final = {"session.id": "thread_id", "session_id": "thread_id", "thread_id": "thread_id", "user_id": "user_id"}
SPAN_TYPES: Final = frozenset(
    {
        *("span", "llm", "chain", "tool", "agent", "guardrail", "evaluation", "rag", "workflow", "component", "module"),
        *("server", "client", "producer", "consumer", "task", "unknown"),
    }
)
"""The types of spans; any other kind of work is recorded as an agent or a plain span."""
_PLACES: Final = _IDS | {"thread.id": "thread_id", "user.id": "user_id"}


class TraceContext:
    """A `with` block: a span of the open trace, else a trace of its own, which is kept, for it was asked for.

    `attributes` may be filled until its end. What is raised inside marks it as failed and passes on. Of a decision that
    `should_sample` has just made here, a new trace takes the id and the rate. `caller` is the W3C `traceparent` of
    another process's span that this is part of.
    """

    def __init__(
        self,
        name: str,
        kind: str = "span",
        attributes: dict[str, Any] | None = None,
        *,
        input: object = None,  # noqa: A002 - the attribute's name
        caller: str | None = None,
    ) -> None:
        self.name = name
        self.attributes: dict[str, Any] = dict(attributes or {})
        self._kind = kind
        self._input = input
        self._caller = caller
        self._opened: OpenSpan | None = None
        self._block: Within | None = None

    def begin(self) -> OpenSpan:
        """Open the span, if it is not open yet."""
        if self._opened is None:
            self._opened = begin(self.name, type_of(self._kind), caller=self._caller, input=self._input)
            self._input = None
        return self._opened

    def __enter__(self) -> Self:
        """Begin."""
        opened = self.begin()
        self._block = opened.within()
        self._block.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End, and log the trace if this was all of it."""
        if self._block is not None:
            self._block.__exit__()
        if self._opened is not None:
            with contextlib.suppress(Exception):
                self._opened.name = self.name
                annotate(self._opened, self.attributes)
            self._opened.end(error)

    @property
    def trace_id(self) -> str:
        """The trace, as 32 hex digits."""
        return self.begin().trace.trace_id

    @property
    def span_id(self) -> str:
        """The span, as 16 hex digits."""
        return self.begin().span_id

    @property
    def sampled(self) -> bool:
        """Whether it is recorded."""
        opened = self.begin()
        return opened.recorded and opened.trace.recorder is not None

    @property
    def traceparent(self) -> str:
        """The header to send along, so that what another process does becomes part of this."""
        return self.begin().traceparent

    def set_input(self, value: object) -> None:
        """Say what was asked: a text, a list of chat messages, or any data."""
        fill(self.begin(), input=value)

    def set_output(self, value: object) -> None:
        """Say what came of it."""
        self.begin().output = value

    def set_error(self, error: BaseException) -> None:
        """Say that it failed, although nothing was raised."""
        self.begin().fail(error)

    def span(
        self,
        name: str,
        type: str = "span",  # noqa: A002 - the attribute's name
        input: object = None,  # noqa: A002 - see above
        **attributes: Any,  # noqa: ANN401 - the caller's
    ) -> TraceContext:
        """Return a block that is a part of this; to be entered inside of it."""
        return TraceContext(name, type, attributes, input=input)


def type_of(kind: str) -> str:
    """Return the type of span that a kind of work is."""
    return kind if kind in SPAN_TYPES else "agent" if str(kind).startswith("agent") else "span"


def begin(
    name: str,
    type: str,  # noqa: A002 - the attribute's name
    *,
    caller: str | None = None,
    span: SpanContext | None = None,
    **values: Any,  # noqa: ANN401 - see `open_span`
) -> OpenSpan:
    """Open a span that was asked for: part of what is open, else the first of a trace that is kept.

    Its ids are those of `span`, or of a trace that goes on from the `caller`, or was decided on before.
    """
    decided = take_decision()
    if current_span() is not None:
        return open_span(name, type, **values)
    decision = _REQUESTED
    if span is None and caller and (remote := traceparent([(b"traceparent", caller.encode())])):
        span = SpanContext.part_of(*remote)
    elif decided is not None:
        decision, trace_id = decided
        if span is None and not (structlog.contextvars.get_contextvars().get("trace_id") or application_ids()):
            span = SpanContext.part_of(trace_id, None)
    opened = open_span(name, type, span=span, **values)
    if opened.is_root and opened.trace.decision is None:
        opened.trace.decision = decision
    return opened


def annotate(opened: OpenSpan, attributes: dict[str, Any]) -> None:
    """Give a span what an application says of it: ids of user and conversation their own place, the rest as it is."""
    rest = {}
    for key, value in attributes.items():
        if value is None:
            continue
        if (place := _PLACES.get(key)) is not None:
            setattr(opened, place, str(value))
        else:
            rest[str(key)] = value
    if rest:
        opened.attributes = {**(opened.attributes or {}), **rest}
