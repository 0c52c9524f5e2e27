"""A bookshop with agents as staff: a worked example with one line of tracking per component."""

from __future__ import annotations

from pathlib import Path

from automagik_telemetry import configure

STAFF = ("clerk", "poet", "concierge")


def start() -> None:
    """Configure logging by the shop's own logging.yaml, for the command line and the server."""
    configure(Path(__file__).with_name("logging.yaml"))
