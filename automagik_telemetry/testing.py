"""Telemetry in an application's tests: what it would send, and what it would not.

pytest has the fixture `telemetry`. Other frameworks use the context manager `capture`. Events run through the real
chain of processors into memory. Nothing is sent and no file is written, whatever the developer's own settings are.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from logging import getLevelName
from typing import TYPE_CHECKING, Any

from automagik_processors._hashing import KeyedHash
from automagik_telemetry import _capture as isolation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from automagik_processors import Kind

__all__ = ["CapturedTelemetry", "Drop", "SentEvent", "SentSpan", "SentTrace", "capture", "hashed"]

_MAX_SHOWN = 20  # lines of one list in a message
_keyed = KeyedHash(isolation.HASH_KEY)


def hashed(text: str) -> str:
    """Return the hash that is sent in place of a string that is not on the allowlist.

    Tests use a fixed hash key, so it is the same in each run, and unlike that of any installation.

    Args:
        text: The string.

    Returns:
        `custom-` and 16 hex digits.
    """
    return f"custom-{_keyed.word(text)}"


@dataclass(frozen=True)
class SentEvent:
    """An event that would be sent.

    Args:
        name: Name of the event, such as "agent.run".
        fields: The fields as they would be sent: rounded, and strings that are not on the allowlist hashed.
        level: The level, as a number of `logging`.
        hashed: Names of the fields that are sent as a hash.
        sample_rate: The sampling rate of such events. The default is 1.0.
        trace_id: ID of the trace, 32 hex digits.
        span_id: ID of the event's span, 16 hex digits.
        parent_span_id: ID of the enclosing span, or an empty string.
        kinds: The kind of each field of the event.
    """

    name: str
    fields: dict[str, Any]
    level: int
    hashed: tuple[str, ...] = ()
    sample_rate: float = 1.0
    trace_id: str = field(default="", repr=False)
    span_id: str = field(default="", repr=False)
    parent_span_id: str = field(default="", repr=False)
    kinds: Mapping[str, Kind] = field(default_factory=dict, repr=False, compare=False)

    def differences(self, expected: Mapping[str, object]) -> list[str]:
        """Return a description of each field that is not as expected.

        Args:
            expected: Values by the name of the field; None if the field must not be sent.

        Returns:
            The descriptions. An empty list if all fields are as expected.
        """
        return [found for name, value in expected.items() if (found := self._difference(name, value))]

    def _difference(self, name: str, expected: object) -> str | None:
        if name not in self.fields:
            return None if expected is None else f"{name} is not sent, expected {expected!r}"
        sent, kind = self.fields[name], self.kinds.get(name)
        # A number is rounded, a timedelta becomes milliseconds and a member of an Enum its value, as in the event.
        if sent == expected or (kind is not None and expected is not None and kind.take(expected) == sent):
            return None
        text = expected if kind is None else kind.take(expected)
        if isinstance(text, str) and sent == hashed(text):
            return (
                f"{name} is sent as {sent!r}, the hash of {text!r}, because that is not on the allowlist. To send it "
                f"verbatim: automagik_telemetry.declare({text!r}). To expect the hash: {name}=hashed({text!r})"
            )
        return f"{name} is {sent!r}, expected {expected!r}"

    def __str__(self) -> str:
        values = (f"{name}={value!r}" for name, value in self.fields.items())
        return " ".join([self.name, getLevelName(self.level), *values])


@dataclass(frozen=True)
class Drop:
    """An event, or a field of an event, that would not be sent.

    Args:
        event: Name of the event, shortened to 100 characters. An empty string if it is not known.
        field: Name of the field; None for the whole event.
        reason: The reason, such as "unknown_event", "unknown_field", "wrong_kind", "sampled" or "processor_error".
        suggestion: The nearest declared name, or an empty string.
    """

    event: str
    field: str | None
    reason: str
    suggestion: str = ""

    def __str__(self) -> str:
        place = self.event or "(an event)"
        if self.field is not None:
            place += f": field {self.field}"
        return f"{place}: {self.reason}" + (f"; did you mean {self.suggestion}?" if self.suggestion else "")


@dataclass(frozen=True)
class SentSpan:
    """A span of a trace that would be sent, after secrets were scrubbed.

    Args:
        name: Name of the span.
        type: Type of the span, such as "agent", "llm" or "tool".
        span_id: ID of the span, 16 hex digits.
        parent_span_id: ID of the enclosing span, or None.
        start: Unix time in seconds at which it began.
        end: Unix time in seconds at which it ended.
        fields: The fields that were set: `input`, `output`, `model`, `provider`, `usage`, `cost`, `error`, `metadata`,
            `attributes`, `thread_id`, `user_id` and `first_token_at`.
    """

    name: str
    type: str
    span_id: str = field(repr=False)
    parent_span_id: str | None = field(repr=False)
    start: float = field(repr=False)
    end: float = field(repr=False)
    fields: dict[str, Any]

    @property
    def input(self) -> Any:
        """The input, or None."""
        return self.fields.get("input")

    @property
    def output(self) -> Any:
        """The output, or None."""
        return self.fields.get("output")

    @property
    def model(self) -> str | None:
        """Name of the model, or None."""
        return self.fields.get("model")

    @property
    def usage(self) -> dict[str, Any]:
        """Counts of tokens by name."""
        return self.fields.get("usage") or {}

    @property
    def attributes(self) -> dict[str, Any]:
        """Further attributes."""
        return self.fields.get("attributes") or {}

    @property
    def error(self) -> dict[str, Any] | None:
        """The `type`, `message` and `stacktrace` of the exception, or None."""
        return self.fields.get("error")

    @property
    def duration_ms(self) -> float:
        """Duration in milliseconds."""
        return (self.end - self.start) * 1e3


@dataclass(frozen=True)
class SentTrace:
    """A trace that would be sent to each destination of full traces.

    Args:
        trace_id: ID of the trace, 32 hex digits.
        spans: All spans, the root first.
        sample_rate: The sampling rate of such traces.
        sample_reason: The reason for keeping it, such as "error" or "sampled".
        metadata: Metadata of the trace.
    """

    trace_id: str
    spans: tuple[SentSpan, ...]
    sample_rate: float = 1.0
    sample_reason: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def root(self) -> SentSpan:
        """The span that encloses all others."""
        return self.spans[0]

    def span(self, name: str) -> SentSpan:
        """Return the first span with a name.

        Args:
            name: Name of the span.

        Returns:
            The span.

        Raises:
            AssertionError: There is none.
        """
        for each in self.spans:
            if each.name == name:
                return each
        raise AssertionError(f"no span {name!r}; the trace has {', '.join(each.name for each in self.spans)}")

    def children(self, span: SentSpan) -> list[SentSpan]:
        """Return the spans directly inside another.

        Args:
            span: The enclosing span.

        Returns:
            The spans, in the order in which they began.
        """
        return [each for each in self.spans if each.parent_span_id == span.span_id]


class CapturedTelemetry:
    """Telemetry that was captured: the fixture `telemetry` of pytest, and the value of `capture()`.

    Attributes:
        events: The events that would be sent, in order.
        traces: The full traces that would be sent, in the order in which they ended.
        dropped: The events and fields that would not be sent.
    """

    def __init__(self) -> None:
        self.events: list[SentEvent] = []
        self.traces: list[SentTrace] = []
        self.dropped: list[Drop] = []

    def clear(self) -> None:
        """Forget what was captured so far."""
        for captured in (self.events, self.traces, self.dropped):
            captured.clear()

    def assert_sent(self, event: str, /, **fields: object) -> SentEvent:
        """Check that an event would be sent.

        Args:
            event: Name of the event.
            **fields: Expected values of fields. A number is rounded as in the event. None: the field is not sent. A
                string that is not on the allowlist is sent as its hash, see `hashed`. Other fields may have any value.

        Returns:
            The first such event.

        Raises:
            AssertionError: There is none. The message lists what was sent and dropped, the nearest event first.
        """
        same = [each for each in self.events if each.name == event]
        for each in same:
            if not each.differences(fields):
                return each
        with_fields = f" with {', '.join(f'{name}={value!r}' for name, value in fields.items())}" if fields else ""
        lines = [f"no event {event!r}{with_fields} was sent."]
        if same:
            nearest = min(same, key=lambda each: len(each.differences(fields)))
            lines += [f"Nearest: {nearest}", *(f"  {each}" for each in nearest.differences(fields))]
        elif names := get_close_matches(event, {each.name for each in self.events}, 1):
            lines.append(f"Did you mean {names[0]!r}?")
        raise AssertionError("\n".join([*lines, *self._summary()]))

    def assert_nothing_sent(self) -> None:
        """Check that neither an event nor a trace would be sent.

        Raises:
            AssertionError: Something would be sent. The message lists it.
        """
        if self.events or self.traces:
            raise AssertionError("\n".join(["nothing was expected to be sent.", *self._summary()]))

    def _summary(self) -> Iterator[str]:
        traces = [f"trace of {len(trace.spans)} spans, root {trace.root.name}" for trace in self.traces]
        for title, found in (("Sent", [*map(str, self.events), *traces]), ("Dropped", [*map(str, self.dropped)])):
            yield f"{title}:" if found else f"{title}: nothing"
            yield from (f"  {line}" for line in found[:_MAX_SHOWN])
            if len(found) > _MAX_SHOWN:
                yield f"  and {len(found) - _MAX_SHOWN} more"

    def __repr__(self) -> str:
        return f"<{len(self.events)} events, {len(self.traces)} traces, {len(self.dropped)} dropped>"


@contextmanager
def capture(*, sampling: bool = False) -> Iterator[CapturedTelemetry]:
    """Return a block in which telemetry is on and goes into memory.

    It begins as if the user had opted in, with the configuration that the application has made so far, else the default
    one. Variables that are set inside the block count. At its end everything is as it was before, except for names
    that were declared.

    Args:
        sampling: Whether events and traces are sampled, as configured. By default all are kept.

    Returns:
        The block, which enters with a `CapturedTelemetry`.

    Raises:
        RuntimeError: This interpreter can't send, such as a free-threaded one.
    """
    captured = CapturedTelemetry()
    with ExitStack() as stack:
        isolation.begin(stack, _Recording(captured), sampling=sampling)
        yield captured


class _Recording:
    """Turns what the chains return into the objects of `CapturedTelemetry`."""

    def __init__(self, captured: CapturedTelemetry) -> None:
        self._captured = captured

    def event(self, sent: isolation.Sent) -> None:
        self._captured.events.append(SentEvent(**sent._asdict()))

    def trace(self, event: Mapping[str, Any]) -> None:
        spans = [_span(span) for span in event["spans"]]
        known = {span.span_id for span in spans}
        spans.sort(key=lambda span: span.parent_span_id in known)  # stable: the root first, the others in order
        self._captured.traces.append(
            SentTrace(
                event["trace_id"],
                tuple(spans),
                event.get("sample_rate", 1.0),
                event.get("sample_reason", ""),
                event.get("metadata") or {},
            )
        )

    def drop(self, event: str, field: str | None, reason: str, names: Iterable[str] = ()) -> None:
        near = get_close_matches(event if field is None else field, names, 1)
        self._captured.dropped.append(Drop(event, field, reason, near[0] if near else ""))


def _span(fields: Mapping[str, Any]) -> SentSpan:
    named = {name: fields.get(name) for name in ("name", "type", "span_id", "parent_span_id", "start", "end")}
    return SentSpan(**named, fields={name: value for name, value in fields.items() if name not in named})  # type: ignore[arg-type]  # of a recorded span
