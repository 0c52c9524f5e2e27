"""One run of an agent, from its begin to its end: what is measured, and what is part of what."""

from __future__ import annotations

import contextlib
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

from automagik_telemetry.integrations.current import telemetry
from automagik_telemetry.span import Span
from automagik_telemetry.telemetry.events import AgentExecutionEvent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

_enclosing: ContextVar[tuple[object, ...]] = ContextVar("automagik_telemetry_enclosing", default=())


def is_running(agent: object) -> bool:
    """Return whether the current code is part of a run of that very agent, so that `super().run()` is no second run."""
    return any(agent is enclosing for enclosing in _enclosing.get())


class AgentRun:
    """A `with` block that is a run; what is raised inside passes through unchanged.

    Everything logged inside carries the run's trace, and runs inside are its children. `token_count` may be set until
    the end. A run that ends by an exception is a failed one, and an `agent.error` of the exception's class; a cancelled
    one is failed without an error. Instead of the block, `begin`, `step` and `end` serve work that is done in pieces.
    """

    def __init__(
        self, agent_name: str, framework: str, *, has_multimodal: bool = False, agent: object | None = None
    ) -> None:
        self.agent_name = agent_name
        self.framework = framework
        self.has_multimodal = has_multimodal
        self.token_count: int | None = None
        self._agent = self if agent is None else agent

    def begin(self) -> None:
        """Begin the run, as a child of the one that encloses it, if any."""
        self._span = Span()
        self._started = time.perf_counter()

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Return a block that is part of the run: for all of it, or for each piece."""
        token = _enclosing.set((*_enclosing.get(), self._agent))
        try:
            with self._span.within():
                yield
        finally:
            _enclosing.reset(token)

    def see(self, told: object) -> bool:
        """Take the number of tokens from a result that tells it; nothing is hidden."""
        tokens = None
        with contextlib.suppress(Exception):  # a property of the application's may do anything
            tokens = getattr(told, "total_tokens", None)
        if type(tokens) is int:
            self.token_count = tokens
        return False

    def end(self, error: BaseException | None = None) -> None:
        """End the run and log it."""
        duration_ms = (time.perf_counter() - self._started) * 1000
        with contextlib.suppress(Exception), self.step():
            self._log(error, duration_ms)

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

    def _log(self, error: BaseException | None, duration_ms: float) -> None:
        collector = telemetry()
        if collector is None:
            return
        if isinstance(error, Exception):
            collector.track_error(type(error).__name__, f"agent.{self.agent_name}")
        run = AgentExecutionEvent(
            self.agent_name, self.framework, error is None, duration_ms, self.has_multimodal, self.token_count
        )
        collector.track_event(run, span_id=self._span.span_id)
