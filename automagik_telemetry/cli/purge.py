"""`automagik-telemetry purge`: deletes the events that are queued on disk, without sending them."""

from __future__ import annotations

import json

import click

from automagik_telemetry.cli import _applications as applications
from automagik_telemetry.cli._delivery import plural, queues


@click.command("purge")
@click.argument("application", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, application: str | None, as_json: bool) -> None:
    """Delete all queued events that have not been sent, of every application or of one."""
    applications.check_application(application)
    deleted, held = purge(application)
    if as_json:
        click.echo(json.dumps({"application": application, "deleted": deleted, "held": held}, indent=2))
    else:
        report(deleted, held)


def purge(application: str | None = None) -> tuple[int, int]:
    """Delete the segments that no running program holds. Return the number of those deleted, and of those held."""
    from automagik_telemetry.consent._records import read
    from automagik_telemetry.export._spool import Spool, application_of
    from automagik_telemetry.export._stats import DeliveryStats
    from automagik_telemetry.settings import Settings

    records = read(Settings.from_environ()) if application is not None else []
    names = {application, *(name for each in records if each.name == application for name in each.services)}
    deleted = held = 0
    for folder in queues():
        if application is not None and application_of(str(folder)) not in names:
            continue
        try:
            spool = Spool(str(folder))
        except OSError as error:
            click.echo(f"Skipped: {error}", err=True)
            continue
        stats = DeliveryStats()
        for name in spool.names():
            if spool.drop(stats, name, "purged"):
                deleted += 1
            else:
                held += 1
    return deleted, held


def report(deleted: int, held: int) -> None:
    """Print the result of `purge`."""
    click.echo(f"Deleted {plural(deleted, 'queued batch', 'es')}.")
    if held:
        click.echo(f"Skipped {plural(held, 'batch', 'es')} of running programs, which delete them if telemetry is off.")
