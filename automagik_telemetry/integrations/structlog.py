"""A processor for an application's own structlog chain, which needs no other line of ours."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from automagik_telemetry.events.catalogue import CATALOGUE
from automagik_telemetry.integrations._runtime import telemetry

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger


def emit_event(_logger: WrappedLogger, method_name: str, event_dict: EventDict) -> EventDict:
    """Log events of the catalogue to our sinks as well, while telemetry is on; all goes on through the chain unchanged.

    Put it where the event's fields are complete and not yet rendered; leave it out if the chain ends in a standard
    logger below `automagik`, which brings the events already.
    """
    name = event_dict.get("event")
    if type(name) is str and name in CATALOGUE and (client := telemetry()) is not None:
        level = logging.getLevelName("ERROR" if method_name == "exception" else method_name.upper())
        if type(level) is int:
            client.log(dict(event_dict), level)
    return event_dict
