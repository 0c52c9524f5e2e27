"""How a processor of this package ends an event's path: by raising `Dropped` with the reason."""

from __future__ import annotations

import structlog


class Dropped(structlog.DropEvent):
    """The event goes no further, and `reason` says why in one snake_case word.

    structlog itself treats it as the `DropEvent` it is; who counts losses reads `reason`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
