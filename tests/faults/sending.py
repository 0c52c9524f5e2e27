"""Numbered events, and pipelines that send them from this process."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from automagik_telemetry.export._body import SEPARATOR, Envelope, gzip, join
from automagik_telemetry.export._contract import Limits
from automagik_telemetry.export._pipeline import Pipeline
from automagik_telemetry.export._spool import open_spool
from automagik_telemetry.export._stats import DeliveryStats
from automagik_telemetry.export.http._exporter import OTLPHTTPExporter
from tests.faults.server import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from automagik_telemetry.export._contract import Exporter, ExportResult

HEAD = b'{"resourceSpans":[{"resource":{"attributes":[]},"scopeSpans":[{"scope":{"name":"t","version":"1"},"spans":[\n'
ENVELOPE = Envelope(HEAD, b"]}]}]}")


def event_id(number: int) -> str:
    """Return the span id of an event by its number, from 0."""
    return f"{number + 1:016x}"


def ids(*numbers: int) -> list[str]:
    """Return the span ids of events."""
    return [event_id(number) for number in numbers]


def fragment(number: int, padding: int = 0) -> bytes:
    """Return an encoded span, unique by its number, with `padding` more bytes."""
    return (
        f'{{"traceId":"{number + 1:032x}","spanId":"{event_id(number)}","name":"e{"x" * padding}","kind":1,'
        '"startTimeUnixNano":"1","endTimeUnixNano":"2","attributes":[],"status":{"code":0}}'
    ).encode()


def line(number: int, padding: int = 0) -> bytes:
    """Return an encoded span with its separator."""
    return fragment(number, padding) + SEPARATOR


GZIPPED = gzip(join(ENVELOPE, [fragment(0)]))
"""A body with one event."""


def export(url: str) -> ExportResult:
    """Send one body with a fresh exporter."""
    exporter = OTLPHTTPExporter(url)
    try:
        return exporter.export(GZIPPED, PATIENCE)
    finally:
        exporter.shutdown()


def pipeline(state: Path | None, exporter: Exporter | str, **options: Any) -> Pipeline:
    """Return a pipeline to an exporter, or a URL; options are the pipeline's own or its limits."""
    own = {name: options.pop(name) for name in ("allowed", "clock") if name in options}
    made = Pipeline(
        envelope=ENVELOPE,
        exporter=OTLPHTTPExporter(exporter) if isinstance(exporter, str) else exporter,
        stats=DeliveryStats(),
        limits=Limits(**options),
        spool=None if state is None else open_spool(str(state), "tests"),
        **own,
    )
    made.stats.attach(made.spool)
    return made


@contextlib.contextmanager
def running(state: Path | None, exporter: Exporter | str, **options: Any) -> Iterator[Pipeline]:
    """Provide a pipeline that is closed at the end."""
    made = pipeline(state, exporter, **options)
    try:
        yield made
    finally:
        made.close()


def checked_metrics(made: Pipeline) -> dict[str, Any]:
    """Return a pipeline's metrics, after checking that they balance."""
    tracer: dict[str, Any] = {**made.metrics()["tracer"]}
    assert tracer["queued"] == tracer["processed"] + tracer["dropped"] + tracer["pending"], tracer
    assert tracer["dropped"] == sum(tracer["dropped_by_reason"].values())
    assert min(tracer["pending"], tracer["processed"], tracer["dropped"], tracer["pending_bytes"]) >= 0
    return tracer
