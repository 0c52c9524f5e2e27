"""`automagik-telemetry report`: what the collected events say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict

import click

from automagik_telemetry.cli._failure import Failure, needs_extra

if TYPE_CHECKING:
    from automagik_telemetry.collector._queries import Report

_DEFAULT_URL: Final = "http://127.0.0.1:4318"
_TIMEOUT_SECONDS: Final = 30.0


class _Reply(TypedDict):
    """What `GET /api/report` answers."""

    store: str
    answers: Report


@click.command("report")
@click.option("--store", type=click.Path(path_type=Path), help="DuckDB file; by default one in your user data folder.")
@click.option("--url", help=f"Ask a running collector instead  [default, when the file is in use: {_DEFAULT_URL}].")
@click.option("--json", "as_json", is_flag=True, help="Print the answers as JSON.")
def command(store: Path | None, url: str | None, *, as_json: bool) -> None:
    """Show feature usage, performance, error patterns and framework preference.

    A collector that runs has its file to itself, and is then asked over HTTP.
    """
    answers = _ask_collector(url)["answers"] if url else _ask_store(store)
    if as_json:
        import orjson

        click.echo(orjson.dumps(answers, option=orjson.OPT_INDENT_2))
        return
    with needs_extra("collector"):
        from rich.console import Console

        from automagik_telemetry.collector._report import render
    render(answers, Console())


def _ask_store(chosen: Path | None) -> Report:
    """The answers of the file, or of the collector that has it open."""
    with needs_extra("collector"):
        from automagik_telemetry.collector._store import Store
    from automagik_telemetry.collector._errors import StoreError, StoreLocked
    from automagik_telemetry.collector._store import default_store

    path = chosen or default_store()
    if not path.exists():
        if chosen:
            raise Failure(f"There is no store at {path}.")
        return _ask_default(f"There is no store at {path}.")["answers"]
    try:
        with Store(path, read_only=True) as store:
            return store.report()
    except StoreLocked as error:
        return _ask_owner(path, str(error))
    except StoreError as error:
        raise Failure(str(error)) from None


def _ask_owner(path: Path, problem: str) -> Report:
    """The answers of the collector at the default address, if the file is its own."""
    reply = _ask_default(problem)
    if path.resolve() != Path(reply["store"]).resolve():
        raise Failure(f"{problem} The collector at {_DEFAULT_URL} has another; name the right one with --url.")
    return reply["answers"]


def _ask_default(problem: str) -> _Reply:
    try:
        return _ask_collector(_DEFAULT_URL)
    except Failure:
        raise Failure(f"{problem} No collector answers at {_DEFAULT_URL} either; name one with --url.") from None


def _ask_collector(url: str) -> _Reply:
    """The reply of the collector at a base URL: its `store` and its `answers`."""
    import httpx

    try:
        reply = httpx.get(f"{url.rstrip('/')}/api/report", timeout=_TIMEOUT_SECONDS, trust_env=False)
        reply.raise_for_status()
        found = reply.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise Failure(
            f"No collector answers at {url} ({str(error).partition(chr(10))[0] or type(error).__name__})."
        ) from None
    if not isinstance(found, dict) or not isinstance(found.get("answers"), dict) or "store" not in found:
        raise Failure(f"What answers at {url} is not a collector.")
    return _Reply(store=str(found["store"]), answers=found["answers"])
