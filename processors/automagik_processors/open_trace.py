"""What a trace is while it is collected, and when it has been decided on: what is read of it to encode it."""

from __future__ import annotations

from typing import Any, Protocol


class Decision(Protocol):
    """Why a trace is sent, and how many stand for it."""

    @property
    def sample_rate(self) -> float: ...  # noqa: D102

    @property
    def reason(self) -> str: ...  # noqa: D102


class OpenTrace(Protocol):
    """A trace as it was collected."""

    trace_id: str
    truncated: int
    metadata: dict[str, Any]


class OpenSpan(Protocol):
    """One of its spans; see `langwatch_span` for what is meant. `ended` is None while it goes on."""

    name: str
    type: str
    span_id: str
    parent_span_id: str | None
    start: float
    ended: float | None
    input: object
    output: object
    error: dict[str, Any] | None
    model: str | None
    provider: str | None
    usage: dict[str, Any] | None
    cost: float | None
    cost_estimated: bool
    first_token_at: float | None
    thread_id: str | None
    user_id: str | None
    metadata: dict[str, Any] | None
    attributes: dict[str, Any] | None
