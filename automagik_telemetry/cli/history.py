"""`automagik-telemetry history`: shows what was sent in the last 30 days, by day and event."""

from __future__ import annotations

import json
from typing import Any

import click

from automagik_telemetry.cli import _applications as applications
from automagik_telemetry.cli._output import printable
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.consent import _states as states
from automagik_telemetry.settings import Settings


@click.command("history")
@click.argument("application", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, application: str | None, as_json: bool) -> None:
    """Show how many events were sent in the last 30 days, or only recorded here, by day and event.

    Events count when the recipient has answered, also those that it rejected. Days are those of UTC. Nothing is added
    while telemetry is off. `purge` deletes the history.
    """
    applications.check_application(application)
    rows = _rows(application)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        applications.echo("Nothing was sent or recorded in the last 30 days.")
        return
    shown = None
    for row in rows:
        if shown != (shown := (row["application"], row["recipient"])):
            applications.echo(f"{printable(row['application'])} to {row['recipient']}:")
        click.echo(f"  {row['day']}  {row['events']:>7,} {row['state']:<8}  {row['event']}")


def _rows(application: str | None) -> list[dict[str, Any]]:
    """Return the history of an application, or of all, the latest day first."""
    # A command that shows nothing of this need not import it.
    from automagik_telemetry.export._history import History

    settings = Settings.from_environ()
    directory = identity.state_directory(settings.state_dir)
    found = []
    for scope in states.scopes(settings, application):
        rows = sorted(History(directory, scope).rows(), key=lambda row: (row.day, row.events), reverse=True)
        found += [{**scope._asdict(), **row._asdict()} for row in rows]
    return found
