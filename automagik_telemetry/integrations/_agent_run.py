"""One run of an agent, from begin to end: its measurements and its parts."""

from __future__ import annotations

import contextlib
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, cast

from automagik_processors._scalars import integer_of
from automagik_telemetry._failsafe import Block, attempt, class_name
from automagik_telemetry._process import kept
from automagik_telemetry.events.catalogue import AgentExecutionEvent, ToolExecutionEvent
from automagik_telemetry.integrations._runtime import observability, record, telemetry
from automagik_telemetry.integrations._wrapping import Run
from automagik_telemetry.tracing._propagation import SpanContext
from automagik_telemetry.tracing.spans import OpenSpan, fill, open_span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Self

MAX_ITEMS = 1_000
"""Maximum number of items of a stream that are kept for the trace."""

_enclosing: ContextVar[tuple[AgentRun, ...]] = kept(
    "enclosing", lambda: ContextVar("automagik_telemetry_enclosing", default=())
)


_calls: ContextVar[tuple[tuple[AgentRun, object], ...]] = kept(
    "calls", lambda: ContextVar("automagik_telemetry_calls", default=())
)


def current_run() -> AgentRun | None:
    """Return the open run that the current code is part of. A task may outlive the run that started it."""
    return next((run for run in reversed(_enclosing.get()) if not run.ended), None)


