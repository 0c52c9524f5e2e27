"""What one request carries: a segment, or several that had to wait for each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automagik_telemetry.delivery.envelope import SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from automagik_telemetry.delivery.segment import Segment


class Batch:
    """Closed segments of one envelope, in their order."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = segments
        self.events = sum(segment.events for segment in segments)

    def pieces(self) -> Iterator[bytes | memoryview]:
        """Yield the request body, a piece at a time, which holds until the next; no fork happens meanwhile.

        Raises OSError if a file can't be read.
        """
        envelope = self.segments[0].envelope
        before = envelope.head
        for segment in self.segments:
            yield before
            with segment.lines() as lines:
                yield lines
            before = SEPARATOR
        yield envelope.closing

    def body(self) -> bytes:
        """Return the request body. Raises OSError if a file can't be read."""
        return b"".join(map(bytes, self.pieces()))

    def defer(self, until: float) -> None:
        """Keep with the segments that they may not be sent before `until` (Unix seconds)."""
        for segment in self.segments:
            segment.defer(until)
