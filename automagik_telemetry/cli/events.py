"""`automagik-telemetry events`: all that can ever be sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from automagik_telemetry.events._allowlist import allowlist
from automagik_telemetry.events.catalogue import EVENTS

if TYPE_CHECKING:
    from automagik_telemetry.events.catalogue import TelemetryEvent


@click.command("events")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--words", is_flag=True, help="Print also every word that may leave as it is.")
def command(as_json: bool, words: bool) -> None:  # noqa: FBT001 - click's way to give flags
    """Show all that can ever be sent: events, levels, fields and kinds, and with --words the vocabulary."""
    catalogue = [_described(event) for event in EVENTS]
    if as_json:
        known = {"vocabulary": sorted(allowlist)} if words else {}
        click.echo(json.dumps({"events": catalogue, **known}, indent=2))
        return
    for event in catalogue:
        click.secho(f"{event['event']}  ({event['level']})", bold=True)
        click.echo(f"  {event['says']}")
        for field in event["fields"]:
            click.echo(f"    {field['field']:<15} {field['kind']:<9} {field['says']}")
    click.echo("\nA word leaves as it is only if it was declared, else as a keyed hash; numbers are rounded.")
    if words:
        click.echo(f"The {len(allowlist)} words declared here: {', '.join(sorted(allowlist))}.")


def _described(event: type[TelemetryEvent]) -> dict[str, Any]:
    return {
        "event": event.name,
        "level": event.levels(),
        "says": event.__doc__,
        "fields": [
            {"field": name, "kind": kind.name, "says": event.fields[name].sentence}
            for name, kind in event.kinds().items()
        ],
    }
