"""`automagik-telemetry level`: sets the level of events that are sent, for this user."""

from __future__ import annotations

import json

import click

from automagik_telemetry.cli import _applications as applications
from automagik_telemetry.cli._failure import Failure, saving
from automagik_telemetry.cli._output import printable
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.settings import LEVELS, Settings


@click.command("level")
@click.argument("level", type=click.Choice(list(LEVELS), case_sensitive=False))
@click.argument("application", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, level: str, application: str | None, as_json: bool) -> None:
    """Send only events of LEVEL and above, of every application or of one.

    CRITICAL: crashes. ERROR: also failed runs and handled errors. INFO: also usage. DEBUG: also the steps of a run.
    OFF: nothing, until it is enabled again. The strictest of this level, logging.yaml and AUTOMAGIK_TELEMETRY_LEVEL
    holds.
    """
    applications.check_application(application)
    name, settings = level.upper(), Settings.from_environ()
    if application is not None and not any(scope.application == application for scope in preferences.load().scopes):
        first = applications.by("on", name=application)
        raise Failure(f"{printable(application)} has no choice yet. First run: {first}")
    with saving("To opt out without a file, set the variable DO_NOT_TRACK=1." if name == "OFF" else ""):
        preferences.change(lambda saved: saved.with_level(application, LEVELS[name]))
    found = applications.listed(settings)
    if application is not None:
        found = [state for state in found if state.name == application]
    if as_json:
        click.echo(json.dumps([state.as_dict() for state in found], indent=2))
        return
    subject = "every application" if application is None else printable(application)
    applications.echo(f"The level of {subject} is {name}. Saved in {printable(str(preferences.path()))}.")
    for state in found:
        if state.consent.level != LEVELS[name]:
            reason = state.consent.limit if state.consent.given else state.consent.reason
            applications.echo(f"{state.name}: {state.level} holds in this environment, because {reason}.")
