"""The commands that an application mounts into its own command line. They are about this application alone."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any, Final

import click

from automagik_telemetry.cli import command_of
from automagik_telemetry.cli._applications import Mounted, own_name
from automagik_telemetry.cli._output import wants_no_colour, writing
from automagik_telemetry.consent import _application as application
from automagik_telemetry.consent import _commands as commands
from automagik_telemetry.settings import Settings

if TYPE_CHECKING:
    from typer import Typer

_HELP: Final = {
    "status": "Show whether usage is sent, why, and where to. Sends and changes nothing.",
    "on": "Send usage data from now on.",
    "local": "Record what would be sent, and send nothing.",
    "off": "Send nothing from now on, and delete what waits to be sent.",
    "level": "Send only events of LEVEL and above.",
    "preview": "Show the next request, byte for byte and decoded. Sends nothing.",
    "events": "Show every event that can be sent, with its level and the kinds of its fields.",
    "history": "Show how many events were sent in the last 30 days, by day and event.",
    "purge": "Delete the events that wait to be sent, and the history.",
    "reset-id": "Reset the anonymous ID and the hash key.",
}
"""The commands, in the order of their use, and their descriptions."""
_OF_MANY: Final = frozenset({"application", "endpoint", "module"})
"""The parameters that choose an application."""


class _Group(click.Group):
    """A group that imports a command when it is called."""

    def __init__(self, name: str, mounted: Mounted) -> None:
        help_ = "Show and control the usage data of this application."
        super().__init__(name, help=help_, invoke_without_command=True, callback=_show_status)
        self._mounted = mounted

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_HELP)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        return _about_one(cmd_name) if cmd_name in _HELP else None

    def invoke(self, ctx: click.Context) -> Any:
        ctx.obj = self._mounted
        commands.run_as(ctx.command_path)
        if wants_no_colour():
            ctx.color = False
        with writing():
            return super().invoke(ctx)


@click.pass_context
def _show_status(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        ctx.invoke(command_of("status"), verbose=False, as_json=False)


def _about_one(name: str) -> click.Command:
    """Return a command of ours without the parameters that choose an application."""
    found = command_of(name)
    made, callback = copy.copy(found), found.callback
    removed = {str(each.name) for each in found.params} & _OF_MANY
    made.params = [each for each in found.params if each.name not in removed]
    made.name, made.help = name, _HELP[name]

    @functools.wraps(callback or _about_one)
    def about_one(**arguments: Any) -> Any:
        added = dict.fromkeys(removed)
        if "application" in added:
            added["application"] = own_name(Settings.from_environ())
        return callback(**added, **arguments) if callback is not None else None

    made.callback = about_one
    return made


def telemetry_commands(
    service_name: str | None = None, *, endpoint: str | None = None, name: str = "telemetry"
) -> click.Group:
    """Return a click group with which users see and control the telemetry of this application, and of no other.

    Add it to the application's own group: `cli.add_command(telemetry_commands())`. From then on, the notice and all
    hints name these commands, such as `bookshop telemetry off`.

    Args:
        service_name: The name of the application. Default: that of `configure()`, logging.yaml or the environment.
        endpoint: The URL that it sends to. Default: as above.
        name: The name of the group. If it is nested, the whole path below the program, such as "admin telemetry".

    Returns:
        The group: `status`, `on`, `local`, `off`, `level`, `preview`, `events`, `history`, `purge` and `reset-id`.
        Without a command, the status is shown.

    Raises:
        TypeError: An argument is of another type.
        ValueError: The name or the URL is not valid.
    """
    application.check({"service_name": service_name, "endpoint": endpoint, "name": name})
    commands.mount(name)
    return _Group(name.rpartition(" ")[2], Mounted(service_name, endpoint))


def telemetry_typer(service_name: str | None = None, *, endpoint: str | None = None, name: str = "telemetry") -> Typer:
    """Return the commands of `telemetry_commands` as a Typer app: `app.add_typer(telemetry_typer())`.

    Args:
        service_name: The name of the application. Default: that of `configure()`, logging.yaml or the environment.
        endpoint: The URL that it sends to. Default: as above.
        name: The name of the group. If it is nested, the whole path below the program, such as "admin telemetry".

    Returns:
        The app.

    Raises:
        ModuleNotFoundError: Typer is not installed.
        TypeError: An argument is of another type.
        ValueError: The name or the URL is not valid.
    """
    import typer

    group = telemetry_commands(service_name, endpoint=endpoint, name=name)
    app = typer.Typer(name=group.name, help=group.help, invoke_without_command=True, add_completion=False)
    # Typer has a copy of click of its own, which does not take click's commands.
    passed = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

    def run(context: Any, *words: str) -> None:
        group.main([*words, *context.args], prog_name=(context.parent if words else context).command_path)

    def bare(ctx: typer.Context) -> None:
        if ctx.invoked_subcommand is None:
            run(ctx)

    app.callback()(bare)
    for each, sentence in _HELP.items():

        def command(ctx: typer.Context) -> None:
            run(ctx, str(ctx.info_name))

        command.__annotations__["ctx"] = bare.__annotations__["ctx"] = typer.Context
        app.command(each, help=sentence, context_settings=passed)(command)
    return app
