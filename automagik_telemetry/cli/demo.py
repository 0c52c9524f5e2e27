"""`automagik-telemetry demo`: runs the worked example with a local collector, and shows its report."""

from __future__ import annotations

import importlib.util
import itertools
import os
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

    from rich.console import Console

_MODULES = ("agno", "duckdb", "fastapi", "pydantic_ai", "rich", "uvicorn")
_COMMANDS = (
    ("list",),
    ("run", "concierge", "-m", "emma"),
    ("run", "poet", "-m", "a verse that is longer than any verse should be"),
    ("run", "clerk", "-m", "dune"),
)
_MESSAGES = {
    "clerk": ("dune", "emma", "ulysses", "my secret diary"),
    "poet": ("the sea", "autumn leaves on the stairs", "a verse that is longer than any verse should be"),
    "concierge": ("emma", "ulysses"),
    "stranger": ("hello",),
}
_REQUESTS = (
    ("GET", "/agents", None),
    ("GET", "/private/path/of-a-user", None),
    *(("POST", f"/agents/{name}/run", text) for name, texts in _MESSAGES.items() for text in texts),
)
_ROUNDS = 8


@click.command("demo")
def command() -> None:
    """Run a small application with agents, and show the events that a local collector receives.

    The application is the worked example of the documentation. Nothing is sent to other machines.
    """
    if missing := [name for name in _MODULES if importlib.util.find_spec(name) is None]:
        raise click.ClickException(
            f"The demo needs the package {missing[0]}. Install it: pip install 'automagik-telemetry[demo]'"
        )
    if getattr(sys, "frozen", False):
        raise click.ClickException("the demo starts Python processes, which a frozen application can't; use pip's")
    from rich.console import Console

    from automagik_telemetry.collector._report import render
    from automagik_telemetry.collector.server import Collector

    console = Console(highlight=False, soft_wrap=True)
    console.print("[bold]automagik-telemetry demo[/bold]: from a logging call to a report, on this machine alone.\n")
    example = _example()
    with tempfile.TemporaryDirectory(prefix="automagik-demo-") as folder:
        home = Path(folder)
        _extract(example, home / "example")
        with Collector(home / "demo.duckdb") as collector:
            console.print(f"[bold]1[/bold]  A collector runs at {collector.url}")
            environment = _environment(home, collector.url)
            with _api(environment, home / "api.log") as url:
                console.print("[bold]2[/bold]  Commands run as processes, without waiting for the network:")
                run = _run_commands(console, environment)
                console.print(f"[bold]3[/bold]  The same agents run behind FastAPI, at {url}:")
                _send_requests(console, url)
            console.print("[bold]4[/bold]  `automagik-telemetry flush` sends the events that processes left on disk:")
            flushed = _run([sys.executable, "-m", "automagik_telemetry", "flush"], environment)
            console.print(f"     {flushed.stdout.strip() or flushed.stderr.strip()}")
            render(collector.report(), console)
    console.print("\n[bold]The event of an agent's run, as it was sent[/bold], without the message and the answer:")
    console.print(run, markup=False)
    console.print(
        "\n[bold]Next steps[/bold]\n"
        f"  {example / 'bookshop'}   the code of this application\n"
        "  automagik-telemetry events      every event that can be sent\n"
        "  automagik-telemetry settings    every setting, opt-outs first\n"
        "  automagik-telemetry collector   a receiver of your own, with the same `report`"
    )


def _example() -> Traversable:
    """Return the directory of the worked example, perhaps in a zip: in the wheel, or in a checkout."""
    copy = files("automagik_telemetry") / "example"
    return copy if copy.is_dir() else Path(__file__).parents[2] / "docs" / "example"


def _extract(directory: Traversable, to: Path) -> None:
    """Copy a directory, which may be in a zip."""
    to.mkdir()
    for entry in directory.iterdir():
        if entry.is_dir():
            _extract(entry, to / entry.name)
        else:
            (to / entry.name).write_bytes(entry.read_bytes())


def _environment(home: Path, endpoint: str) -> dict[str, str]:
    """Return an environment that opts in to `endpoint` and has the example on its path."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "SYSTEMROOT") if key in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "PYTHONPATH": os.pathsep.join([str(home / "example"), *filter(None, sys.path)]),
        "AUTOMAGIK_TELEMETRY_ENABLED": "true",
        "AUTOMAGIK_TELEMETRY_ENDPOINT": endpoint,
        "AUTOMAGIK_TELEMETRY_LEVEL": "DEBUG",
        "AUTOMAGIK_STATE_DIR": str(home / "state"),
        "AUTOMAGIK_TRACE_SCHEDULE_DELAY": "0.5",
    }


def _run(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - our own commands


@contextmanager
def _api(environment: dict[str, str], log: Path) -> Iterator[str]:
    """Run the example's API with uvicorn in a process, on a free port; yield its URL."""
    with socket.socket() as listener, log.open("wb") as output:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        descriptor = listener.fileno()
        arguments = ["-m", "uvicorn", "--factory", "bookshop.api:create_app", "--fd", str(descriptor)]
        command = [sys.executable, *arguments, "--log-level", "warning"]
        server = subprocess.Popen(command, env=environment, pass_fds=[descriptor], stdout=output, stderr=output)  # noqa: S603 - our own command
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _run_commands(console: Console, environment: dict[str, str]) -> str:
    """Run the commands, two at a time, show the end of each, and return a queued event of an agent's run."""

    def run(arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return _run([sys.executable, "-m", "bookshop.commands", *arguments], environment)

    left = ""
    with ThreadPoolExecutor(2) as pool:
        for arguments, ended in zip(_COMMANDS, pool.map(run, _COMMANDS), strict=True):
            shown = " ".join(f'"{argument}"' if " " in argument else argument for argument in arguments)
            console.print(f"     $ bookshop {shown}", markup=False)
            console.print(f"       {(ended.stdout or ended.stderr).splitlines()[-1]}", markup=False, end="")
            console.print(f"  [dim](exit code {ended.returncode})[/dim]" if ended.returncode else "")
            left = left or _queued_run(Path(environment["AUTOMAGIK_STATE_DIR"]))
    return left


def _queued_run(state: Path) -> str:
    """Return an `agent.run` event from a segment's file, which is the body of the request with one event per line."""
    for segment in sorted(state.glob("queue/*/*.json")):
        with suppress(OSError):  # another process may have sent it meanwhile
            for line in segment.read_bytes().splitlines():
                if b'"agent.run"' in line:
                    return line.removesuffix(b",").decode()
    return ""


def _send_requests(console: Console, url: str) -> None:
    """Send requests, eight at a time, and show the statuses of the responses."""
    import httpx

    with httpx.Client(base_url=url, timeout=15, trust_env=False) as client:

        def send(request: tuple[str, str, str | None]) -> int:
            method, path, text = request
            return client.request(method, path, json=None if text is None else {"text": text}).status_code

        with ThreadPoolExecutor(8) as pool:
            statuses = sorted(pool.map(send, _REQUESTS * _ROUNDS))
    counted = ", ".join(f"{len(list(group))} x {status}" for status, group in itertools.groupby(statuses))
    console.print(f"     {len(statuses)} responses: {counted}")
