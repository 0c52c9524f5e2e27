"""One run of an agent, from its begin to its end: what is measured, and what is part of what."""

from __future__ import annotations

import contextlib
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from automagik_telemetry.events._allowlist import allowlist
from automagik_telemetry.events.catalogue import AgentExecutionEvent, ToolExecutionEvent
from automagik_telemetry.integrations._runtime import observability, telemetry
from automagik_telemetry.tracing._propagation import SpanContext
from automagik_telemetry.tracing.spans import OpenSpan, fill, open_span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Self

_MAX_ITEMS = 1_000
"""Items of a stream that are kept for the trace."""

_enclosing: ContextVar[tuple[AgentRun, ...]] = ContextVar("automagik_telemetry_enclosing", default=())


def is_running(agent: object) -> bool:
    """Return whether the current code is part of a run of that very agent, so that `super().run()` is no second run."""
    return any(agent is run.agent for run in _enclosing.get())


def current_run() -> AgentRun | None:
    """Return the run that the current code is part of."""
    enclosing = _enclosing.get()
    return enclosing[-1] if enclosing else None


class AgentRun:
    """A `with` block that is a run; what is raised inside passes through unchanged.

    Everything logged inside carries the run's trace, and runs inside are its children. What `event` tells may be added
    until the end; `traced` is the run's span, for content, and None while observability is off. A run that ends by an
    exception is a failed one, and an `agent.error` of the exception's class; a cancelled one is failed without an
    error. Instead of the block, `begin`, `step`, `see` and `end` serve work that is done in pieces.
    """

    def __init__(
        self, agent_name: str, framework: str, *, has_multimodal: bool = False, agent: object | None = None
    ) -> None:
        self.event = AgentExecutionEvent(
            agent_name, framework, success=False, duration_ms=0.0, has_multimodal=has_multimodal
        )
        self.agent = self if agent is None else agent
        self.traced: OpenSpan | None = None
        self._items: list[object] = []

    def begin(self) -> None:
        """Begin the run, as a child of the one that encloses it, if any."""
        self._span = SpanContext()
        if observability() is not None:
            self.traced = open_span(self.event.agent_name, "agent", span=self._span)
        self._started = time.perf_counter()

    def record(self, **values: Any) -> None:  # noqa: ANN401 - see OpenSpan
        """Give the run's span, if there is one, its input, or what else a span has. Don't make content for nothing."""
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
            _enclosing.reset(token)

    def observe(self, value: object) -> bool:
        """Take in a result, or an item of a stream, and the number of tokens if it tells it; nothing is hidden."""
        tokens = None
        with contextlib.suppress(Exception):  # a property of the application's may do anything
            tokens = getattr(value, "total_tokens", None)
        if type(tokens) is int:
            self.event.token_count = tokens
        if self.traced is not None and len(self._items) < _MAX_ITEMS:
            self._items.append(value)
        return False

    def count_request(self, model: str | None = None) -> None:
        """Count a request to a model, of that name."""
        self.event.request_count = (self.event.request_count or 0) + 1
        self.event.model = _public(model) if model else self.event.model

    def count_retries(self, number: int = 1) -> None:
        """Count that something had to be tried again."""
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
        self.event.duration_ms = (time.perf_counter() - self._started) * 1000
        self.event.success = error is None
        with contextlib.suppress(Exception), self.step():
            self._log(error)
        if self.traced is not None:
            if self.traced.output is None and self._items:
                self.traced.output = _whole(self._items)
            self.traced.end(error)

    def __enter__(self) -> Self:
        """Begin the run."""
        self.begin()
        self._block = self.step()
        self._block.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the run."""
        self._block.__exit__(None, None, None)
        self.end(error)

    def _log(self, error: BaseException | None) -> None:
        client = telemetry()
        if client is None:
            return
        if isinstance(error, Exception):
            self.event.error_type = type(error).__name__
            client.track_error(self.event.error_type, f"agent.{self.event.agent_name}")
        client.track_event(self.event, span_id=self._span.span_id)


def allow_public_models() -> None:
    """Let the names of public models leave verbatim: once something tells them, for there are two thousand."""
    from automagik_telemetry.events._model_names import MODEL_NAMES  # noqa: PLC0415 - see above

    allowlist.update(MODEL_NAMES)


def _public(model: str) -> str:
    """Return a model's name without who serves it: `gpt-4o` of `openai/gpt-4o:batch`, if that is a public one."""
    bare = model.rpartition("/")[2].partition(":")[0]
    return bare if bare in allowlist else model


def _whole(items: list[object]) -> object:
    """Return what a run gave: its result, the text that it streamed, or else the list of what it streamed."""
    if len(items) == 1:
        return items[0]
    texts = [item for item in items if isinstance(item, str)]
    return "".join(texts) if len(texts) == len(items) else items


class Step:
    """A span, if its run is traced. `about` makes what it took in: it is called only then, and may fail."""

    def __init__(self, run: AgentRun, name: str, type: str, about: Callable[[], dict[str, Any]]) -> None:  # noqa: A002 - the attribute's name
        self.run = run
        self.traced = open_span(name, type) if run.traced is not None else None
        self.record(about)

    def step(self) -> AbstractContextManager[Any]:
        """Return a block whose spans are parts of this; what is logged in it stays part of the run."""
        return contextlib.nullcontext() if self.traced is None else self.traced.within(bind=False)

    def record(self, about: Callable[[], dict[str, Any]]) -> None:
        """Add to what the span says. Nothing that goes wrong with it reaches the application."""
        if self.traced is not None:
            with contextlib.suppress(Exception):
                fill(self.traced, **about())

    def observe(self, value: object) -> bool:
        """Take in a result, or an item of a stream; nothing is hidden."""
        del value
        return False

    def end(self, error: BaseException | None = None) -> None:
        """End the span."""
        if self.traced is not None:
            self.traced.end(error)
