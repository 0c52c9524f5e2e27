"""Deletes the events that are queued on disk, without sending them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.consent._records import read
from automagik_telemetry.export._spool import Spool, application_of, spool_directories
from automagik_telemetry.export._stats import DeliveryStats

if TYPE_CHECKING:
    from automagik_telemetry.settings import Settings


class Purged(NamedTuple):
    """Numbers of segments that were deleted, and that a running program holds; errors of folders."""

    deleted: int
    held: int
    errors: list[str]


def names_of(application: str, settings: Settings) -> set[str]:
    """Return the names under which an application may have queued events."""
    return {application, *(name for each in read(settings) if each.name == application for name in each.services)}


def purge(application: str | None, settings: Settings) -> Purged:
    """Delete the segments of an application, or of all, that no running program holds."""
    names = None if application is None else names_of(application, settings)
    deleted, held, errors = 0, 0, []
    for folder in spool_directories(identity.state_directory(settings.state_dir)):
        if names is not None and application_of(folder) not in names:
            continue
        try:
            spool = Spool(folder)
        except OSError as error:
            errors.append(str(error))
            continue
        stats = DeliveryStats()
        for name in spool.names():
            if spool.drop(stats, name, "purged"):
                deleted += 1
            else:
                held += 1
    return Purged(deleted, held, errors)
