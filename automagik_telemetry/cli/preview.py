"""`automagik-telemetry preview`: shows the next request, as bytes and decoded. It sends nothing."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from automagik_processors import envelope
from automagik_telemetry.cli import _applications as applications
from automagik_telemetry.cli._delivery import queues
from automagik_telemetry.cli._failure import Failure
from automagik_telemetry.cli._output import printable
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.consent import _records as records
from automagik_telemetry.settings import Settings, without_credentials

if TYPE_CHECKING:
    from pathlib import Path

_EXAMPLE = {
    "agent_name": "simple",
    "framework": "auto",
    "success": True,
    "duration_ms": 812.5,
    "has_multimodal": False,
    "token_count": 1234,
    "note": "a field that is not declared is not sent",
}


@click.command("preview")
@click.option("--raw", "--json", is_flag=True, help="Print only the bytes, which are JSON.")
def command(*, raw: bool) -> None:
    """Show the next request, byte for byte and decoded. Sends nothing."""
    from automagik_telemetry.export._spool import application_of

    names = applications.names(Settings.from_environ())
    folders = [folder for folder in queues() if names is None or application_of(str(folder)) in names]
    segments = sorted(file for folder in folders for file in folder.glob("[0-9]*.json"))
    file, body = next(((file, body) for file in segments if (body := _body(file))), (None, None))
    if file is None or body is None:
        if not raw:
            state = applications.configured(settings := Settings.from_environ()).state(settings)
            to = f" to {state.endpoint}" if state.endpoint else ""
            applications.echo(f"No events are queued. An example event, as {state.name} would send it{to}:")
            click.echo()
        click.echo(_example())
        return
    if not raw:
        applications.echo(_recipient(str(file.parent)))
    click.echo(printable(body.decode("utf-8", "replace")) if sys.stdout.isatty() else body)
    if not raw:
        click.echo(f"\n{len(body):,} bytes before compression. Decoded:\n")
        _explain(json.loads(body))


def _recipient(folder: str) -> str:
    """Return a line with the application and the endpoint of a queue."""
    from automagik_telemetry.cli._delivery import destinations
    from automagik_telemetry.export._spool import application_of, spool_directory
    from automagik_telemetry.sinks.telemetry import signal_of, url_for

    name, settings = application_of(folder), Settings.from_environ()
    state = identity.state_directory(settings.state_dir)
    senders = [*(record.sender for record in records.read(settings)), applications.configured(settings).sender]
    urls = [url for sender in senders if (url := sender.url(settings))]
    found = [
        url for url in urls if spool_directory(state, "telemetry", url_for(url, signal_of(url)), name or "") == folder
    ]
    found += [each["endpoint"] for each in destinations() if each["folder"] == folder and each["endpoint"]]
    endpoint = without_credentials(found[0]) if found else "an endpoint that has not been reached yet"
    return f"The next request of {name or 'an application'} to {endpoint}:"


def _body(path: Path) -> bytes | None:
    """Return the request body in a segment's file, read as the next process would; None if it has no event."""
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
    """Return an example event, encoded by the telemetry sink's chain. Creates no file."""
    found = applications.configured(Settings.from_environ())
    if found.error is not None:
        raise Failure(str(found.error)) from found.error
    if "telemetry" not in found.sinks:
        raise Failure("The logging configuration has no telemetry sink. Add one, or use the default logging.yaml.")
    return found.sinks["telemetry"].chain.encode(
        logging.makeLogRecord({"msg": "agent.run", "levelno": logging.INFO, **_EXAMPLE})
    )


def _explain(request: dict[str, Any]) -> None:
    ((_, resources),) = request.items()
    for resource in resources:
        click.secho("resource", bold=True)
        _attributes(resource["resource"]["attributes"])
        for scope in resource.get("scopeSpans") or resource.get("scopeLogs"):
            for event in scope.get("spans") or scope.get("logRecords"):
                click.secho(printable(str(event.get("name") or event.get("eventName"))), bold=True)
                ids = [event[key] for key in ("traceId", "spanId") if key in event]
                click.echo(f"  {'trace and span ID':<24} {' '.join(ids) or 'none'}")
                _attributes(event["attributes"])


def _attributes(pairs: list[dict[str, Any]]) -> None:
    for pair in pairs:
        click.echo(printable(f"  {pair['key']:<24} {next(iter(pair['value'].values()), None)}"))
