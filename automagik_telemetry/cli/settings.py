"""`automagik-telemetry settings`: every variable that is read, and what decides whether anything is sent."""

from __future__ import annotations

import textwrap

import click

from automagik_telemetry import settings
from automagik_telemetry.consent.decision import decide_telemetry


@click.command("settings")
def command() -> None:
    """Show every setting that the environment can give, and whether telemetry is on."""
    decision = decide_telemetry(settings.Settings.from_environ())
    click.echo(f"Telemetry is {'on' if decision.given else 'off'}: {decision.rule}.\n")
    for variable, kind, default, sentence in settings.describe():
        click.echo(f"{variable}  ({kind}{f', default {default}' if default else ''})")
        click.echo(textwrap.fill(sentence, 100, initial_indent="    ", subsequent_indent="    "))
