"""`automagik-telemetry local`: records what an application would send, and sends nothing."""

from __future__ import annotations

import click

from automagik_telemetry.cli.enable import grant


@click.command("local")
@click.argument("application", required=False)
@click.option("--endpoint", metavar="URL", help="Endpoint of an application that is not known here yet.")
@click.option("--import", "module", metavar="MODULE", help="Import your application, which names itself.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    ctx: click.Context, *, application: str | None, endpoint: str | None, module: str | None, as_json: bool
) -> None:
    """Record what one application would send, by default that of this environment, and send nothing.

    `history` shows the counts of the last 30 days. What was recorded is not sent later.
    """
    grant(ctx, application, endpoint, module, as_json=as_json, local=True)
