"""The cost of a tracked request and command, beside untracked ones: `python tests/bench/integrations.py`.

FastAPI is called as an ASGI application, because a server and a client would cost more than both. The endpoint refuses
connections, the most expensive failure that does not wait. OpenTelemetry's instrumentation drops its spans at export.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from automagik_telemetry import configure
from automagik_telemetry.integrations.asgi import TelemetryMiddleware
from automagik_telemetry.integrations.click import track_cli_command

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS, CALLS = 40, 200


def application() -> FastAPI:
    """Return an application with 21 routes."""
    app = FastAPI()
    for number in range(20):
        app.get(f"/other{number}/{{name}}")(endpoint())
    app.get("/items/{name}")(endpoint())
    return app


def endpoint() -> Any:
    """Return a new endpoint function."""

    async def answer(name: str) -> str:
        return name

    return answer


def request(app: Any) -> Callable[[], None]:
    """Return a function that sends `CALLS` requests to an application."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(_message: object) -> None:
        return

    async def serve() -> None:
        for _ in range(CALLS):
            scope = {
                "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
                "method": "GET", "scheme": "http", "path": "/items/a", "raw_path": b"/items/a", "root_path": "",
                "query_string": b"", "headers": [(b"host", b"test")], "client": ("127.0.0.1", 1), "server": ("test", 1),
            }  # fmt: skip
            await app(scope, receive, send)

    loop = asyncio.new_event_loop()
    return lambda: loop.run_until_complete(serve())


def call(function: Callable[[], object]) -> Callable[[], None]:
    """Return a function that calls `function` `CALLS` times."""

    def calls() -> None:
        for _ in range(CALLS):
            function()

    return calls


def command() -> list[int]:
    """Do nothing."""
    return []


def opentelemetry(app: FastAPI) -> FastAPI:
    """Instrument the application with OpenTelemetry, with spans that are batched, then dropped."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, *_: object, **__: object) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider)
    return app


def measure(**runs: Callable[[], None]) -> dict[str, tuple[float, float]]:
    """Return the median and the 10th percentile of each call's CPU time in us, measured in turn.

    The percentile is the cost of a call while no other process uses the caches.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            started = time.thread_time()
            run()
            times[name].append((time.thread_time() - started) / CALLS * 1e6)
    quantiles = {name: statistics.quantiles(each[ROUNDS // 10 :], n=10) for name, each in times.items()}
    return {name: (each[4], each[0]) for name, each in quantiles.items()}


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "AUTOMAGIK_TELEMETRY_ENABLED": "true",
            "AUTOMAGIK_ENABLE_TRACING_IN_CI": "true",
            "AUTOMAGIK_TELEMETRY_ENDPOINT": "http://127.0.0.1:9",
            "AUTOMAGIK_STATE_DIR": folder,
            "AUTOMAGIK_TRACE_QUEUE_SIZE": "1000000",
        }
        tracing = configure()
        tracked = application()
        tracked.add_middleware(TelemetryMiddleware)
        rows = measure(
            request=request(application()),
            request_tracked=request(tracked),
            request_with_opentelemetry=request(opentelemetry(application())),
            command=call(command),
            command_tracked=call(track_cli_command("agent list")(command)),
        )
        stats = tracing.telemetry.get_metrics()["tracer"] if tracing.telemetry else None
        tracing.shutdown()
    sys.stdout.write(f"{'us':28}  {'median':>8} {'more':>8}   {'quiet':>8} {'more':>8}\n")
    for name, (median, quiet) in rows.items():
        twin, quiet_twin = rows[name.partition("_")[0]]
        sys.stdout.write(f"{name:28}  {median:8.1f} {median - twin:+8.1f}   {quiet:8.1f} {quiet - quiet_twin:+8.1f}\n")
    if stats is not None:
        sys.stdout.write(f"{stats['queued']} events queued, {stats['dropped_by_reason']} dropped\n")


if __name__ == "__main__":
    main()
