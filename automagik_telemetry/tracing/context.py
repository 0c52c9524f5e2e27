"""The blocks that `start_trace` and `trace_agent_run` return: a trace, or a span of the open one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from automagik_processors._mappings import plain_dict
from automagik_processors._otlp_values import text_of
from automagik_telemetry._failsafe import attempt
from automagik_telemetry.tracing._propagation import SpanContext, traceparent
from automagik_telemetry.tracing._recorder import SamplingDecision
from automagik_telemetry.tracing.sampler import take_decision
from automagik_telemetry.tracing.spans import (
    OpenSpan,
    Within,
    current_span,
    fill,
    joined_trace_id,
    open_root,
    open_span,
)

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["TraceContext"]

_REQUESTED = SamplingDecision(should_sample=True, reason="requested", sample_rate=1.0)
_IDS: Final = {"session.id": "thread_id", "session_id": "thread_id", "thread_id": "thread_id", "user_id": "user_id"}
SPAN_TYPES: Final = frozenset(
    {
        *("span", "llm", "chain", "tool", "agent", "guardrail", "evaluation", "rag", "workflow", "component", "module"),
        *("server", "client", "producer", "consumer", "task", "unknown"),
    }
)
"""The types of spans. Other kinds are recorded as an agent or a plain span."""
_ID_ATTRIBUTES: Final = _IDS | {"thread.id": "thread_id", "user.id": "user_id"}


class TraceContext:
    """A `with` block: a span of the open trace, else a new trace, which is always kept.

    An exception inside marks it as failed and propagates. A new trace has the ID and rate of the last decision of
    `should_sample` in this context, if there is one.

    Args:
        name: Name of the span.
        kind: Type of the span, see `SPAN_TYPES`. The default is "span".
        attributes: Initial attributes, which may be changed until the end of the span. `session_id`, `thread_id` and
            `user_id` are recognized.
        input: Input of the work: a string, a list of chat messages, or any data.
        caller: W3C `traceparent` of the span of another process that this is part of.
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
        self.attributes: dict[str, Any] = dict(plain_dict(attributes, text_of))
        self._kind = kind
        self._input = input
        self._caller = caller
        self._opened: OpenSpan | None = None
        self._block: Within | None = None

    def begin(self) -> OpenSpan:
        """Open the span, if it is not open yet.

        Returns:
            The open span.
        """
        if self._opened is None:
            self._opened = begin(self.name, type_of(self._kind), caller=self._caller, input=self._input)
            self._input = None
        return self._opened

    def __enter__(self) -> Self:
        """Begin the span and make it the current one."""
        opened = self.begin()
        self._block = opened.within()
        self._block.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the span, and log the trace if this is its root."""
        if self._block is not None:
            self._block.__exit__()
        if self._opened is not None:
            self._opened.name = self.name
            attempt(annotate, self._opened, self.attributes)
            self._opened.end(error)

    @property
    def trace_id(self) -> str:
        """The trace ID, 32 hex digits."""
        return self.begin().trace.trace_id

    @property
    def span_id(self) -> str:
        """The span ID, 16 hex digits."""
        return self.begin().span_id

    @property
    def sampled(self) -> bool:
        """True if the span is recorded."""
        opened = self.begin()
        return opened.recorded and opened.trace.recorder is not None

    @property
    def traceparent(self) -> str:
        """The W3C header for requests to other processes, whose spans become part of this one."""
        return self.begin().traceparent

    def set_input(self, value: object) -> None:
        """Set the input of the span.

        Args:
            value: A string, a list of chat messages, or any data.
        """
        fill(self.begin(), input=value)

    def set_output(self, value: object) -> None:
        """Set the output of the span.

        Args:
            value: A string, a list of chat messages, or any data.
        """
        self.begin().output = value

    def set_error(self, error: BaseException) -> None:
        """Mark the span as failed, without an exception being raised.

        Args:
            error: The exception.
        """
        self.begin().fail(error)

    def span(
        self,
        name: str,
        type: str = "span",  # noqa: A002 - the attribute's name
        input: object = None,  # noqa: A002 - see above
        **attributes: Any,
    ) -> TraceContext:
        """Return a block for a child span, to be entered inside this one.

        Args:
            name: Name of the span.
            type: Type of the span, such as "llm" or "tool". The default is "span".
            input: Input of the work: a string, a list of chat messages, or any data.
            **attributes: Attributes of the span.

        Returns:
            The block.
        """
        return TraceContext(name, type, attributes, input=input)


def type_of(kind: str) -> str:
    """Return the type of the span of a kind of work."""
    name = text_of(kind)
    return name if name in SPAN_TYPES else "agent" if name.startswith("agent") else "span"


def begin(
    name: str,
    type: str,  # noqa: A002 - the attribute's name
    *,
    caller: str | None = None,
    span: SpanContext | None = None,
    **values: Any,
) -> OpenSpan:
    """Open a span explicitly: a child of the current span, else the root of a trace that is kept.

    Its IDs are those of `span`, else of the `caller`'s trace, which may differ from the current one, else of an earlier
    sampling decision.
    """
    decided = take_decision()
    outer, decision = current_span(), _REQUESTED
    remote = attempt(_remote, caller) if span is None else None
    if remote is not None and (outer is None or remote[0] != outer.trace.trace_id):
        opened = open_root(name, type, SpanContext.part_of(*remote), outer, **values)
    elif outer is not None:
        return open_span(name, type, **values)
    else:
        if decided is not None:
            decision, trace_id = decided
            if span is None and joined_trace_id() is None:
                span = SpanContext.part_of(trace_id, None)
        opened = open_span(name, type, **values) if span is None else open_root(name, type, span, None, **values)
    if opened.is_root and opened.trace.decision is None:
        opened.trace.decision = decision
    return opened


def _remote(caller: str | None) -> tuple[str, str] | None:
    return traceparent([(b"traceparent", str.encode(caller))]) if caller else None


def annotate(opened: OpenSpan, attributes: dict[str, Any]) -> None:
    """Set attributes of a span. IDs of user and conversation become fields of the span."""
    rest = {}
    for key, value in plain_dict(attributes, text_of).items():
        if value is None:
            continue
        if (field := _ID_ATTRIBUTES.get(key)) is not None:
            setattr(opened, field, text_of(value))
        else:
            rest[key] = value
    if rest:
        opened.attributes = {**(opened.attributes or {}), **rest}
