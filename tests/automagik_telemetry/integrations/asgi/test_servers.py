"""Real servers with real workers: every worker delivers the event of every request that it served."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.faults.process import environ
from tests.faults.server import PATIENCE, Endpoint, closed_port

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

APPLICATION = """
import os
from fastapi import FastAPI
from automagik_telemetry import configure
from automagik_telemetry.integrations.asgi import TelemetryMiddleware

configure()
app = FastAPI()
app.add_middleware(TelemetryMiddleware)

@app.get("/items/{name}")
async def item(name: str) -> int:
    return os.getpid()
"""
UVICORN = ["uvicorn", "application:app", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"]
GUNICORN = ["gunicorn", "application:app", "--bind", "127.0.0.1:{port}", "--preload", "--workers", "2"]
HYPERCORN = ["hypercorn", "application:app", "--bind", "127.0.0.1:{port}"]
SERVERS: dict[str, tuple[list[str], int]] = {
    "uvicorn": (UVICORN, 1),
    "uvicorn with workers": ([*UVICORN, "--workers", "2"], 2),
    "gunicorn --preload": ([*GUNICORN, "--worker-class", "uvicorn_worker.UvicornWorker"], 2),
    "hypercorn": (HYPERCORN, 1),
    "hypercorn with workers": ([*HYPERCORN, "--workers", "2"], 2),
}
AT_ONCE, AT_MOST = 20, 2_000
"""Number of requests at a time, and the maximum until every worker has got one."""


def ask_until_all_served(url: str, workers: int) -> tuple[int, set[int]]:
    """Send requests until that many workers have answered; return the number of requests and the workers' pids."""

    def ask(number: int) -> int:
        # Each over a connection of its own, because one worker would get them all otherwise.
        with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:
            answer = client.get(f"{url}/items/secret-{number}", timeout=PATIENCE)
        assert answer.status_code == 200
        return int(answer.json())

    pids: set[int] = set()
    asked = 0
    with ThreadPoolExecutor(4) as threads:
        while len(pids) < workers and asked < AT_MOST:
            pids |= set(threads.map(ask, range(asked, asked + AT_ONCE)))
            asked += AT_ONCE
    return asked, pids


@pytest.mark.fault(37)
@pytest.mark.skipif(sys.platform == "win32", reason="gunicorn and signals are POSIX's")
@pytest.mark.parametrize("server", SERVERS)
def test_every_worker_delivers(server: str, tmp_path: Path) -> None:
    """Events of a server's workers arrive until it is stopped, at the latest by `automagik-telemetry flush`."""
    (tmp_path / "application.py").write_text(APPLICATION)
    command, workers = SERVERS[server]
    with Endpoint() as endpoint:
        # gunicorn must import the application anew, whatever the warning filters of this process.
        variables = environ(endpoint.url, PYTHONWARNINGS="ignore", PYTHONPATH=str(tmp_path))
        port = str(closed_port())
        arguments = [sys.executable, "-m", *(part.replace("{port}", port) for part in command)]
        with subprocess.Popen(
            arguments, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                asked, pids = ask_until_all_served(f"http://127.0.0.1:{port}", workers)
                process.send_signal(signal.SIGTERM)
                output, _ = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
        assert len(pids) == workers
        assert "Traceback" not in output, output
        flush = [sys.executable, "-m", "automagik_telemetry", "flush"]
        done = subprocess.run(flush, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert len(endpoint.accepted) == len(set(endpoint.accepted)) == asked
    resources = [
        each["resource"] for request in endpoint.requests for each in json.loads(request.body)["resourceSpans"]
    ]
    sessions = {json.dumps(resource) for resource in resources}
    assert len(sessions) >= workers
    sent = b"".join(each.body for each in endpoint.requests)
    assert b"secret" not in sent
    assert sent.count(b"/items/{name}") == asked
