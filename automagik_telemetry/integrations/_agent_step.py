"""One step within a run, a request to a model or an execution of a tool, as a span of the run's trace."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from automagik_telemetry.tracing.spans import fill, open_span

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from automagik_telemetry.integrations._agent_run import AgentRun


class Step:
    """A span, if its run is traced. `about` makes what it took in: it is called only then, and may fail."""

    def __init__(self, run: AgentRun, name: str, type: str, about: Callable[[], dict[str, Any]]) -> None:  # noqa: A002 - the attribute's name
        self.run = run
        self.traced = open_span(name, type) if run.traced is not None else None
        self.tell(about)

    def step(self) -> AbstractContextManager[Any]:
        """Return a block whose spans are parts of this; what is logged in it stays part of the run."""
        return contextlib.nullcontext() if self.traced is None else self.traced.within(bind=False)

    def tell(self, about: Callable[[], dict[str, Any]]) -> None:
        """Add to what the span says. Nothing that goes wrong with it reaches the host."""
        if self.traced is not None:
            with contextlib.suppress(Exception):
                fill(self.traced, **about())

    def see(self, told: object) -> bool:
        """Take in a result, or an item of a stream; nothing is hidden."""
        del told
        return False

    def end(self, error: BaseException | None = None) -> None:
        """End the span."""
        if self.traced is not None:
            self.traced.end(error)
