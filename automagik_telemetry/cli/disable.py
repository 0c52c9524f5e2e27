"""`automagik-telemetry disable`: opts this user out and deletes queued events."""

from __future__ import annotations

import json

import click

from automagik_telemetry.cli import _applications as applications
from automagik_telemetry.cli._failure import saving
from automagik_telemetry.cli._output import printable
from automagik_telemetry.cli.purge import purge, report
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.consent import _states as states
from automagik_telemetry.manager import release
from automagik_telemetry.settings import Settings


@click.command("disable")
@click.argument("application", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, *, application: str | None, as_json: bool) -> None:
    """Opt out of every application, or of one, and delete queued events.

    Running programs do the same before their next request.
    """
    applications.check_application(application)
    is_own = application is None or applications.mounted() is not None
    is_known = is_own or bool(states.senders_named(str(application), Settings.from_environ()))
    by = applications.by(ctx.info_name or "disable", name=application)
    with saving("To opt out without a file, set the variable DO_NOT_TRACK=1."):
        preferences.change(lambda saved: saved.refused(application, by))
    release(application, f"you ran `{by}`")
    deleted, held = purge(application)
    if as_json:
        click.echo(json.dumps({"application": application, "on": False, "deleted": deleted, "held": held}, indent=2))
        return
    subject = "every application" if application is None else printable(application)
    applications.echo(f"Telemetry of {subject} is off. Saved in {printable(str(preferences.path()))}.")
    if not is_known:
        applications.echo(f"{subject} is not known here: it was never granted or refused consent.")
    report(deleted, held)
