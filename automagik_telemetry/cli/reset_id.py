"""`automagik-telemetry reset-id`: deletes anonymous IDs, so that later events can't be joined with earlier ones."""

from __future__ import annotations

import json

import click

from automagik_telemetry.cli import _applications as applications
from automagik_telemetry.cli._failure import saving
from automagik_telemetry.cli._output import printable
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.settings import Settings


@click.command("reset-id")
@click.argument("application", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, application: str | None, as_json: bool) -> None:
    """Reset the anonymous IDs and hash keys, of every application or of one.

    New ones are made when events may be sent.
    """
    applications.check_application(application)
    directory = identity.state_directory(Settings.from_environ().state_dir)
    with saving():
        count = identity.reset(directory, application)
    if as_json:
        click.echo(json.dumps({"application": application, "reset": count}, indent=2))
        return
    of = "" if application is None else f" of {printable(application)}"
    if count:
        applications.echo(f"The anonymous IDs{of} are reset. Running programs keep the old ones until they end.")
    else:
        click.echo(f"There are no anonymous IDs{of}.")
