"""Finds providers that other distributions bring: an entry point whose function returns a logging handler.

The function takes nothing, and returns None while its provider is not configured. The handler gets each trace as one
record, whose attributes `delivery.chain.event_dict` reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from automagik_telemetry._log import warn

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    Provider = Callable[[], logging.Handler | None]

GROUP = "automagik_telemetry.providers"


def installed() -> dict[str, logging.Handler]:
    """Return the handlers of all installed providers that are configured, by name; one that fails is warned of."""
    import logging  # noqa: PLC0415 - with the next, only where traces are allowed
    from importlib.metadata import entry_points  # noqa: PLC0415 - see above

    found: dict[str, logging.Handler] = {}
    for entry_point in entry_points(group=GROUP):
        try:
            provider: Provider = entry_point.load()
            handler = provider()
            if handler is not None and not isinstance(handler, logging.Handler):
                raise TypeError(f"{type(handler).__name__} is no logging.Handler")  # noqa: TRY301 - the one way out
        except Exception as error:  # noqa: BLE001 - another distribution's code may raise anything
            warn("the provider %r can't be used: %s: %s", entry_point.name, type(error).__name__, error)
            continue
        if handler is not None:
            found[entry_point.name] = handler
    return found
