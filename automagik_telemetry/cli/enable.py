"""`automagik-telemetry enable`: opts this user in, for one application and the recipient of its data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from automagik_telemetry.cli import _applications as applications
from automagik_telemetry.cli._declarations import load
from automagik_telemetry.cli._failure import Failure, saving
from automagik_telemetry.cli.purge import purge
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.manager import release
from automagik_telemetry.settings import Settings, variable_of

if TYPE_CHECKING:
    from collections.abc import Callable


def takes_an_application(function: Callable[..., None]) -> Callable[..., None]:
    """Add the parameters of `grant` to a command."""
    for parameter in (
        click.pass_context,
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--import", "module", metavar="MODULE", help="Import your application, which names itself."),
        click.option("--endpoint", metavar="URL", help="Endpoint of an application that is not known here yet."),
        click.argument("application", required=False),
    ):
        function = parameter(function)
    return function


@click.command("enable")
@takes_an_application
def command(ctx: click.Context, **parameters: Any) -> None:
    """Opt in to usage telemetry of one application, by default that of this environment.

    Consent is for this application and its recipient alone: another one must ask for itself.
    """
    grant(ctx, **parameters)


def grant(  # noqa: PLR0913 - the parameters of the command
    ctx: click.Context,
    *,
    application: str | None,
    endpoint: str | None,
    module: str | None,
    as_json: bool,
    local: bool = False,
) -> None:
    """Save a grant. One that is `local` is to record only, and deletes what is queued."""
    if module is not None:
        load(module)
    settings = Settings.from_environ()
    found = applications.configured(settings)
    senders = applications.chosen(application, endpoint, found, settings)
    scopes = [scope for sender in senders if (scope := sender.scope(settings)) is not None]
    if not scopes:
        raise Failure(f"{variable_of('telemetry_endpoint')} is not a valid URL.")
    name = scopes[0].application if application else None
    by = applications.by(ctx.info_name or "enable", name=name)

    def granted(saved: preferences.Choices) -> preferences.Choices:
        for scope in scopes:
            saved = saved.granted(scope, by, local=local)
        return saved

    with saving():
        preferences.change(granted)
    for granted_name in {scope.application for scope in scopes} if local else ():
        release(granted_name, f"you ran `{by}`")
        purge(granted_name)
    states = [found.state_of(sender, settings) for sender in senders]
    if as_json:
        click.echo(json.dumps([state.as_dict() for state in states], indent=2))
        return
    for state in states:
        applications.show(state)
    applications.echo(f"Saved in {preferences.path()}.")
    if local:
        history, on = applications.by("history", name=name), applications.by("on", name=name)
        applications.echo(f"To see what is recorded: {history}. To send usage: {on}")
        return
    events, off = applications.by("events"), applications.by("off", name=name)
    applications.echo(f"To see what can be sent: {events}. To opt out: {off}")
