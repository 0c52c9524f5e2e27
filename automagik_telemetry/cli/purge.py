"""`automagik-telemetry purge`: deletes the events that are queued on disk, without sending them."""

from __future__ import annotations

import json

import click

from automagik_telemetry.cli import _applications as applications
from automagik_telemetry.cli._delivery import plural
from automagik_telemetry.cli._failure import saving
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.manager import release
from automagik_telemetry.settings import Settings


@click.command("purge")
@click.argument("application", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, application: str | None, as_json: bool) -> None:
    """Delete all queued events that have not been sent, and the history, of every application or of one."""
    # A command that deletes nothing need not import this.
    from automagik_telemetry.export._history import delete

    applications.check_application(application)
    deleted, held = purge(application)
    with saving():
        delete(identity.state_directory(Settings.from_environ().state_dir), application)
    if as_json:
        click.echo(json.dumps({"application": application, "deleted": deleted, "held": held}, indent=2))
    else:
        report(deleted, held)
        click.echo("The history is empty.")


def purge(application: str | None = None) -> tuple[int, int]:
    """Delete the segments that no running program holds. Return the number of those deleted, and of those held."""
    from automagik_telemetry.export._purge import purge as delete

    release(application)
    deleted, held, errors = delete(application, Settings.from_environ())
    for error in errors:
        click.echo(f"Skipped: {error}", err=True)
    return deleted, held


def report(deleted: int, held: int, then: str = "which delete them if telemetry is off") -> None:
    """Print the result of `purge`, and what becomes `then` of what is held."""
    click.echo(f"Deleted {plural(deleted, 'queued batch', 'es')}.")
    if held:
        applications.echo(f"Skipped {plural(held, 'batch', 'es')} of running programs, {then}.")
