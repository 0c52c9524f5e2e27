"""`automagik-telemetry purge`: deletes what is queued on disk, unsent."""

from __future__ import annotations

from pathlib import Path

import click

from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.settings import Settings


@click.command("purge")
def command() -> None:
    """Delete everything that is queued and has not been sent."""
    purge()


def purge() -> None:
    """Delete the segments that no program holds, of every destination, and say how many there were."""
    from automagik_telemetry.export._spool import Spool
    from automagik_telemetry.export._stats import DeliveryStats

    deleted = held = 0
    for folder in queues():
        try:
            spool = Spool(str(folder))
        except OSError as error:
            click.echo(f"Left alone: {error}", err=True)
            continue
        stats = DeliveryStats()
        for name in spool.names():
            if (file := spool.adopt(name)) is None:
                held += 1
                continue
            stats.attach(spool)
            with stats.lock:
                stats.settle(file.id, 0, {"purged": file.events()})
            file.remove()
            stats.settled()
            deleted += 1
    click.echo(f"Queued batches deleted: {deleted}.")
    if held:
        click.echo(f"In use by running programs: {held}. They delete their own once telemetry is off.")


def queues() -> list[Path]:
    """Return the folders that hold segments, one for each destination."""
    root = Path(identity.state_directory(Settings.from_environ().state_dir), "queue")
    return sorted(folder for folder in root.glob("*") if folder.is_dir())
