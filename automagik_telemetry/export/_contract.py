"""The interface between a sink and the pipeline: an exporter, and limits of the queue."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple, Protocol

MAX_AGE: Final = 7 * 86_400.0
"""Seconds that an event may wait to be sent."""
MAX_TRACE_AGE: Final = 86_400.0
"""Seconds that a trace may wait, because it holds content."""


class Outcome(StrEnum):
    """Outcome of one request. Equal to the same member of the module before a reload."""

    SUCCESS = "success"
    RETRY = "retry"
    """Not accepted now: the batch is kept and sent again later."""
    REJECTED = "rejected"
    """Rejected permanently: the batch is dropped."""
    TOO_LARGE = "too_large"
    """Rejected because of its size: the batch is sent in smaller parts."""


class Permission(StrEnum):
    """The consent to send queued events, as it is at this moment. Equal to the same member before a reload."""

    GRANTED = "granted"
    HELD = "held"
    """Not known at this moment: nothing is sent or deleted, and consent is read again within a second."""
    WITHDRAWN_HERE = "withdrawn_here"
    """Withdrawn for this process: the events that it has queued are deleted, those of other processes are kept."""
    WITHDRAWN = "withdrawn"
    """Withdrawn for all processes: all queued events are deleted."""


class ExportResult(NamedTuple):
    """The outcome, the number of rejected events of an accepted batch, the minimum delay (s), and a detail."""

    outcome: Outcome
    rejected: int = 0
    retry_after: float = 0.0
    detail: str = ""
    by_endpoint: bool = True
    """True if a refusal was the endpoint's own. A proxy's may pass, so it is retried a few times."""


class Exporter(Protocol):
    """Sends request bodies to one destination. Called by the worker thread only."""

    url: str

    @property
    def under_way(self) -> bool:
        """True while a request is in progress, for whose response the process may wait briefly before it ends."""
        raise NotImplementedError

    def export(self, body: bytes, timeout: float) -> ExportResult:
        """Send `body`, compressed with gzip, within `timeout` seconds. Must not raise for a network error."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Import and create what the first request needs, so that it takes less time. Must not raise."""

    def abandon(self) -> None:
        """Discard open connections without using them, in the child of a fork."""

    def shutdown(self) -> None:
        """Close open connections."""


class Limits(NamedTuple):
    """Limits of one sink, named as in OpenTelemetry's batch processors where those have them."""

    max_queue_size: int = 20_000
    """Events undelivered in this process; one more is dropped as `queue_full`."""
    max_export_batch_size: int = 8_000
    """Events in one batch, which is one request."""
    max_export_batch_bytes: int = 4 * 1024 * 1024
    """Size of one batch before compression."""
    schedule_delay: float = 5.0
    """Seconds after which a batch is sent that is not full. With 0.0, an idle worker sends each event at once."""
    export_timeout: float = 10.0
    """Seconds that one request may take in all."""
    max_event_bytes: int = 64 * 1024
    """Size of one encoded event; a larger one is dropped as `too_large`."""
    segment_bytes: int = 1024 * 1024
    """Size of one segment, of which a batch has several."""
    max_segment_bytes: int = 0
    """Size that a segment may have instead if it begins with an event that `segment_bytes` can't hold."""
    max_disk_bytes: int = 32 * 1024 * 1024
    """Size on disk of what this process has queued, and of all that ended processes have left.

    Beyond either, the oldest segments are dropped as `queue_full`. Room is kept for one more segment.
    """
    max_memory_bytes: int = 8 * 1024 * 1024
    """Size of what waits in memory where there is no disk."""
    max_age: float = MAX_AGE
    """Seconds after which an undelivered batch is dropped as `expired`."""
    write_interval: float = 0.1
    """Seconds after which a buffered segment is written to its file."""
    exit_timeout: float = 0.1
    """Seconds that the end of the process may wait for the answer to a request that is on its way."""
    backlog_segments: int = 8
    """Segments that ended processes have left, from which on the end of a process may wait to send them."""
    backlog_age: float = 3_600.0
    """Age of the oldest one, in seconds, from which on it may do so for fewer."""
    backlog_timeout: float = 0.5
    """Seconds that it may then wait."""
    backlog_interval: float = 60.0
    """Seconds for which no end of a process waits after one that could not send them."""
