"""The command line, `automagik-telemetry`: a click group whose commands load when they are called."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import click

from automagik_telemetry._version import __version__

# In the order of their use: what a user asks first, then what a maintainer runs.
_COMMANDS = (
    *("status", "doctor", "enable", "disable", "level", "events", "preview", "flush", "purge", "reset-id", "settings"),
    *("collector", "report", "demo"),
)


class _LazyGroup(click.Group):
    """Imports `automagik_telemetry.cli.<command>` when a command is asked for, and no other."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        command: Any = importlib.import_module(f"automagik_telemetry.cli.{cmd_name.replace('-', '_')}").command
        return command  # type: ignore[no-any-return]


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="automagik-telemetry")
def main() -> None:
    """See, receive and question the telemetry of Automagik applications."""
    # At a prompt, unlike inside an application, our warnings have someone to read them.
    logging.basicConfig(format="%(levelname)s: %(message)s")
