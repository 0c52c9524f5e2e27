"""`automagik-telemetry flush`: sends now what earlier processes left queued."""

from __future__ import annotations

import sys

import click

from automagik_telemetry.manager import get_tracing_manager


@click.command("flush")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Seconds to try for.")
def command(timeout: float) -> None:
    """Send what is queued on disk, now; exit code 1 if something is left."""
    manager = get_tracing_manager()
    if manager.telemetry is None:
        click.echo(f"Telemetry is off ({manager.consent.rule}); nothing is sent.")
        return
    settled = manager.flush(timeout)
    tracer = manager.telemetry.get_metrics()
    own = tracer["tracer"]
    counted = {name: own[name] + own["recovered"][name] for name in ("processed", "dropped")}
    click.echo(f"{counted['processed']} events sent, {counted['dropped']} dropped.")
    if not settled:
        click.echo(f"Not all could be sent: {tracer['last_error'] or 'the time was too short'}.", err=True)
        sys.exit(1)
