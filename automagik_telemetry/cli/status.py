"""`automagik-telemetry status`: each sink, on or off, at which level, towards where, and the rule that decided."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from automagik_telemetry import choice, consent, logging_config
from automagik_telemetry.cli.failure import Failure
from automagik_telemetry.cli.purge import queues
from automagik_telemetry.cli.told_lines import told_lines
from automagik_telemetry.delivery.told import read_told
from automagik_telemetry.settings import LEVELS, OFF, Settings

if TYPE_CHECKING:
    from pathlib import Path

_NAMES = {number: name for name, number in LEVELS.items()}


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:  # noqa: FBT001 - click's way to give flags
    """Say what would be sent from here, where, and which rule decided. Sends and changes nothing."""
    try:
        described = status()
    except logging_config.ConfigurationError as error:
        raise Failure(str(error)) from error
    if as_json:
        click.echo(json.dumps(described, indent=2))
        return
    for sink in described["sinks"]:
        state = f"on, from level {sink['level']}" if sink["on"] else "off"
        click.echo(f"{click.style(sink['sink'], bold=True)}: {state}")
        click.echo(f"  decided by  {sink['rule']}")
        click.echo(f"  sends to    {sink['endpoint'] or '-'}")
    click.echo(f"queued on disk: {described['queued_bytes']:,} bytes in {described['queued_batches']} batches")
    for told in described["deliveries"]:
        for line in told_lines(told):
            click.echo(line)
    for label, key in (("configuration", "configuration"), ("saved choice", "saved_choice"), ("state", "state")):
        click.echo(f"{label}: {described[key]}")


def status() -> dict[str, Any]:
    """Return what the command prints. Raises ConfigurationError."""
    settings = Settings.from_environ()
    path = logging_config.find(settings)
    segments = [file for folder in queues() for file in folder.glob("[0-9]*.json")]
    return {
        "sinks": [_telemetry(settings, path), _langwatch(settings)],
        "queued_batches": len(segments),
        "queued_bytes": sum(_size(file) for file in segments),
        "deliveries": [told for folder in queues() if (told := read_told(str(folder)))],
        "configuration": str(path),
        "saved_choice": str(choice.path()) if choice.path().exists() else "none",
        "state": str(queues()[0].parent.parent) if queues() else "none",
    }


def _telemetry(settings: Settings, path: Path) -> dict[str, Any]:
    decision = consent.decide_telemetry(settings)
    builder = logging_config.Builder(logging_config.load(path))
    levels = [sink.configured_level for name in builder.names() if (sink := builder.sink(name)) is not None]
    if not levels:
        decision = consent.Consent(OFF, f"{path} has no telemetry sink")
    elif max(levels) > decision.level:
        decision = consent.Consent(max(levels), f"{path} says {_name(max(levels))}")
    return _row("telemetry", decision, settings.telemetry_endpoint)


def _langwatch(settings: Settings) -> dict[str, Any]:
    decision = consent.decide_observability(settings)
    if decision.given:
        decision = consent.Consent(OFF, "this version has no LangWatch exporter yet")
    return _row("langwatch", decision, None)


def _row(sink: str, decision: consent.Consent, endpoint: str | None) -> dict[str, Any]:
    on = decision.given
    return {"sink": sink, "on": on, "level": _name(decision.level), "endpoint": endpoint, "rule": decision.rule}


def _name(level: int) -> str:
    return _NAMES.get(level, str(level))


def _size(file: Path) -> int:
    try:
        return os.stat(file).st_size  # noqa: PTH116 - it may be gone by now
    except OSError:
        return 0
