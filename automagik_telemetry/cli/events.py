"""`automagik-telemetry events`: shows every event that can be sent, and checks for changes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from automagik_telemetry.cli._declarations import load
from automagik_telemetry.cli._delivery import plural
from automagik_telemetry.cli._failure import Failure
from automagik_telemetry.events._allowlist import allowlist
from automagik_telemetry.events._description import describe, differences, markdown, notes, sentence_of

if TYPE_CHECKING:
    from collections.abc import Iterable


@click.command("events")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown.")
@click.option("--allowlist", "with_allowlist", is_flag=True, help="Print also the strings that are sent verbatim.")
@click.option("--import", "module", metavar="MODULE", help="Import your application, and show its events as well.")
@click.option(
    "--check",
    "saved",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="Compare with FILE, a catalogue that `events --json` printed.",
)
def command(*, as_json: bool, as_markdown: bool, with_allowlist: bool, module: str | None, saved: Path | None) -> None:
    """Show every event that can be sent, with its level and the kinds of its fields.

    These are the built-in events, and those of your logging.yaml and installed libraries. With --check, the exit code
    is 1 if an event or field was removed, is new, or has another kind.
    """
    events = load(module)
    catalogue = [describe(event) for event in events]
    if saved is not None:
        sys.exit(_check(saved, catalogue))
    if as_markdown:
        click.echo(markdown(events), nl=False)
    elif as_json:
        allowed = {"allowlist": sorted(allowlist)} if with_allowlist else {}
        click.echo(json.dumps({"events": catalogue, **allowed}, indent=2))
    else:
        _show(catalogue, with_allowlist=with_allowlist)


def _check(saved: Path, catalogue: Iterable[dict[str, Any]]) -> int:
    try:
        found = sorted(differences(json.loads(saved.read_text(encoding="utf-8")), catalogue))
    except OSError as error:
        raise Failure(f"{saved} can't be read: {error.strerror}.") from error
    except ValueError as error:
        remedy = "Make one: automagik-telemetry events --json > FILE"
        raise Failure(
            f"{saved} is not a catalogue that `automagik-telemetry events --json` printed. {remedy}"
        ) from error
    for difference in found:
        click.echo(difference)
    if not found:
        click.echo(f"No event or field differs from {saved}.")
        return 0
    click.echo(
        f"{plural(len(found), 'difference')} from {saved}. If they are intended, save the catalogue again.", err=True
    )
    return 1


def _show(catalogue: Iterable[dict[str, Any]], *, with_allowlist: bool) -> None:
    for event in catalogue:
        click.secho(f"{event['event']}  ({event['level']})", bold=True)
        for line in filter(None, (event["description"], " ".join(notes(event)))):
            click.echo(f"  {line}")
        for field in event["fields"]:
            click.echo(f"    {field['field']:<15} {field['kind']:<9} {sentence_of(field)}")
    click.echo(
        "\nA string is sent verbatim only if it is an allowed value of its field or, if the field lists none, on the "
        "allowlist. Any other is sent as a keyed hash. Numbers are rounded."
    )
    if with_allowlist:
        click.echo(f"The allowlist has {len(allowlist)} strings: {', '.join(sorted(allowlist))}.")