class PartOfRun(Run):
    """A call that is part of its agent's current run, such as `super().run()`, and not a run of its own."""

    def __init__(self, run: AgentRun, function: object) -> None:
        self._call = run, function

    @classmethod
    def of(cls, agent: object, function: object) -> PartOfRun | None:
        """Return the call as part of the current run; None if it is a run of its own.

        It is a run of its own if it runs another agent, or if an agent calls its own function that is already running.
        """
        run = current_run()
        if run is None or run.agent is not agent or run.function is function:
            return None
        if any(one is run and running is function for one, running in _calls.get()):
            return None
        return cls(run, function)

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Return a block in which the function is running."""
        token = _calls.set((*_calls.get(), self._call))
        try:
            yield
        finally:
            with contextlib.suppress(ValueError):  # left in another context than it was entered in
                _calls.reset(token)


class AgentRun(Run):
    """A run: `begin`, then `step` around each piece of its work, `observe` for its results, and `end`.

    As a `with` block it is a run of one piece, and exceptions inside pass through unchanged.

    Everything logged inside carries the run's trace, and runs inside are its children. Fields of `event` may be set
    until the end. `traced` is the run's span, for content, and None while observability is off. A run that ends by an
    exception fails, and is reported as an `agent.error` of the exception's class; a cancelled run fails without one.
    """

    def __init__(
        self,
        agent_name: str,
        framework: str,
        *,
        has_multimodal: bool = False,
        agent: object | None = None,
        function: object = None,
    ) -> None:
        self.event = AgentExecutionEvent(
            agent_name, framework, success=False, duration_ms=0.0, has_multimodal=has_multimodal
        )
        self.agent = self if agent is None else agent
        self.function = function
        """The function whose call it is."""
        self.ended = False
        self.traced: OpenSpan | None = None
        self._items: list[object] = []

    def begin(self) -> None:
        """Begin the run, as a child of the one that encloses it, if any."""
        self._span = SpanContext()
        if observability() is not None:
            self.traced = open_span(self.event.agent_name, "agent", span=self._span)
        self._started = time.perf_counter()

    def record(self, **values: Any) -> None:
        """Set the input or other attributes of the run's span, if there is one. Don't create content needlessly."""
        if self.traced is not None:
            fill(self.traced, **values)

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Return a block that is part of the run: for all of it, or for each piece."""
        token = _enclosing.set((*_enclosing.get(), self))
        try:
            with (self.traced or self._span).within():
                yield
        finally:
            with contextlib.suppress(ValueError):  # left in another context than it was entered in
                _enclosing.reset(token)

    def observe(self, value: object) -> bool:
        """Record a result, or an item of a stream, and its number of tokens if it has one. Nothing is hidden."""
        if self.traced is not None and len(self._items) < MAX_ITEMS:
            self._items.append(value)
        self._take_tokens(value)
        return False

    def conclude(self, result: object, idle: float) -> None:
        """Record the number of tokens of a returned object, and leave out the time in which it was not used."""
        self._take_tokens(result)
        self._started += idle
        if self.traced is not None:
            self.traced.shorten(idle)

    def _take_tokens(self, value: object) -> None:
        tokens = attempt(getattr, value, "total_tokens", None)
        if tokens is not None and (count := integer_of(tokens)) is not None:
            self.event.token_count = count

    def count_request(self, model: str | None = None) -> None:
        """Count a request to the named model."""
        self.event.request_count = (self.event.request_count or 0) + 1
        self.event.model = model or self.event.model

    def count_retries(self, number: int = 1) -> None:
        """Count a retry."""
        self.event.retry_count = (self.event.retry_count or 0) + number

    def count_tokens(self, input_tokens: int, output_tokens: int) -> None:
        """Count tokens that a model read and wrote."""
        self.event.input_tokens = (self.event.input_tokens or 0) + input_tokens
        self.event.output_tokens = (self.event.output_tokens or 0) + output_tokens

    def log_tool(self, tool: ToolExecutionEvent) -> None:
        """Log a tool that was executed in this run."""
        self.event.tool_count = (self.event.tool_count or 0) + 1
        tool.agent_name = self.event.agent_name
        client = telemetry()
        if client is not None:
            client.track_event(tool)

    def end(self, error: BaseException | None = None) -> None:
        """End the run and log it."""
        self.ended = True
        self.event.duration_ms = (time.perf_counter() - self._started) * 1000
        self.event.success = error is None
        with Block(self.step):
            record(self._log, error)
        if self.traced is not None:
            if self.traced.output is None and self._items:
                self.traced.output = _whole(self._items)
            self.traced.end(error)

    def __enter__(self) -> Self:
        """Begin the run."""
        record(self.begin)
        self._block = Block(self.step)
        self._block.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the run."""
        self._block.__exit__()
        record(self.end, error)

    def _log(self, error: BaseException | None) -> None:
        client = telemetry()
        if client is None:
            return
        if issubclass(type(error), Exception):
            self.event.error_type = class_name(type(error))
            client.track_error(self.event.error_type, f"agent.{self.event.agent_name}")
        client.track_event(self.event, span_id=self._span.span_id)


def _whole(items: list[object]) -> object:
    """Return the output of a run: its result, its streamed text, or else the list of streamed items."""
    if len(items) == 1:
        return items[0]
    texts = [str.__str__(cast("str", item)) for item in items if issubclass(type(item), str)]
    return "".join(texts) if len(texts) == len(items) else items


class TracedRun(Protocol):
    """A run that may have a span."""

    traced: OpenSpan | None


class Step(Run):
    """A span, if its run is traced. `about` returns the input; it is called only if needed, and may fail."""

    def __init__(self, run: TracedRun, name: str, type: str, about: Callable[[], dict[str, Any]]) -> None:  # noqa: A002 - the attribute's name
        self.traced = open_span(name, type) if run.traced is not None else None
        self.record(about)

    def step(self) -> AbstractContextManager[Any]:
        """Return a block whose spans are children of this one. Events logged in it stay part of the run."""
        return contextlib.nullcontext() if self.traced is None else self.traced.within(bind=False)

    def record(self, about: Callable[[], dict[str, Any]]) -> None:
        """Add attributes to the span. No failure reaches the application."""
        if self.traced is not None:
            attempt(self._fill, self.traced, about)

    @staticmethod
    def _fill(span: OpenSpan, about: Callable[[], dict[str, Any]]) -> None:
        fill(span, **about())

    def conclude(self, result: object, idle: float) -> None:
        """Leave out the time in which a returned object was not used."""
        del result
        if self.traced is not None:
            self.traced.shorten(idle)

    def end(self, error: BaseException | None = None) -> None:
        """End the span."""
        if self.traced is not None:
            self.traced.end(error)
