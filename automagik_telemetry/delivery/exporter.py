"""What sends a request body, and what can come of it."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Protocol


class Outcome(Enum):
    """What became of one request."""

    SUCCESS = "success"
    RETRY = "retry"
    """Not accepted now: keep the batch and come back later."""
    REJECTED = "rejected"
    """Refused for good: the batch is dropped."""
    TOO_LARGE = "too_large"
    """Refused for its size: send it in smaller parts."""


class ExportResult(NamedTuple):
    """The outcome, how many events of an accepted batch were rejected, the least delay (s), and one line on why."""

    outcome: Outcome
    rejected: int = 0
    retry_after: float = 0.0
    detail: str = ""


class Exporter(Protocol):
    """Delivers request bodies to one destination. Called by the worker thread only."""

    url: str
    under_way: bool
    """Whether a request is on its way, so that the end of the process may wait a moment for its answer."""

    def export(self, body: bytes, timeout: float) -> ExportResult:
        """Send `body`, compressed with gzip, within `timeout` seconds. Must not raise for anything the network does."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Import and make what the first request needs, so that it takes less time. Must not raise."""

    def abandon(self) -> None:
        """Forget open connections without touching them, in the child of a fork."""

    def shutdown(self) -> None:
        """Close open connections."""
