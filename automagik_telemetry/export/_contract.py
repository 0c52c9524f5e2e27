"""The contract between a sink and the pipeline: an exporter, and limits on what may wait."""

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


class Limits(NamedTuple):
    """One sink's bounds; names as in OpenTelemetry's batch processors where it has them."""

    max_queue_size: int = 100_000
    """Events undelivered in this process; one more is dropped as `queue_full`."""
    max_export_batch_size: int = 8_000
    """Events in one batch, which is one request."""
    max_export_batch_bytes: int = 4 * 1024 * 1024
    """Size of one batch before compression."""
    schedule_delay: float = 5.0
    """Seconds after which a batch is sent that is not full."""
    export_timeout: float = 10.0
    """Seconds that one request may take in all."""
    max_event_bytes: int = 64 * 1024
    """Size of one encoded event; a larger one is dropped as `too_large`."""
    segment_bytes: int = 1024 * 1024
    """Size of one segment, of which a batch has several."""
    max_disk_bytes: int = 16 * 1024 * 1024
    """Size of one destination's folder; beyond it the oldest batch is dropped as `queue_full`."""
    max_memory_bytes: int = 8 * 1024 * 1024
    """Size of what waits in memory where there is no disk."""
    max_age: float = 7 * 86_400.0
    """Seconds after which an undelivered batch is dropped as `expired`."""
    write_interval: float = 0.1
    """Seconds after which a buffered segment is written to its file."""
    exit_timeout: float = 0.1
    """Seconds that the end of the process may wait for the answer to a request that is on its way."""
