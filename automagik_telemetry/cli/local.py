"""`automagik-telemetry local`: records what an application would send, and sends nothing."""

from __future__ import annotations

from typing import Any

import click

from automagik_telemetry.cli.enable import grant, takes_an_application


@click.command("local")
@takes_an_application
def command(ctx: click.Context, **parameters: Any) -> None:
    """Record what one application would send, by default that of this environment, and send nothing.

    `history` shows the counts of the last 30 days. What was recorded is not sent later.
    """
    grant(ctx, **parameters, local=True)
