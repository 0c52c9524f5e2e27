"""The command line: click commands with one decorator each."""

from __future__ import annotations

import asyncio
import logging

import click

from automagik_telemetry import configure
from automagik_telemetry.demo.agents import AGENTS
from automagik_telemetry.integrations.cli import track_cli_command


@click.group()
def main() -> None:
    """Talk to the demo's agents."""
    configure()


@main.command("list")
@track_cli_command("agent list")
def list_agents() -> None:
    """List the agents."""
    logging.getLogger("automagik.cli").info("feature.used", extra={"feature_name": "agents", "category": "cli"})
    for name in AGENTS:
        click.echo(name)


@main.command("run")
@click.argument("name", type=click.Choice(list(AGENTS)))
@click.option("--message", "-m", required=True, help="What to tell the agent.")
@track_cli_command("agent run")
def run_agent(name: str, message: str) -> None:
    """Run an agent once."""
    try:
        click.echo(asyncio.run(AGENTS[name]().run(message)).text)
    except (ValueError, TimeoutError) as error:
        raise click.ClickException(f"the agent failed: {str(error) or 'it took too long'}") from error


if __name__ == "__main__":
    main()
