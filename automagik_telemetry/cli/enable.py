"""`automagik-telemetry enable`: opts this user in, for one application and the recipient of its data."""

from __future__ import annotations

import json
import shlex

import click

from automagik_telemetry.cli import _applications as applications
from automagik_telemetry.cli._declarations import load
from automagik_telemetry.cli._failure import Failure, saving
from automagik_telemetry.consent import _notice as notice
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.events._registry import CATALOGUE
from automagik_telemetry.settings import Settings, variable_of


@click.command("enable")
@click.argument("application", required=False)
@click.option("--endpoint", metavar="URL", help="Endpoint of an application that is not known here yet.")
@click.option("--import", "module", metavar="MODULE", help="Import your application, which names itself.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    ctx: click.Context, *, application: str | None, endpoint: str | None, module: str | None, as_json: bool
) -> None:
    """Opt in to anonymous usage telemetry of one application, by default that of this environment.

    Consent is for this application and its recipient alone: another one must ask for itself.
    """
    try:
        load(module)  # so that the notice is not due again for events that the user can see now
    except Failure:  # a mistake in logging.yaml, which other commands report
        if module is not None:
            raise
    settings = Settings.from_environ()
    senders = applications.chosen(application, endpoint, settings)
    scopes = [scope for sender in senders if (scope := sender.scope(settings)) is not None]
    if not scopes:
        raise Failure(f"{variable_of('telemetry_endpoint')} is not a valid URL.")
    words = ["automagik-telemetry", ctx.info_name or "enable", *([scopes[0].application] if application else [])]
    by, digest = shlex.join(words), notice.digest(CATALOGUE)

    def granted(saved: preferences.Choices) -> preferences.Choices:
        for scope in scopes:
            saved = saved.granted(scope, by).with_notice(scope, digest)
        return saved

    with saving():
        preferences.change(granted)
    found = [applications.configured(settings).state_of(sender, settings) for sender in senders]
    if as_json:
        click.echo(json.dumps([state.as_dict() for state in found], indent=2))
        return
    for state in found:
        applications.show(state)
    applications.echo(f"Saved in {preferences.path()}.")
    out = shlex.join(["automagik-telemetry", "off", *words[2:]])
    applications.echo(f"To see what can be sent: automagik-telemetry events. To opt out: {out}")
