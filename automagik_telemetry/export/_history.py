"""The history of an application at one recipient: counts of the events that were sent or recorded, by day and event.

A request counts when the recipient has answered it, also the events in it that were rejected.

It is one private file of lines, to which each process appends after a request. Under a lock, it is rewritten as sums
when it grows, or when its first day is over 30 days old, so that it never has more than 1 MiB.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import re
import time
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from automagik_telemetry._descriptors import Identity
from automagik_telemetry._private_files import open_private, replace_private
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.export._contract import ExportResult, Outcome
from automagik_telemetry.export._held_file import CAN_LOCK, lock, unlock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from automagik_telemetry.consent._application import Scope
    from automagik_telemetry.export._contract import Exporter

DAYS: Final = 30
MAX_BYTES: Final = 1_048_576
_REWRITE_BYTES: Final = MAX_BYTES // 2
"""The size from which the file is rewritten."""
_KEPT_BYTES: Final = MAX_BYTES // 4
"""The size that it has at most afterwards, because older days are omitted."""
_ENDING: Final = ".history"
_ATTEMPTS, _INTERVAL = 20, 0.005
"""Attempts to lock the file, and seconds between them."""
_LINE: Final = re.compile(r"(\d{4}-\d\d-\d\d) (sent|recorded) ([\w.-]{1,200}) (\d{1,15})", re.ASCII)
_NAME: Final = re.compile(rb'(?:"eventName"|Id":"[0-9a-f]{16}","name"):"([\w.-]{1,200})"', re.ASCII)
"""The name of a span, which follows its ID, or of a log record. In a string, quotation marks would be escaped."""


class Row(NamedTuple):
    """The number of events of one name on one day, which were "sent", or "recorded" only."""

    day: str
    state: str
    event: str
    events: int


class History:
    """The history of one application at one recipient.

    Args:
        directory: The state directory.
        scope: The application and the recipient.
    """

    def __init__(self, directory: str, scope: Scope) -> None:
        self._directory = directory
        self._application = scope.application
        name = hashlib.sha256(scope.recipient.encode()).hexdigest()[:16] + _ENDING
        self.path = os.path.join(identity.folder_of(directory, scope.application), name)

    def add(self, state: str, events: Counter[str]) -> None:
        """Add counts of events of today. Raises OSError if they can't be written."""
        day = today()
        text = "".join(f"{day} {state} {event} {count}\n" for event, count in sorted(events.items()))
        if not text or not CAN_LOCK:
            return
        identity.make_folder(self._directory, self._application)
        for _ in range(_ATTEMPTS):
            if self._append(text):
                return
            time.sleep(_INTERVAL)

    def _append(self, text: str) -> bool:
        """Append to the file; return False if another process has it locked, or has replaced it."""
        with _locked(self.path, os.O_CREAT | os.O_APPEND) as number:
            if number is None:
                return False
            os.write(number, text.encode())
            is_large, oldest = os.fstat(number).st_size > _REWRITE_BYTES, _oldest().encode()
            if is_large or os.pread(number, len(oldest), 0) < oldest:
                replace_private(self.path, _text(_rows(_read(number))))
            return True

    def rows(self) -> list[Row]:
        """Return the counts of the last 30 days, the oldest day first."""
        try:
            descriptor = open_private(self.path, os.O_RDONLY)
        except OSError:
            return []
        try:
            return _rows(_read(descriptor.number))
        finally:
            descriptor.close()


def delete(directory: str, application: str | None) -> None:
    """Delete the history of an application at all recipients, or of all applications. Raises OSError."""
    chosen = identity.folders(directory) if application is None else [identity.folder_of(directory, application)]
    for folder in chosen:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            # With the drafts of processes that were killed, whose names are longer.
            for path in [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if _ENDING in name]:
                _delete(path)


def _delete(path: str) -> None:
    """Delete a file. A rewrite in progress, which would restore it, ends first."""
    with contextlib.suppress(OSError):  # it is gone, or not a file of ours
        for _ in range(_ATTEMPTS if CAN_LOCK else 0):
            with _locked(path) as number:
                if number is not None:
                    os.unlink(path)
                    return
            time.sleep(_INTERVAL)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


