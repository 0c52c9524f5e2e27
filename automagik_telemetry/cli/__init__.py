"""The command line, `automagik-telemetry`: a click group that imports a command when it is called."""

from __future__ import annotations

import copy
import importlib
import logging
from typing import TYPE_CHECKING, Any

import click

from automagik_telemetry._version import __version__
from automagik_telemetry.cli._output import printable, wants_no_colour, writing

if TYPE_CHECKING:
    # For packagers, which find no module whose name is computed.
    from automagik_telemetry.cli import (  # noqa: F401 - as above
        collector,
        demo,
        disable,
        doctor,
        enable,
        events,
        flush,
        history,
        level,
        local,
        preview,
        purge,
        report,
        reset_id,
        settings,
        status,
    )

# In the order of their use: a user's commands, then a maintainer's.
_COMMANDS = (
    *("status", "doctor", "enable", "disable", "on", "local", "off", "level", "events", "preview", "history", "flush"),
    *("purge", "reset-id", "settings", "collector", "report", "demo"),
)
_ALIASES = {"on": "enable", "off": "disable"}


def command_of(name: str) -> click.Command:
    """Return a command, whose module is imported."""
    original = _ALIASES.get(name, name)
    command: Any = importlib.import_module(f"automagik_telemetry.cli.{original.replace('-', '_')}").command
    if original != name:
        command = copy.copy(command)
        command.name, command.help = name, f"Do the same as `{original}`."
    return command  # type: ignore[no-any-return]  # the module has no static type


class _LazyGroup(click.Group):
    """A group that imports `automagik_telemetry.cli.<command>` for the command that is called, and no other."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        return command_of(cmd_name)

    def main(self, *args: Any, **extra: Any) -> Any:
        with writing():
            return super().main(*args, **extra)


class _OneLine(logging.Formatter):
    """Formats a record without characters that a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


@click.group(cls=_LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="automagik-telemetry")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Inspect, control and receive the telemetry of Automagik applications.

    Without a command, the status is shown.
    """
    if wants_no_colour():
        ctx.color = False
    # Our warnings are shown here, because this is not inside an application.
    shown = logging.StreamHandler()
    shown.setFormatter(_OneLine("%(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[shown])
    if ctx.invoked_subcommand is None:
        from automagik_telemetry.cli import status

        ctx.invoke(status.command, verbose=False, as_json=False)
