"""`automagik-telemetry collector`: receives OTLP and stores it, until Ctrl-C; and commands on what is stored."""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from automagik_telemetry.cli._delivery import plural
from automagik_telemetry.cli._failure import Failure, needs_extra

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from automagik_telemetry.collector._control import Control

_SECONDS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_MAX_AGE_DIGITS: Final = 6
_CONNECT_SECONDS: Final = 10.0


def _age(text: str) -> float:
    """Return an age such as 7d, 12h, 30m or 0 in seconds."""
    number, unit = ("0", "s") if text == "0" else (text[:-1], text[-1:])
    if not (number.isascii() and number.isdecimal() and unit in _SECONDS and len(number) <= _MAX_AGE_DIGITS):
        raise click.BadParameter(f"{text!r} is not an age. Use a number and d, h, m or s, such as 7d, or 0.")
    return float(int(number) * _SECONDS[unit])


@click.group("collector", invoke_without_command=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=4318, show_default=True, type=click.IntRange(0, 65535), help="Port. 0 chooses a free one."
)
@click.option(
    "--store", type=click.Path(path_type=Path), help="DuckDB file. The default is in your user data directory."
)
@click.option(
    "--events",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Catalogue of an application's events, as `events --json --import MODULE` prints it. Can be repeated.",
)
@click.option(
    "--raw",
    type=_age,
    metavar="AGE",
    help="Delete raw spans and log records at this age, such as 7d or 12h. 0 stores only events. By default they are "
    "kept. For events, see --keep.",
)
@click.option(
    "--keep",
    type=_age,
    metavar="AGE",
    help="Delete events at this age, such as 30d, once their day has ended (UTC). The sums of each day are kept. By "
    "default events are kept.",
)
@click.option("--name", "names", multiple=True, help="Host name that requests may use. Can be repeated.")
@click.option(
    "--tokens",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file of the tokens of senders and readers. Required if other machines can reach the address.",
)
@click.option("--tls-cert", type=click.Path(dir_okay=False, exists=True), help="TLS certificate, as PEM.")
@click.option("--tls-key", type=click.Path(dir_okay=False, exists=True), help="Key of the TLS certificate, as PEM.")
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Address of a proxy, which has no connection limit. Can be repeated.",
)
@click.pass_context
def command(  # noqa: PLR0913 - options
    ctx: click.Context,
    *,
    host: str,
    port: int,
    store: Path | None,
    events: tuple[Path, ...],
    raw: float | None,
    keep: float | None,
    names: tuple[str, ...],
    tokens: Path | None,
    tls_cert: str | None,
    tls_key: str | None,
    proxies: tuple[str, ...],
) -> None:
    """Receive OTLP over HTTP and store it in a DuckDB file, until Ctrl-C.

    The paths are /v1/traces and /v1/logs; the body is JSON or protobuf. `automagik-telemetry report` summarizes the
    stored events. The commands below work while a collector runs and while none does.
    """
    if ctx.invoked_subcommand is not None:
        return
    with needs_extra("collector"):
        from automagik_telemetry.collector.server import Collector
    from automagik_telemetry.collector._errors import CatalogueError, ExposureError, StoreError
    from automagik_telemetry.collector._exposure import is_loopback
    from automagik_telemetry.collector._store import default_store

    if (tls_cert is None) != (tls_key is None):
        raise Failure("--tls-cert and --tls-key belong together. Give both or neither.")
    path = store or default_store()
    with ExitStack() as stack:
        # DuckDB creates its files with mode 0600.
        stack.callback(os.umask, os.umask(0o077))
        try:
            collector = stack.enter_context(
                Collector(
                    path,
                    events=events,
                    raw_seconds=raw,
                    keep_seconds=keep,
                    host=host,
                    port=port,
                    names=names,
                    tokens=tokens,
                    certificate=(tls_cert, tls_key) if tls_cert and tls_key else None,
                    proxies=proxies,
                )
            )
        except (CatalogueError, ExposureError, StoreError) as error:
            raise Failure(str(error)) from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Failure(f"Port {port} on {host} is in use. Choose another with --port.") from None
            raise Failure(f"Cannot listen on {host} port {port}: {error.strerror}.") from None

        def stop(_signal: int, _frame: FrameType | None) -> None:
            collector.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        # Print the warning about refused items, once a minute at most.
        logger = logging.getLogger("automagik_telemetry")
        logger.addHandler(logging.StreamHandler())
        logger.propagate = False
        # Parsing allocates many objects but no cycles. The default thresholds double its time.
        gc.set_threshold(50_000, 20, 50)
        clear = not is_loopback(host) and tls_cert is None
        access = " Tokens are sent unencrypted unless a proxy adds TLS." if clear else ""
        click.echo(f"Receiving OTLP at {collector.url}, storing it in {path}. Press Ctrl-C to stop.{access}", err=True)
        collector.wait()


