"""`automagik-telemetry reset-id`: forgets the random id, so that what follows can't be joined with what came before."""

from __future__ import annotations

from pathlib import Path

import click

from automagik_telemetry.cli._failure import saving
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.settings import Settings


@click.command("reset-id")
def command() -> None:
    """Forget the anonymous id and the key of the hashes; new ones are made when something may be sent again."""
    directory = Path(identity.state_directory(Settings.from_environ().state_dir))
    with saving():
        for name in ("anonymous_id", "salt"):
            (directory / name).unlink(missing_ok=True)
    click.echo("The anonymous id is forgotten. Programs that run keep it until they end.")
