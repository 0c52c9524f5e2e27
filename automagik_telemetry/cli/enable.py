"""`automagik-telemetry enable`: opts in, for this user, and says what to."""

from __future__ import annotations

import click

from automagik_telemetry import choice, consent, notice
from automagik_telemetry.cli.failure import saving
from automagik_telemetry.settings import Settings


@click.command("enable")
def command() -> None:
    """Opt in to anonymous usage telemetry."""
    with saving():
        choice.save(enabled=True, notice=notice.digest())
    settings = Settings.from_environ()
    click.echo(f"Enabled in {choice.path()}: anonymous usage goes to {settings.telemetry_endpoint}.")
    click.echo("What can be sent: automagik-telemetry events. To turn it off: automagik-telemetry disable.")
    decision = consent.decide_telemetry(settings)
    if not decision.given:
        click.echo(f"In this environment it is off all the same: {decision.rule}.")
