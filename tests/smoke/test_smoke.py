"""The least that must work with nothing but the core dependencies; also a script, for an installed wheel.

`python -I test_smoke.py` runs every test here without pytest, so it uses no fixture and no development dependency.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


def run(*arguments: str, **variables: str) -> str:
    """Return the output of a Python process in another directory, with these variables alone."""
    with tempfile.TemporaryDirectory() as folder:
        variables = {"HOME": folder, "AUTOMAGIK_STATE_DIR": f"{folder}/state", "PATH": os.environ["PATH"], **variables}
        process = [sys.executable, "-I", *arguments]
        done = subprocess.run(process, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", done.stderr
    return done.stdout


def command(*arguments: str, **variables: str) -> str:
    """Return what the installed command prints."""
    return run(str(Path(sysconfig.get_path("scripts"), "automagik-telemetry")), *arguments, **variables)


def test_both_packages_import() -> None:
    """Both packages can be imported without a warning, from one distribution."""
    names = "automagik_telemetry", "automagik_processors"
    printed = run("-W", "error", "-c", f"import {', '.join(names)}; print({names[0]}.__name__, {names[1]}.__name__)")
    assert printed.split() == [*names]


def test_command_gives_its_version() -> None:
    """The command prints the version of the package."""
    version = run("-c", "from automagik_telemetry._version import __version__; print(__version__)").strip()
    assert version in command("--version")


def test_command_gives_help() -> None:
    """The command explains itself."""
    assert "Usage:" in command("--help")


def test_telemetry_is_off_by_default() -> None:
    """Without an opt-in nothing is sent."""
    code = "from automagik_telemetry import get_tracing_manager as get; print(get().telemetry, get().observability)"
    assert run("-c", code) == "None None\n"


def test_an_event_reaches_a_server() -> None:
    """An event that an opted-in program tracks arrives as an OTLP span at the endpoint that it names."""
    arrived: Future[bytes] = Future()

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            zipped = self.headers["Content-Encoding"] == "gzip"
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")
            arrived.set_result(gzip.decompress(body) if zipped else body)

        def log_message(self, *_: object, **__: object) -> None:
            """Print nothing."""

    code = "from automagik_telemetry import get_tracing_manager as get; tracing = get(); "
    code += "tracing.telemetry.track_feature_usage('agents'); print(tracing.flush(10)); tracing.shutdown()"
    with HTTPServer(("127.0.0.1", 0), Endpoint) as server, ThreadPoolExecutor(1) as thread:
        thread.submit(server.serve_forever, poll_interval=0.01)
        try:
            endpoint = f"http://127.0.0.1:{server.server_port}/v1/traces"
            printed = run("-c", code, AUTOMAGIK_TELEMETRY_ENABLED="true", AUTOMAGIK_TELEMETRY_ENDPOINT=endpoint)
            assert printed == "True\n"
            body = json.loads(arrived.result(timeout=20))
        finally:
            server.shutdown()
    spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert [span["name"] for span in spans] == ["feature.used"]


def main() -> None:
    """Run every test of this file; show that the packages come from site-packages, not from a checkout."""
    for package in ("automagik_telemetry", "automagik_processors"):
        origin = run("-c", f"import {package}; print({package}.__file__)").strip()
        assert Path(origin).is_relative_to(sysconfig.get_path("purelib")), origin
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print("passed", name)


if __name__ == "__main__":
    main()
