"""Every bound on what a sink may take of its host: events, bytes and seconds."""

from __future__ import annotations

from typing import NamedTuple


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
