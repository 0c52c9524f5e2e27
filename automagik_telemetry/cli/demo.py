"""`automagik-telemetry demo`: the whole journey, on this machine alone, from a logging call to answers."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

_COMMANDS = (
    ("list",),
    ("run", "simple", "-m", "hello world"),
    ("run", "genie", "-m", "make me a sandwich"),
    ("run", "genie", "-m", "a wish that is much longer than any genie would ever grant"),
    ("run", "simple", "-m", " "),
)
_MESSAGES = ("hello", "how are you today", "one two three four five six seven eight", " ")
_REQUESTS = (
    ("GET", "/api/v1/agents", None),
    *(("POST", f"/api/v1/agents/{name}/run", text) for name in ("simple", "genie") for text in _MESSAGES),
    ("POST", "/api/v1/agents/nobody/run", "hello"),
    ("GET", "/private/path/of-a-user", None),
)
_ROUNDS = 8


@click.command("demo")
def command() -> None:
    """Run a small application against a local collector and show what arrives. Nothing leaves this machine."""
    try:
        import fastapi  # noqa: F401 - only to see whether the extra is there
        from rich.console import Console

        from automagik_telemetry.collector.report import render
        from automagik_telemetry.collector.server import Collector
    except ImportError as error:
        raise click.ClickException(
            f"the demo needs more packages ({error.name} is missing): pip install 'automagik-telemetry[demo]'"
        ) from error
    console = Console(highlight=False, soft_wrap=True)
    console.print("[bold]automagik-telemetry demo[/bold]: from a logging call to answers, on this machine alone.\n")
    with tempfile.TemporaryDirectory(prefix="automagik-demo-") as folder:
        home = Path(folder)
        with Collector(home / "demo.duckdb") as collector:
            console.print(f"[bold]1[/bold]  A collector listens on {collector.url}")
            environment = _environment(home, collector.url)
            with _api(environment) as url:
                console.print("[bold]2[/bold]  Commands run, each as a process of its own; none waits for the network:")
                example = _run_commands(console, environment)
                console.print(f"[bold]3[/bold]  A FastAPI application answers on {url}:")
                _send_requests(console, url)
            console.print(
                "[bold]4[/bold]  `automagik-telemetry flush` ships what processes left on disk when they ended:"
            )
            flushed = _run([sys.executable, "-m", "automagik_telemetry", "flush"], environment)
            console.print(f"     {flushed.stdout.strip() or flushed.stderr.strip()}")
            render(collector.answers(), console)
    console.print(
        "\n[bold]One event, the exact bytes that were sent[/bold] (a name that nobody declared would be a hash):"
    )
    console.print(example, markup=False)
    console.print(
        "\n[bold]Where to look next[/bold]\n"
        "  logging.yaml                          what goes where, through which steps\n"
        "  automagik_telemetry/telemetry/events.py   everything that can ever be sent\n"
        "  automagik-telemetry settings          every switch, the off switches first\n"
        "  automagik-telemetry collector         a receiver of your own; `report` asks it the same questions"
    )


def _environment(home: Path, endpoint: str) -> dict[str, str]:
    """Return an environment that opts in towards `endpoint` and knows nothing else of the caller's."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "SYSTEMROOT") if key in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "AUTOMAGIK_TELEMETRY_ENABLED": "true",
        "AUTOMAGIK_TELEMETRY_ENDPOINT": endpoint,
        "AUTOMAGIK_STATE_DIR": str(home / "state"),
        "AUTOMAGIK_TRACE_SCHEDULE_DELAY": "0.5",
    }


def _run(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - our own commands


@contextmanager
def _api(environment: dict[str, str]) -> Iterator[str]:
    """Run the demo's API under uvicorn in a process of its own, on a free port; yield its URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        descriptor = listener.fileno()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        application = "automagik_telemetry.demo.api:create_app"
        arguments = ["-m", "uvicorn", "--factory", application, "--fd", str(descriptor), "--log-level", "warning"]
        server = subprocess.Popen([sys.executable, *arguments], env=environment, pass_fds=[descriptor])  # noqa: S603 - our own command
        try:
            yield url
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _run_commands(console: Console, environment: dict[str, str]) -> str:
    """Run each command, show how it ended, and return an agent's run as one of them left it on disk."""
    example = ""
    for arguments in _COMMANDS:
        started = time.perf_counter()
        ended = _run([sys.executable, "-m", "automagik_telemetry.demo.commands", *arguments], environment)
        took = time.perf_counter() - started
        shown = " ".join(f'"{argument}"' if " " in argument else argument for argument in arguments)
        answer = (ended.stdout or ended.stderr).strip().replace("\n", ", ")
        console.print(f"     $ agents {shown}", markup=False)
        console.print(f"       {answer}  [dim](exit code {ended.returncode}, {took:.1f} s)[/dim]")
        example = example or _queued_run(Path(environment["AUTOMAGIK_STATE_DIR"]))
    return example


def _queued_run(state: Path) -> str:
    """Return an agent's run that waits on disk: a segment's file is the body of the request, one event a line."""
    for segment in sorted(state.glob("queue/*/*.json")):
        for line in segment.read_bytes().splitlines():
            if b'"agent.run"' in line:
                return line.removesuffix(b",").decode()
    return ""


def _send_requests(console: Console, url: str) -> None:
    """Send real requests, eight at a time, and show how they were answered."""
    import httpx

    with httpx.Client(base_url=url, timeout=15, trust_env=False) as client:

        def send(request: tuple[str, str, str | None]) -> int:
            method, path, text = request
            return client.request(method, path, json=None if text is None else {"text": text}).status_code

        with ThreadPoolExecutor(8) as pool:
            statuses = sorted(pool.map(send, _REQUESTS * _ROUNDS))
    counted = ", ".join(f"{len(list(group))} x {status}" for status, group in itertools.groupby(statuses))
    console.print(f"     {len(statuses)} requests answered: {counted}")
