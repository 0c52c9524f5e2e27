"""`automagik-telemetry status`: shows for each application whether it sends, why, and where to."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from automagik_telemetry.cli import _applications as applications
from automagik_telemetry.cli._delivery import destinations, lines, plural
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.consent import _states as states
from automagik_telemetry.consent.decision import decide_sink
from automagik_telemetry.settings import LEVELS, TRACE_SINKS, Settings, variable_of, without_credentials

if TYPE_CHECKING:
    from automagik_telemetry.cli._applications import Configured
    from automagik_telemetry.consent.decision import Consent


@click.command("status")
@click.option("-v", "--verbose", is_flag=True, help="Show delivery, files and the reason of each level, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, verbose: bool, as_json: bool) -> None:
    """Show for each application whether it sends, why, and where to. Sends and changes nothing.

    These are the applications that were granted or refused consent, and that of this environment.
    """
    settings = Settings.from_environ()
    found = applications.configured(settings)
    if as_json:
        click.echo(json.dumps(status(settings, found), indent=2))
        return
    for state in applications.listed(settings, found):
        applications.show(state)
        if verbose and state.consent.limit:
            applications.echo(f"  level: {state.consent.limit}")
        if verbose and state.command:
            applications.echo(f"  command: {state.command}")
    for name in TRACE_SINKS if applications.mounted() is None else ():
        row = _trace_sink(name, settings, found)
        if verbose or row["key"] != "not set":
            applications.echo(_sentence(row))
    if found.error is not None:
        applications.echo(f"Configuration error: {found.error}")
    if verbose:
        _show_details(status(settings, found))


def _sentence(row: dict[str, Any]) -> str:
    if not row["on"]:
        return f"{row['sink']} traces: off ({row['reason']})."
    return f"{row['sink']} traces: on ({row['reason']}). Sends to {row['endpoint']}; level {row['level'].lower()}."


def _show_details(described: dict[str, Any]) -> None:
    queued = plural(described["queued_batches"], "batch", "es")
    applications.echo(f"queued on disk: {plural(described['queued_bytes'], 'byte')} in {queued}")
    for destination in described["destinations"]:
        for line in lines(destination):
            applications.echo(line)
    for label, key in (("configuration", "configuration"), ("saved choices", "saved_choice"), ("state", "state")):
        applications.echo(f"{label}: {described[key]}")


def status(settings: Settings, found: Configured) -> dict[str, Any]:
    """Return the data that the command prints as JSON."""
    state = Path(identity.state_directory(settings.state_dir))
    names = applications.names(settings)
    delivery = [each for each in destinations() if names is None or each["application"] in names]
    own = found.state(settings)
    telemetry = _row("telemetry", own.consent, own.endpoint)
    return {
        "applications": [each.as_dict() for each in applications.listed(settings, found)],
        "sinks": [telemetry, *(_trace_sink(name, settings, found) for name in TRACE_SINKS)],
        "queued_batches": sum(each["pending_batches"] for each in delivery),
        "queued_bytes": sum(each["pending_bytes"] for each in delivery),
        "destinations": delivery,
        "configuration": found.source,
        "configuration_error": None if found.error is None else str(found.error),
        "saved_choice": str(preferences.path()) if _exists(preferences.path()) else "none",
        "state": str(state) if _exists(state) else "none",
    }


def _exists(path: Path) -> bool:
    """Return whether a path exists, or may exist in a directory that can't be read."""
    try:
        return path.exists()
    except OSError:
        return True


def _trace_sink(name: str, settings: Settings, found: Configured) -> dict[str, Any]:
    """Return the state of a sink of traces. The key itself is not shown."""
    sink = TRACE_SINKS[name]
    consent = decide_sink(name, settings)
    # A trace is logged at INFO, or at ERROR if anything in it failed, never below.
    consent = consent._replace(level=max(consent.level, LEVELS["INFO"])).strictest(found.limit(name, settings))
    endpoint, key = getattr(settings, sink.endpoint), getattr(settings, sink.key)
    url = importlib.import_module(sink.module).traces_url(endpoint) if endpoint and consent.given else None
    is_given = bool(os.environ.get(variable_of(sink.key), "").strip())
    row = _row(name, consent, without_credentials(url) if url else None)
    return {**row, "key": "set" if key else "not valid" if is_given else "not set"}


def _row(sink: str, consent: Consent, endpoint: str | None) -> dict[str, Any]:
    level = states.level_name(consent.level)
    return {
        "sink": sink,
        "on": consent.given and not consent.local,
        "level": level,
        "endpoint": endpoint,
        "reason": consent.reason,
        "level_reason": consent.limit or None,
    }
