"""The shop's command line: `python -m bookshop.commands`."""

from __future__ import annotations

import asyncio
import logging

import click

from automagik_telemetry.integrations.click import track_cli_command
from bookshop import STAFF, start
from bookshop.agents import AgentFailedError, ask


@click.group()
def main() -> None:
    """Talk to the staff of a bookshop."""
    start()


@main.command("list")
@track_cli_command("agent list")
def list_agents() -> list[str]:
    """List the staff."""
    logging.getLogger("automagik.bookshop").info("feature.used", extra={"feature_name": "staff list"})
    click.echo(", ".join(STAFF))
    return [*STAFF]


@main.command("run")
@click.argument("name", type=click.Choice(STAFF))
@click.option("--message", "-m", required=True, help="The question.")
@track_cli_command("agent run")
def run_agent(name: str, message: str) -> None:
    """Ask an agent a question."""
    try:
        click.echo(asyncio.run(ask(name, message)))
    except AgentFailedError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
