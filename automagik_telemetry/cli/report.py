"""`automagik-telemetry report`: summarizes the events that a collector has stored."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict

import click

from automagik_telemetry.cli._failure import Failure, needs_extra

if TYPE_CHECKING:
    from ssl import SSLContext

    from automagik_telemetry.collector._queries import Report

_DEFAULT_URL: Final = "http://127.0.0.1:4318"
_TIMEOUT_SECONDS: Final = 30.0


class _Reply(TypedDict):
    """The response of `GET /api/report`."""

    store: str
    report: Report


class _TokenRequired(Failure):
    """The collector may be read with a token only."""


@click.command("report")
@click.option(
    "--store", type=click.Path(path_type=Path), help="DuckDB file. The default is in your user data directory."
)
@click.option(
    "--url", help=f"URL of a running collector to query instead  [default, if the file is in use: {_DEFAULT_URL}]."
)
@click.option(
    "--token",
    envvar="AUTOMAGIK_COLLECTOR_TOKEN",
    show_envvar=True,
    help="Token that may read, if the collector at --url requires one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(store: Path | None, url: str | None, token: str | None, *, as_json: bool) -> None:
    """Show feature usage, performance, error patterns and framework preference.

    If a running collector has the file open, it is queried over HTTP.
    """
    report = _fetch(url, token)["report"] if url else _read(store)
    if as_json:
        import orjson

        click.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2))
        return
    with needs_extra("collector"):
        from rich.console import Console

        from automagik_telemetry.collector._report import render
    render(report, Console())


def _read(chosen: Path | None) -> Report:
    """Return the report of the file, or of the collector that has it open."""
    with needs_extra("collector"):
        from automagik_telemetry.collector._store import Store
    from automagik_telemetry.collector._errors import StoreError, StoreLocked
    from automagik_telemetry.collector._store import default_store

    path = chosen or default_store()
    if not path.exists():
        if chosen:
            raise Failure(f"There is no store at {path}. Check the path.")
        return _fetch_default(f"There is no store at {path}.")["report"]
    try:
        with Store(path, read_only=True) as store:
            return store.report()
    except StoreLocked as error:
        return _fetch_from_owner(path, str(error))
    except StoreError as error:
        raise Failure(str(error)) from None


def _fetch_from_owner(path: Path, problem: str) -> Report:
    """Return the report of the collector that has a file open: one of this user, or the one at the default URL."""
    from automagik_telemetry.collector import _control as control

    running = control.read(path)
    if running is not None:
        # The file of a collector that was killed may be left.
        with suppress(Failure, OSError):
            return _fetch(running.url, running.token, verify=running.verify())["report"]
    reply = _fetch_default(problem)
    if path.resolve() != Path(reply["store"]).resolve():
        raise Failure(f"{problem} The collector at {_DEFAULT_URL} has another store. Give the right URL with --url.")
    return reply["report"]


def _fetch_default(problem: str) -> _Reply:
    """Return the response of the collector at the default URL. The user did not name it, so it gets no token."""
    try:
        return _fetch(_DEFAULT_URL, None)
    except _TokenRequired:
        raise
    except Failure:
        raise Failure(
            f"{problem} No collector responds at {_DEFAULT_URL} either. Give the URL of one with --url."
        ) from None


def _fetch(url: str, token: str | None, *, verify: SSLContext | bool = True) -> _Reply:
    """Return the response of the collector at a base URL: its `store` and its `report`."""
    import httpx

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        reply = httpx.get(
            f"{url.rstrip('/')}/api/report", timeout=_TIMEOUT_SECONDS, trust_env=False, headers=headers, verify=verify
        )
        if reply.status_code in {401, 403}:
            raise _TokenRequired(f"The collector at {url} requires a token that may read. Give --url and --token.")
        reply.raise_for_status()
        found = reply.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise Failure(
            f"No collector responds at {url}: {str(error).partition(chr(10))[0] or type(error).__name__}."
        ) from None
    if not isinstance(found, dict) or not isinstance(found.get("report"), dict) or "store" not in found:
        raise Failure(f"The server at {url} is not a collector. Check the URL.")
    return _Reply(store=str(found["store"]), report=found["report"])