_STORE_OPTION: Final = click.option(
    "--store", type=click.Path(path_type=Path), help="DuckDB file. The default is that of `collector`."
)


@command.command("forget")
@click.argument("installs", metavar="ID...", nargs=-1, required=True)
@_STORE_OPTION
@click.pass_context
def _forget(ctx: click.Context, installs: tuple[str, ...], store: Path | None) -> None:
    """Delete all data of installs. The ID of one is the attribute user.id of what it sends.

    Sums of days whose events have already been deleted have no IDs, and are kept.
    """
    deleted = _perform(ctx, store, "forget", *installs)
    if not any(deleted.values()):
        raise Failure(f"Nothing is stored of the install {', '.join(installs)}. Check the ID.")
    click.echo(
        f"Deleted {plural(deleted['events'], 'event')}, {plural(deleted['otel_traces'], 'span')}, "
        f"{plural(deleted['otel_logs'], 'log record')} and {plural(deleted['daily_installs'], 'row')} of roll-ups. "
        "An install sends more unless its telemetry is off."
    )


@command.command("export")
@click.option("--to", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File, .parquet or .csv.")
@_STORE_OPTION
@click.pass_context
def _export(ctx: click.Context, to: Path, store: Path | None) -> None:
    """Write all events to a Parquet or CSV file."""
    written = _perform(ctx, store, "export", str(to.absolute()))
    click.echo(f"Wrote {plural(written['events'], 'event')} to {to}.")


@command.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_STORE_OPTION
@click.pass_context
def _backup(ctx: click.Context, file: Path, store: Path | None) -> None:
    """Copy the store, as it is at this moment, into another DuckDB file."""
    written = _perform(ctx, store, "backup", str(file.absolute()))
    click.echo(f"Wrote {plural(written['bytes'], 'byte')} to {file}.")


def _perform(ctx: click.Context, store: Path | None, action: str, *arguments: str) -> dict[str, int]:
    """Perform an action on a store, or let the collector do so that has it open."""
    with needs_extra("collector"):
        from automagik_telemetry.collector._store import Store
    from automagik_telemetry.collector import _control as control
    from automagik_telemetry.collector._errors import StoreError, StoreLocked
    from automagik_telemetry.collector._store import default_store

    path = store or (ctx.parent and ctx.parent.params["store"]) or default_store()
    if not path.exists():
        raise Failure(f"There is no store at {path}. Give its path with --store.")
    try:
        # A file of an earlier version is migrated with the catalogue of the collector. Opening it so refuses it.
        Store(path, read_only=True).close()
        with Store(path) as opened:
            return control.perform(opened, action, arguments)
    except StoreLocked as error:
        running = control.read(path)
        if running is None:
            raise Failure(f"{error} No collector of yours has it open. End that process.") from None
        return _ask(running, action, arguments)
    except StoreError as error:
        raise Failure(str(error)) from None


def _ask(running: Control, action: str, arguments: Sequence[str]) -> dict[str, int]:
    import httpx

    from automagik_telemetry.collector._control import CONTROL_PATH

    try:
        reply = httpx.post(
            f"{running.url}{CONTROL_PATH}",
            json={"action": action, "arguments": arguments},
            headers={"Authorization": f"Bearer {running.token}"},
            timeout=httpx.Timeout(_CONNECT_SECONDS, read=None),
            verify=running.verify(),
            trust_env=False,
        )
        found: dict[str, int] = reply.json()
    except (httpx.HTTPError, OSError, ValueError) as error:
        raise Failure(f"The collector at {running.url} does not respond: {error}.") from None
    if reply.status_code != httpx.codes.OK:
        raise Failure(f"The collector at {running.url} failed: {found.get('message', reply.status_code)}")
    return found
