"""`automagik-telemetry collector`: receive OTLP and keep it, until Ctrl-C."""

from __future__ import annotations

import errno
import ipaddress
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from automagik_telemetry.cli._failure import Failure, needs_extra

if TYPE_CHECKING:
    from types import FrameType


@click.command("collector")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=4318, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option("--store", type=click.Path(path_type=Path), help="DuckDB file; by default one in your user data folder.")
def command(host: str, port: int, store: Path | None) -> None:
    """Receive OTLP over HTTP and keep it in a DuckDB file.

    Traces go to /v1/traces and log records to /v1/logs, as JSON or protobuf; `automagik-telemetry report` shows what
    has come. Ctrl-C ends it.
    """
    with needs_extra("collector"):
        from automagik_telemetry.collector.server import Collector
    from automagik_telemetry.collector._errors import StoreError
    from automagik_telemetry.collector._store import default_store

    path = store or default_store()
    with ExitStack() as stack:
        try:
            collector = stack.enter_context(Collector(path, host=host, port=port))
        except StoreError as error:
            raise Failure(str(error)) from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Failure(f"Port {port} on {host} is in use; choose another with --port.") from None
            raise Failure(f"Cannot listen on {host} port {port}: {error.strerror}.") from None

        def stop(_signal: int, _frame: FrameType | None) -> None:
            collector.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        access = "" if _is_loopback(host) else " Whoever reaches this address may send to it and read its report."
        click.echo(f"Collecting OTLP at {collector.url}, storing in {path}; Ctrl-C ends it.{access}", err=True)
        collector.wait()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