@contextlib.contextmanager
def _locked(path: str, flags: int = 0) -> Iterator[int | None]:
    """Open a file under its lock. Yield its descriptor, or None if another process has it locked or replaced it."""
    descriptor = open_private(path, os.O_RDWR | flags)
    try:
        is_locked = True
        try:
            lock(descriptor)
        except OSError:
            is_locked = False
        yield descriptor.number if is_locked and Identity.of(path) == descriptor.identity else None
    finally:
        # Closing alone would leave it locked while a forked child has the descriptor as well.
        unlock(descriptor)
        descriptor.close()


class RecordingExporter:
    """Adds to the history what an exporter has sent. Without one nothing is sent, and all is recorded only.

    Args:
        history: The history of the recipient.
        exporter: Sends the requests; None sends none.
    """

    def __init__(self, history: History, exporter: Exporter | None) -> None:
        self._history = history
        self._exporter = exporter
        self.url = "" if exporter is None else exporter.url
        self._is_recording = False

    @property
    def under_way(self) -> bool:
        """True while a request is in progress, or written to the history."""
        return self._is_recording or (self._exporter is not None and self._exporter.under_way)

    @property
    def last_date(self) -> str | None:
        """The Date header of the last response, if the exporter has it."""
        return getattr(self._exporter, "last_date", None)

    def export(self, body: bytes, timeout: float) -> ExportResult:
        """Send the body, and add its events to the history if the recipient has answered for them."""
        result = ExportResult(Outcome.SUCCESS) if self._exporter is None else self._exporter.export(body, timeout)
        if result.outcome == Outcome.SUCCESS or (result.outcome == Outcome.REJECTED and result.by_endpoint):
            self._is_recording = True
            try:
                with contextlib.suppress(Exception):  # the events are sent, whatever becomes of their history
                    self._history.add("sent" if self._exporter is not None else "recorded", events_in(body))
            finally:
                self._is_recording = False
        return result

    def prepare(self) -> None:
        """Prepare the first request."""
        if self._exporter is not None:
            self._exporter.prepare()

    def abandon(self) -> None:
        """Discard open connections."""
        self._is_recording = False
        if self._exporter is not None:
            self._exporter.abandon()

    def shutdown(self) -> None:
        """Close open connections."""
        if self._exporter is not None:
            self._exporter.shutdown()


def events_in(body: bytes) -> Counter[str]:
    """Return the number of events of each name in a compressed request body."""
    found = Counter(_NAME.findall(zlib.decompress(body, 16 + zlib.MAX_WBITS)))
    return Counter({name.decode(): count for name, count in found.items()})


def today() -> dt.date:
    """Return the day of UTC."""
    return dt.datetime.fromtimestamp(time.time(), dt.UTC).date()


def _oldest() -> str:
    return (today() - dt.timedelta(days=DAYS - 1)).isoformat()


def _read(number: int) -> str:
    return os.pread(number, 2 * MAX_BYTES, 0).decode("utf-8", "replace")


def _rows(text: str) -> list[Row]:
    """Return the sums of all valid lines that are not too old."""
    sums: Counter[tuple[str, str, str]] = Counter()
    oldest = _oldest()
    for line in text.split("\n"):
        if (found := _LINE.fullmatch(line)) is not None and found[1] >= oldest:
            sums[found[1], found[2], found[3]] += int(found[4])
    return [Row(*key, count) for key, count in sorted(sums.items())]


def _text(rows: Iterable[Row]) -> str:
    """Return the lines of a file, without the oldest ones if they are too many."""
    lines, size = [], 0
    for row in sorted(rows, reverse=True):
        line = f"{row.day} {row.state} {row.event} {row.events}\n"
        size += len(line)
        if size > _KEPT_BYTES:
            break
        lines.append(line)
    return "".join(reversed(lines))
