"""`automagik-telemetry level`: how much may leave, for this user."""

from __future__ import annotations

import click

from automagik_telemetry.cli._failure import saving
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.consent.decision import decide_telemetry
from automagik_telemetry.settings import LEVELS, Settings


@click.command("level")
@click.argument("level", type=click.Choice(list(LEVELS), case_sensitive=False))
def command(level: str) -> None:
    """Let only events of LEVEL and above leave.

    OFF is nothing, CRITICAL crashes, ERROR also failed runs and handled errors, INFO also usage, DEBUG also the steps
    of a run. The strictest of this, logging.yaml and AUTOMAGIK_TELEMETRY_LEVEL holds.
    """
    with saving():
        preferences.save(level=LEVELS[level.upper()])
    click.echo(f"{preferences.path()} says {level.upper()}.")
    decision = decide_telemetry(Settings.from_environ())
    if decision.level != LEVELS[level.upper()]:
        click.echo(f"In this environment something else holds: {decision.rule}.")
