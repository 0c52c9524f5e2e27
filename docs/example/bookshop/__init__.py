"""A bookshop whose staff are agents: a worked example, tracked in one line at each place where something happens."""

from __future__ import annotations

from pathlib import Path

from automagik_telemetry import configure

STAFF = ("clerk", "poet", "concierge")


def start() -> None:
    """Set logging up as the shop's own logging.yaml says: what the command line and the server begin with."""
    configure(Path(__file__).with_name("logging.yaml"))
