"""`automagik-telemetry disable`: opts out, for this user, and deletes what is queued."""

from __future__ import annotations

import click

from automagik_telemetry.cli._failure import saving
from automagik_telemetry.cli.purge import purge
from automagik_telemetry.consent import _preferences as preferences


@click.command("disable")
def command() -> None:
    """Opt out, and delete what is queued; programs that run do so before they would send again."""
    with saving():
        preferences.save(enabled=False)
    click.echo(f"Disabled in {preferences.path()}: nothing is sent any more.")
    purge()
