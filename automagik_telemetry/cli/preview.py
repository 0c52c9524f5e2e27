"""`automagik-telemetry preview`: the exact bytes of the next request, and decoded what they say. It sends nothing."""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, Any

import click

from automagik_processors import envelope
from automagik_telemetry.cli._failure import Failure
from automagik_telemetry.cli.purge import queues
from automagik_telemetry.handlers import _dictconfig as dictconfig
from automagik_telemetry.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

_EXAMPLE = {
    "agent_name": "simple",
    "framework": "agno",
    "success": True,
    "duration_ms": 812.5,
    "has_multimodal": False,
    "token_count": 1234,
    "note": "what has no declared kind does not leave",
}


@click.command("preview")
@click.option("--raw", is_flag=True, help="Print the bytes alone.")
def command(raw: bool) -> None:  # noqa: FBT001 - click's way to give flags
    """Show the next request that would be sent, byte for byte, and decoded. Sends nothing."""
    segments = sorted(file for folder in queues() for file in folder.glob("[0-9]*.json"))
    body = next((body for file in segments if (body := _body(file))), None)
    if body is None:
        if not raw:
            click.echo("Nothing is queued. One event, as logging.yaml would have it sent:\n")
        click.echo(_example())
        return
    click.echo(body)
    if not raw:
        click.echo(f"\nThat is {len(body):,} bytes before compression, and says:\n")
        _explain(json.loads(body))


def _body(path: Path) -> bytes | None:
    """Return the request body that a segment's file is, read as the next process would; None if it holds no event."""
    from automagik_telemetry._private_files import open_private
    from automagik_telemetry.export._body import Envelope
    from automagik_telemetry.export._held_file import HeldFile
    from automagik_telemetry.export._recovery import RecoveredSegment
    from automagik_telemetry.export._segment import body_of

    try:
        file = HeldFile(str(path), open_private(str(path), os.O_RDONLY), set())
    except OSError:
        return None
    try:
        signal = "logs" if file.read(20).startswith(b'{"resourceLogs"') else "traces"
        segment = RecoveredSegment(file, Envelope(*envelope(signal, {}, "", "")))
        return bytes(body_of([segment])) if segment.events else None
    finally:
        file.abandon()


def _example() -> bytes:
    """Return what the telemetry sink's chain makes of an event whose every word is known. Makes no file."""
    try:
        builder = dictconfig.Builder(dictconfig.load(dictconfig.find(Settings.from_environ())))
        built = [sink for name in builder.names() if (sink := builder.sink(name)) is not None]
        sinks = [sink for sink in built if sink.sink == "telemetry"]
    except dictconfig.ConfigurationError as error:
        raise Failure(str(error)) from error
    if not sinks:
        raise Failure("The logging configuration has no telemetry sink.")
    return sinks[0].chain.encode(logging.makeLogRecord({"msg": "agent.run", "levelno": logging.INFO, **_EXAMPLE}))


def _explain(request: dict[str, Any]) -> None:
    ((_, resources),) = request.items()
    for resource in resources:
        click.secho("who sends", bold=True)
        _attributes(resource["resource"]["attributes"])
        for scope in resource.get("scopeSpans") or resource.get("scopeLogs"):
            for event in scope.get("spans") or scope.get("logRecords"):
                click.secho(event.get("name") or event.get("eventName"), bold=True)
                ids = [event[key] for key in ("traceId", "spanId") if key in event]
                click.echo(f"  {'trace and span id':<24} {' '.join(ids) or 'none'}")
                _attributes(event["attributes"])


def _attributes(pairs: list[dict[str, Any]]) -> None:
    for pair in pairs:
        click.echo(f"  {pair['key']:<24} {next(iter(pair['value'].values()), None)}")
