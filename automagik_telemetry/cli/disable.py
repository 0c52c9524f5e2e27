"""`automagik-telemetry disable`: opts out, for this user, and deletes what is queued."""

from __future__ import annotations

import click

from automagik_telemetry import choice
from automagik_telemetry.cli.failure import saving
from automagik_telemetry.cli.purge import purge


@click.command("disable")
def command() -> None:
    """Opt out, and delete what is queued; programs that run do so before they would send again."""
    with saving():
        choice.save(enabled=False)
    click.echo(f"Disabled in {choice.path()}: nothing is sent any more.")
    purge()
