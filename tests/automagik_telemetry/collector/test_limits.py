"""The collector's limits of size, depth, time and connections. It never crashes."""

from __future__ import annotations

import contextlib
import gzip
import ipaddress
import json
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automagik_telemetry.collector.server import Collector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.slow

TEXT = st.text(max_size=20) | st.sampled_from(["", "0", "-1", "9" * 400, "\0", "f" * 16, "0" * 32, "NaN"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))


@st.composite
def damaged(draw: st.DrawFn, whole: Any) -> Any:
    """Return a request in which one value, somewhere, is another."""
    if draw(st.integers(0, 5)) == 0:
        return draw(VALUES)
    if isinstance(whole, dict) and whole:
        key = draw(st.sampled_from(sorted(whole)))
        return whole | {key: draw(damaged(whole[key]))}
    if isinstance(whole, list) and whole:
        return [draw(damaged(whole[0])), *whole[1:]]
    return draw(VALUES)


def test_only_this_machine_reaches_it(collector: Collector) -> None:
    """By default the collector listens on this machine alone."""
    assert ipaddress.ip_address(urlsplit(collector.url).hostname or "").is_loopback


def test_damaged_requests_are_refused_and_whole_ones_taken(
    client: httpx.Client, span: Make, record: Make, traces: Make, logs: Make
) -> None:
    """Any request is stored or rejected with a sentence, and the next one is accepted."""
    wholes = {"/v1/traces": traces(span("agent.run", success=True)), "/v1/logs": logs(record("agent.run"))}

    @settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much])
    @given(st.data(), st.sampled_from(sorted(wholes)))
    def send(data: st.DataObject, path: str) -> None:
        sent = data.draw(damaged(wholes[path]))
        answer = client.post(path, content=json.dumps(sent), headers={"content-type": "application/json"})
        assert answer.status_code in {200, 400, 413}, (answer.status_code, sent)
        assert answer.status_code == 200 or len(answer.json()["message"]) > 10

    send()
    for path, whole in wholes.items():
        assert client.post(path, json=whole).status_code == 200


def test_noise_is_refused(client: httpx.Client) -> None:
    """As any type, compressed or not."""
    types = ["application/json", "application/x-protobuf", "text/plain", ""]

    @settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much])
    @given(st.binary(max_size=2000), st.sampled_from(types), st.sampled_from(["gzip", "identity", "br"]), st.booleans())
    def send(noise: bytes, kind: str, encoding: str, honest: bool) -> None:
        content = gzip.compress(noise) if honest and encoding == "gzip" else noise
        headers = {"content-type": kind, "content-encoding": encoding}
        answer = client.post("/v1/traces", content=content, headers=headers)
        assert answer.status_code in {200, 400, 415}

    send()
    assert client.get("/health").status_code == 200


def test_a_body_that_never_ends_is_given_up(tmp_path: Path) -> None:
    """A body that is sent too slowly, or not at all, gets 408, and nothing is kept of it."""
    with Collector(tmp_path / "store.duckdb", body_timeout=0.2) as running:
        address = urlsplit(running.url)
        headers = b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000"
        head = b"POST /v1/traces HTTP/1.1\r\n" + headers + b"\r\n\r\n{"
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(head)
            assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


def test_connections_are_bounded(tmp_path: Path) -> None:
    """A connection beyond the limit gets 503, and is accepted after others have closed."""
    with Collector(tmp_path / "store.duckdb", connections=8) as running, contextlib.ExitStack() as stack:
        address = urlsplit(running.url)
        for _ in range(8):
            stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=30))
        assert httpx.get(f"{running.url}/health", trust_env=False).status_code == 503
        stack.close()
        with httpx.Client(transport=httpx.HTTPTransport(retries=2)) as client:
            while client.get(f"{running.url}/health").status_code == 503:
                pass  # until the server has seen them go


@pytest.mark.parametrize("depth", [100, 2_000, 30_000])
def test_depth_is_bounded(client: httpx.Client, depth: int) -> None:
    """A deeply nested body is rejected, valid JSON or not."""
    for content in (b"[" * depth, b"[" * depth + b"]" * depth, b'{"resourceSpans":' * depth):
        answer = client.post("/v1/traces", content=content, headers={"content-type": "application/json"})
        assert answer.status_code in {400, 413}
