"""`automagik-telemetry reset-id`: deletes anonymous IDs, so that later events can't be joined with earlier ones."""

from __future__ import annotations

import json
from typing import Any

import click

from automagik_telemetry.cli import _applications as applications
from automagik_telemetry.cli._failure import saving
from automagik_telemetry.cli._output import printable
from automagik_telemetry.cli.purge import purge, report
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.consent import _states as states
from automagik_telemetry.manager import release
from automagik_telemetry.settings import Settings


@click.command("reset-id")
@click.argument("application", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, application: str | None, as_json: bool) -> None:
    """Reset the anonymous IDs and hash keys, of every application or of one.

    The old IDs are shown once, so that you can name them when you ask a recipient to delete your data. Queued events
    with them are deleted, except for those of running programs, which still send them. New IDs are made when events
    may be sent.
    """
    applications.check_application(application)
    settings = Settings.from_environ()
    directory = identity.state_directory(settings.state_dir)
    old = _ids(application, directory, settings)
    release(application, "the anonymous ID was reset")
    with saving():
        count = identity.reset(directory, application)
    deleted, held = purge(application) if count else (0, 0)
    if as_json:
        row = {"application": application, "reset": count, "old": old, "deleted": deleted, "held": held}
        click.echo(json.dumps(row, indent=2))
        return
    of = "" if application is None else f" of {printable(application)}"
    if not count:
        applications.echo(f"There are no anonymous IDs{of}.")
        return
    for each in old:
        applications.echo(f"{printable(each['application'])} was {each['id']} to {each['recipient']}.")
    if old:
        applications.echo("This is shown once. Name it to have your data deleted there.")
    applications.echo(f"The anonymous IDs{of} are reset.")
    report(deleted, held, "which still send them with the old ID")
    applications.echo("Running programs keep the old ones until they end.")


def _ids(application: str | None, directory: str, settings: Settings) -> list[dict[str, Any]]:
    """Return the anonymous IDs of an application, or of all, one for each recipient that is known."""
    return [
        {**scope._asdict(), "id": found}
        for scope in states.scopes(settings, application)
        if (found := identity.existing_id(directory, scope))
    ]
