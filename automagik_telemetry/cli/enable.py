"""`automagik-telemetry enable`: opts in, for this user, and says what to."""

from __future__ import annotations

import click

from automagik_telemetry.cli._failure import saving
from automagik_telemetry.consent import _notice as notice
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.consent.decision import decide_telemetry
from automagik_telemetry.events.catalogue import CATALOGUE
from automagik_telemetry.settings import Settings


@click.command("enable")
def command() -> None:
    """Opt in to anonymous usage telemetry."""
    with saving():
        preferences.save(enabled=True, notice=notice.digest(CATALOGUE))
    settings = Settings.from_environ()
    click.echo(f"Enabled in {preferences.path()}: anonymous usage goes to {settings.telemetry_endpoint}.")
    click.echo("What can be sent: automagik-telemetry events. To turn it off: automagik-telemetry disable.")
    decision = decide_telemetry(settings)
    if not decision.given:
        click.echo(f"In this environment it is off all the same: {decision.rule}.")
