"""What one request carries: a segment, or several that had to wait for each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automagik_telemetry.delivery.envelope import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automagik_telemetry.delivery.segment import Segment


class Batch:
    """Closed segments of one envelope, in their order."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = segments
        self.events = sum(segment.events for segment in segments)

    def body(self, scratch: bytearray) -> memoryview:
        """Return the request body, which lies in `scratch`, grown as needed, until it is released.

        What is paged in once is written again each time. Raises OSError if a file can't be read.
        """
        envelope = self.segments[0].envelope
        sizes = [segment.lines_size for segment in self.segments]
        end = len(envelope.head)
        size = end + sum(sizes) - len(SEPARATOR) + len(envelope.closing)
        if len(scratch) < size:
            scratch.extend(bytes(size - len(scratch)))
        body = memoryview(scratch)
        body[:end] = envelope.head
        for segment, lines_size in zip(self.segments, sizes, strict=True):
            with body[end : end + lines_size] as lines:
                segment.read_lines(lines)
            end += lines_size
            body[end - len(SEPARATOR) : end] = SEPARATOR  # where it was sealed
        body[end - len(SEPARATOR) : size] = envelope.closing
        return body[:size]

    def defer(self, until: float) -> None:
        """Keep with the segments that they may not be sent before `until` (Unix seconds)."""
        for segment in self.segments:
            segment.defer(until)
