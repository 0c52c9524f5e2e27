"""The pipelines of development mode, which print each event, and send it only if the mode and the user allow both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automagik_telemetry.events._debug import printer
from automagik_telemetry.export._body import SEPARATOR
from automagik_telemetry.export._contract import ExportResult, Outcome
from automagik_telemetry.export._pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable


class PrintingPipeline(Pipeline):
    """A pipeline that prints each event before it is queued."""

    def append(self, line: bytes) -> None:
        """Print and queue an encoded event and its separator."""
        printer().sent(line.removesuffix(SEPARATOR))
        super().append(line)


class PrintOnlyPipeline(Pipeline):
    """A pipeline that prints each event, and neither queues nor sends it. It has no thread and no files."""

    sends = False

    def append(self, line: bytes) -> None:
        """Print an encoded event."""
        printer().sent(line.removesuffix(SEPARATOR))

    def keep(self, line: bytes, *, is_part: bool = False) -> None:
        """Do nothing."""

    def resume(self) -> None:
        """Do nothing."""

    def begin_flush(self, timeout: float, *, patient: bool = True) -> Callable[[], bool]:
        """Return a function that returns True, because nothing waits."""
        del timeout, patient
        return lambda: True


class NoExporter:
    """An exporter that sends nothing."""

    url = ""
    under_way = False

    def export(self, body: bytes, timeout: float) -> ExportResult:
        """Return success without a request."""
        del body, timeout
        return ExportResult(Outcome.SUCCESS)

    def prepare(self) -> None:
        """Do nothing."""

    def abandon(self) -> None:
        """Do nothing."""

    def shutdown(self) -> None:
        """Do nothing."""
