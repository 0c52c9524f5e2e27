"""Takes events from structlog while the application has not configured it, and changes nothing else there.

structlog's own settings are never set. A later, partial `structlog.configure` of the application would keep
the rest of our settings, and `configure_once` would fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from automagik_telemetry._process import is_same

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import Processor


def add_to_defaults(processor: Processor) -> None:
    """Put a processor in front of structlog's defaults, in the live list, instead of its earlier version."""
    if structlog.is_configured():
        return
    processors: list[Processor] = structlog.get_config()["processors"]
    processors[:] = [processor, *(each for each in processors if not is_same(each, processor))]


def snapshot() -> Callable[[], None]:
    """Return a function that removes the processors which are added to structlog's defaults from now on."""
    live: list[Processor] = structlog.get_config()["processors"]
    before = list(live)

    def restore() -> None:
        if not structlog.is_configured() and structlog.get_config()["processors"] is live:
            live[:] = before

    return restore


def is_used(*processors: Processor) -> bool:
    """Return whether one of the processors is in the chain that loggers get by default."""
    return any(is_same(each, processor) for each in structlog.get_config()["processors"] for processor in processors)
