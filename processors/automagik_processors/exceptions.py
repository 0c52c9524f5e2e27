"""The exception by which a processor drops an event."""

from __future__ import annotations

import structlog


class Dropped(structlog.DropEvent):
    """Drop the event. structlog handles this as its `DropEvent`.

    Args:
        reason: The reason in snake_case, such as "unknown_event", by which drops are counted.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
