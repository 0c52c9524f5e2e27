"""A local endpoint that accepts every request and counts its events on demand.

It stores bodies unread until they are counted, to use little CPU while a client is measured. As a process, it prints
its URL and serves until its standard input closes.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(__file__).parents[2]
"""Working directory of the processes."""


class Request(NamedTuple):
    """One request: its path, its body as received, its content type and encoding."""

    path: str
    body: bytes
    type: str
    encoding: str | None

    def events(self) -> int:
        """Return how many spans, log records or log items the request carries."""
        body = gzip.decompress(self.body) if self.encoding == "gzip" else self.body
        if self.path.rstrip("/").endswith("envelope"):
            return _in_envelope(body)
        return _in_json(json.loads(body)) if self.type == "application/json" else _in_protobuf(self.path, body)


def _in_json(request: dict[str, Any]) -> int:
    return sum(
        len(scope.get("spans") or scope["logRecords"])
        for resource in request.get("resourceSpans") or request["resourceLogs"]
        for scope in resource.get("scopeSpans") or resource["scopeLogs"]
    )


def _in_protobuf(path: str, body: bytes) -> int:
    if path.endswith("/v1/logs"):
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

        logs = ExportLogsServiceRequest.FromString(body)
        return sum(len(scope.log_records) for resource in logs.resource_logs for scope in resource.scope_logs)
    if path.endswith("/traces"):
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        traces = ExportTraceServiceRequest.FromString(body)
        return sum(len(scope.spans) for resource in traces.resource_spans for scope in resource.scope_spans)
    return 0  # metrics, or a client's request about itself


def _in_envelope(body: bytes) -> int:
    """Count the logs in a Sentry envelope, in which a header line before each item holds its count."""
    count, rest = 0, body.partition(b"\n")[2]
    while rest:
        line, _, rest = rest.partition(b"\n")
        header = json.loads(line)
        count += header.get("item_count", 0)
        rest = rest[header["length"] :].removeprefix(b"\n")
    return count


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def _endpoint(self) -> _Server:
        return cast("_Server", self.server)

    def do_POST(self) -> None:
        """Store the request and answer it, unless its path starts with /hang."""
        body = self._read()
        if self.path.startswith("/hang"):
            threading.Event().wait()
        request = Request(self.path, body, self.headers["Content-Type"], self.headers["Content-Encoding"])
        self._endpoint.requests.append(request)
        self._reply({})

    def do_GET(self) -> None:
        """Return the counts since the last GET of `/`; any other path is Logfire asking for its project."""
        if self.path != "/":
            self._reply({"project_name": "bench", "project_url": "http://localhost"})
            return
        requests, self._endpoint.requests = self._endpoint.requests, []
        self._reply({"events": sum(map(Request.events, requests)), "bytes": sum(len(each.body) for each in requests)})

    def _read(self) -> bytes:
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _reply(self, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Print nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    requests: list[Request]


class Counted(NamedTuple):
    """Events that a sink received, and bytes of their request bodies as received."""

    events: int
    bytes: int


def counted(url: str) -> Counted:
    """Return what the sink at `url` has received since the previous call."""
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - a local URL
        return Counted(**json.load(answer))


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """Run a sink in its own process and yield its URL."""
    command = [sys.executable, "-m", "tests.bench.sink"]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()


def main() -> None:
    """Serve until standard input closes."""
    server = _Server(("127.0.0.1", 0), _Exchange)
    server.requests = []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
