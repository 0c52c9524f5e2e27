"""`automagik-telemetry status`: each sink, on or off, at which level, towards where, and the rule that decided."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from automagik_telemetry.cli._delivery import destinations, lines, plural
from automagik_telemetry.cli._failure import Failure
from automagik_telemetry.cli.purge import queues
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.consent.decision import Consent, decide_langwatch, decide_telemetry
from automagik_telemetry.handlers import _dictconfig as dictconfig
from automagik_telemetry.settings import LEVELS, OFF, Settings
from automagik_telemetry.sinks.langwatch.handler import traces_url

_NAMES = {number: name for name, number in LEVELS.items()}


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:  # noqa: FBT001 - click's way to give flags
    """Say what would be sent from here, where, and which rule decided. Sends and changes nothing."""
    try:
        described = status()
    except dictconfig.ConfigurationError as error:
        raise Failure(str(error)) from error
    if as_json:
        click.echo(json.dumps(described, indent=2))
        return
    for sink in described["sinks"]:
        state = f"on, from level {sink['level']}" if sink["on"] else "off"
        click.echo(f"{click.style(sink['sink'], bold=True)}: {state}")
        click.echo(f"  decided by  {sink['rule']}")
        click.echo(f"  sends to    {sink['endpoint'] or '-'}")
        if "key" in sink:
            click.echo(f"  key         {sink['key']}")
    click.echo(
        f"queued on disk: {described['queued_bytes']:,} bytes in {plural(described['queued_batches'], 'batch', 'es')}"
    )
    for destination in described["destinations"]:
        for line in lines(destination):
            click.echo(line)
    for label, key in (("configuration", "configuration"), ("saved choice", "saved_choice"), ("state", "state")):
        click.echo(f"{label}: {described[key]}")


def status() -> dict[str, Any]:
    """Return what the command prints. Raises ConfigurationError."""
    settings = Settings.from_environ()
    path = dictconfig.find(settings)
    state = Path(identity.state_directory(settings.state_dir))
    segments = [file for folder in queues() for file in folder.glob("[0-9]*.json")]
    return {
        "sinks": [_telemetry(settings, path), _langwatch(settings, path)],
        "queued_batches": len(segments),
        "queued_bytes": sum(_size(file) for file in segments),
        "destinations": destinations(),
        "configuration": str(path),
        "saved_choice": str(preferences.path()) if preferences.path().exists() else "none",
        "state": str(state) if state.exists() else "none",
    }


def _telemetry(settings: Settings, path: Path) -> dict[str, Any]:
    decision = decide_telemetry(settings)
    return _row("telemetry", _strictest("telemetry", decision, path), settings.telemetry_endpoint)


def _langwatch(settings: Settings, path: Path) -> dict[str, Any]:
    """Return the state of the sink of traces; of the key, whether there is one."""
    decision = decide_langwatch(settings)
    # A trace is logged at INFO, or ERROR if anything in it failed; there is nothing below.
    decision = _strictest("langwatch", decision._replace(level=max(decision.level, LEVELS["INFO"])), path)
    endpoint = traces_url(settings.langwatch_endpoint) if settings.langwatch_endpoint else None
    given = os.environ.get("LANGWATCH_API_KEY", "").strip()
    key = "set" if settings.langwatch_api_key else "unusable" if given else "not set"
    row = _row("langwatch", decision, endpoint if decision.given else None)
    return {**row, "key": key}


def _strictest(sink: str, decision: Consent, path: Path) -> Consent:
    """Return the stricter of what the user allows and the file says."""
    builder = dictconfig.Builder(dictconfig.load(path))
    built = [handler for name in builder.names() if (handler := builder.sink(name)) is not None]
    levels = [handler.configured_level for handler in built if handler.sink == sink]
    if not levels:
        return Consent(OFF, f"{path} has no {sink} sink")
    if max(levels) > decision.level:
        return Consent(max(levels), f"{path} says {_name(max(levels))}")
    return decision


def _row(sink: str, decision: Consent, endpoint: str | None) -> dict[str, Any]:
    on = decision.given
    return {"sink": sink, "on": on, "level": _name(decision.level), "endpoint": endpoint, "rule": decision.rule}


def _name(level: int) -> str:
    return _NAMES.get(level, str(level))


def _size(file: Path) -> int:
    try:
        return os.stat(file).st_size  # noqa: PTH116 - it may be gone by now
    except OSError:
        return 0
