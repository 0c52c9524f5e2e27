"""`automagik-telemetry settings`: shows every environment variable with its value, and the saved choices."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

import click

from automagik_telemetry import settings
from automagik_telemetry.cli import _applications as applications
from automagik_telemetry.cli._output import printable, width
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.consent import _states as states

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_WIDTH = 100


@click.command("settings")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, as_json: bool) -> None:
    """Show every environment variable that is read, its value and source, and the saved choices."""
    current = settings.Settings.from_environ()
    found = applications.listed(current)
    saved = list(_saved())
    if as_json:
        described = {
            "applications": [state.as_dict() for state in found],
            "settings": [_row(value) for value in settings.values()],
            "saved": saved,
        }
        click.echo(json.dumps(described, indent=2))
        return
    for state in found:
        applications.show(state)
    click.echo()
    for value, (_, kind, default, sentence) in zip(settings.values(), settings.describe(), strict=True):
        shown = f"{value.variable}={value.shown}" if value.source == "environment" else value.variable
        source = value.source if value.is_valid else f"{value.source}, not valid"
        note = f", {source}" if value.source == "environment" else f", default {default}" if default else ", not set"
        applications.echo(f"{shown} ({kind}{note})")
        columns = min(width() or _MAX_WIDTH, _MAX_WIDTH)
        click.echo(textwrap.fill(sentence, columns, initial_indent="    ", subsequent_indent="    "))
    if saved:
        click.echo(f"\nSaved in {printable(str(preferences.path()))}:")
        for row in saved:
            subject = row["application"] or "every application"
            to = f" to {row['recipient']}" if row["recipient"] else ""
            parts = ", ".join(f"{key} {row[key]}" for key in ("enabled", "level", "by") if row[key] is not None)
            applications.echo(f"    {subject}{to}: {parts}")


def _row(value: settings.Value) -> dict[str, Any]:
    return {
        "variable": value.variable,
        "value": value.shown or None,
        "source": value.source,
        "valid": value.is_valid,
    }


def _saved() -> Iterator[dict[str, Any]]:
    """Yield the saved choices."""
    choices = preferences.load()
    for scope, choice in ((None, choices.everything), *sorted(choices.scopes.items())):
        if choice.enabled is not None or choice.level is not None:
            yield {
                "application": None if scope is None else scope.application,
                "recipient": None if scope is None else scope.recipient or None,
                "enabled": None if choice.enabled is None else str(choice.enabled).lower(),
                "level": None if choice.level is None else states.level_name(choice.level),
                "by": choice.by,
            }
