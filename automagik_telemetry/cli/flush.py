"""`automagik-telemetry flush`: sends the events that earlier processes queued."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from automagik_telemetry.cli import _applications as applications
from automagik_telemetry.cli._delivery import destinations, plural, queues
from automagik_telemetry.cli._output import printable
from automagik_telemetry.consent._application import debug_mode
from automagik_telemetry.consent.decision import decide_telemetry
from automagik_telemetry.handlers import _loggers as loggers
from automagik_telemetry.manager import get_tracing_manager
from automagik_telemetry.settings import OFF, Settings, without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from automagik_telemetry.handlers.handler import BatchQueueHandler


@click.command("flush")
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Maximum number of seconds."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, timeout: float, as_json: bool) -> None:
    """Send the events and traces that are queued on disk, and retry in this time. Exit code 1 if any remain."""
    settings = Settings.from_environ()
    manager = get_tracing_manager()
    is_on = manager.consent.given or manager.observability is not None
    sinks = [sink for sink in loggers.sinks().values() if sink.level < OFF] if is_on else []
    others = []
    if not debug_mode(settings):
        others = _of_other_applications(sinks, applications.configured(settings).sinks.values())
    if manager.consent.local:  # its telemetry is recorded
        sinks = [sink for sink in sinks if sink.for_traces]
    if not sinks and not any(other.level < OFF for other in others):
        if as_json:
            click.echo(json.dumps({"sent": [], "errors": [], "unsent": []}, indent=2))
            return
        state = "local" if manager.consent.local else "off"
        applications.echo(f"Telemetry is {state}: {manager.consent.reason}. Nothing was sent.")
        for line in _off(others, settings):
            applications.echo(line)
        return
    waits = [other.begin_flush(timeout) for other in others]
    settled = [manager.flush(timeout), *(wait() for wait in waits)]
    sending = [sink for sink in (*sinks, *others) if sink.level < OFF]
    rows = [_row(sink, settings) for sink in sending]
    errors = list(dict.fromkeys(error for sink in sending if (error := sink.metrics()["last_error"])))
    unsent = list(_unsent([*sinks, *others]))
    if as_json:
        click.echo(json.dumps({"sent": rows, "errors": errors, "unsent": unsent}, indent=2))
    else:
        _show(rows, _off(others, settings))
        if not all(settled):
            reason = "; ".join(errors) or "timeout; try a longer --timeout"
            unsent.insert(0, f"Some events could not be sent: {reason}.")
        for line in unsent:
            click.echo(printable(line), err=True)
    if unsent or not all(settled):
        sys.exit(1)


def _show(rows: Iterable[dict[str, Any]], off: Iterable[str]) -> None:
    rows = list(rows)
    for row in [row for row in rows if row["sent"] or row["dropped"]] or rows[:1]:
        to = f": {row['application']} to {row['endpoint']}" if row["endpoint"] else ""
        applications.echo(f"{plural(row['sent'], row['kind'])} sent, {row['dropped']:,} dropped{to}.")
    for line in off:
        applications.echo(line)


def _row(sink: BatchQueueHandler, settings: Settings) -> dict[str, Any]:
    """Return the result of a flush of one sink."""
    metric = sink.metrics()["tracer"]
    sent, dropped = (metric[kind] + metric["recovered"][kind] for kind in ("processed", "dropped"))
    endpoint = sink.endpoint()
    return {
        "kind": "trace" if sink.for_traces else "event",
        "application": None if sink.sender is None else sink.sender.name(settings),
        "endpoint": without_credentials(endpoint) if endpoint else None,
        "sent": sent,
        "dropped": dropped,
    }


def _off(others: list[BatchQueueHandler], settings: Settings) -> Iterator[str]:
    """Yield a line for each other application that may not send what it has queued."""
    for other in others:
        if other.level >= OFF and other.sender is not None and (spool := other.build().spool) is not None:
            waiting = plural(spool.waiting().events, "event")
            name, reason = other.sender.name(settings), decide_telemetry(settings, sender=other.sender).reason
            yield f"{waiting} of {name} not sent, because its telemetry is off ({reason})."


def _unsent(sinks: list[BatchQueueHandler]) -> Iterator[str]:
    """Yield a line for each queue of telemetry that none of these sinks sends, because it has another endpoint."""
    pipelines = [sink.build() for sink in sinks if not sink.for_traces]
    sent = {pipeline.spool.directory for pipeline in pipelines if pipeline.spool is not None}
    for found in destinations():
        if found["traces"] or not found["pending"] or found["folder"] in sent:
            continue
        sender = f" of {found['application']}" * bool(found["application"])
        endpoint = without_credentials(found["endpoint"]) if found["endpoint"] else "its endpoint"
        waiting = plural(found["pending"], "event")
        yield f"{waiting}{sender} not sent. Set AUTOMAGIK_TELEMETRY_ENDPOINT to {endpoint} to send from here."


def _of_other_applications(
    sinks: list[BatchQueueHandler], configured: Iterable[BatchQueueHandler]
) -> list[BatchQueueHandler]:
    """Return the same sinks of other applications of this user that have left something, those that are off too."""
    from automagik_telemetry.export._spool import application_of

    first = [*sinks, *(sink for sink in configured if sink.sink not in {each.sink for each in sinks})]
    found = []
    for folder in map(str, queues()):
        if (name := application_of(folder)) is not None:
            found += [other for sink in first if (other := sink.of_application(name, folder)) is not None]
    own = {pipeline.spool.directory for sink in sinks if (pipeline := sink.build()).spool is not None}
    return [
        other
        for other in found
        if (spool := other.build().spool) is not None and spool.directory not in own and spool.names()
    ]
