"""Others are served while someone holds connections, and only those who may send and read can."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import sys
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from automagik_telemetry.collector import _protocol
from automagik_telemetry.collector._errors import ExposureError
from automagik_telemetry.collector._exposure import Exposure
from automagik_telemetry.collector.server import Collector
from tests.automagik_telemetry.collector.conftest import READER, SENDER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.slow


def connect(collector: Collector) -> socket.socket:
    """Connect to a collector."""
    address = urlsplit(collector.url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def bearer(token: str) -> dict[str, str]:
    """The header of a token."""
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("localhost:4318", True),
        ("LOCALHOST", True),
        ("127.0.0.1", True),
        ("127.0.0.1:80", True),
        ("[::1]:4318", True),
        ("[::1]", True),
        ("192.0.2.7", True),
        ("telemetry.example.org", True),
        ("telemetry.example.org:443", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example:4318", False),
        ("telemetry.example.org.", False),
        ("[]", False),
        ("", False),
        (None, False),
    ],
)
def test_a_request_names_the_collector(host: str | None, served: bool) -> None:
    """A name that is resolved to this address by a web page's own server is not ours. An address is no such name."""
    assert Exposure("127.0.0.1", names=["telemetry.example.org"]).is_host(host) is served


@pytest.mark.fault(126)
def test_another_name_is_refused(client: httpx.Client, span: Make, traces: Make) -> None:
    """No path answers to it, and nothing is stored."""
    named = {"host": "evil.example"}
    replies = [client.get(path, headers=named) for path in ("/health", "/metrics", "/api/report")]
    replies.append(client.post("/v1/traces", json=traces(span("agent.run")), headers=named))
    assert {reply.status_code for reply in replies} == {421}
    assert "--name" in replies[0].json()["message"]
    assert client.get("/health").json()["stored"] == 0


def test_tokens_are_for_applications(tmp_path: Path, tokens: Path, span: Make, traces: Make) -> None:
    """A sender needs a token, which is for its applications alone; a reader needs one that may read."""
    with (
        Collector(tmp_path / "store.duckdb", tokens=tokens) as running,
        httpx.Client(base_url=running.url, trust_env=False) as client,
    ):
        request = traces(span("agent.run"))
        for wrong in ({}, bearer("guessed"), {"authorization": f"Basic {SENDER}"}):
            reply = client.post("/v1/traces", json=request, headers=wrong)
            assert (reply.status_code, reply.headers["www-authenticate"], reply.json()["code"]) == (401, "Bearer", 16)
            assert client.get("/api/report", headers=wrong).status_code == 401
        assert client.post("/v1/traces", json=request, headers=bearer(SENDER)).json() == {}
        other = traces(span("agent.run"))
        other["resourceSpans"][0]["resource"]["attributes"][0]["value"] = {"stringValue": "other"}
        reply = client.post("/v1/traces", json=other, headers=bearer(SENDER))
        partial = {"rejectedSpans": "1", "errorMessage": "Not stored: 1 application."}
        assert reply.json() == {"partialSuccess": partial}
        assert client.post("/v1/traces", json=request, headers=bearer(READER)).json()["partialSuccess"]
        for path in ("/api/report", "/metrics"):
            assert client.get(path, headers=bearer(SENDER)).status_code == 403
            assert client.get(path, headers=bearer(READER)).status_code == 200
        assert client.get("/health").json()["stored"] == 1


@pytest.mark.fault(126)
def test_other_machines_need_tokens(tmp_path: Path, tokens: Path, span: Make, traces: Make) -> None:
    """An address that they reach is not opened without, and only declared events are stored there."""
    everyone = "0.0.0.0"  # noqa: S104 - what is tested
    with (
        pytest.raises(ExposureError, match="--tokens"),
        Collector(tmp_path / "store.duckdb", host=everyone),
    ):
        pass
    with Collector(tmp_path / "store.duckdb", host=everyone, tokens=tokens) as running:
        url = running.url.replace(everyone, "127.0.0.1")
        reply = httpx.post(
            f"{url}/v1/traces", json=traces(span("basket.emptied")), headers=bearer(SENDER), trust_env=False
        )
    assert reply.json()["partialSuccess"]["errorMessage"] == "Not stored: 1 undeclared_event."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read: No such file"),
        ("", "is not a file of tokens"),
        ("token = []", "There are no tokens"),
        ('[[token]]\ntoken = "short"', "at least 16 characters"),
        ('[[token]]\ntoken = "0123456789abcdef"\napplications = "shop"', "is not a file of tokens"),
        ('[[token]]\ntoken = "0123456789abcdef"\naplications = ["shop"]', "is not a file of tokens"),
        ("[[token", "is not a file of tokens"),
    ],
)
def test_wrong_tokens_are_one_sentence(tmp_path: Path, content: str | None, message: str) -> None:
    """A file that can't be used is reported with the way out, and without a token."""
    file = tmp_path / "tokens.toml"
    if content is not None:
        file.touch(mode=0o600)
        file.write_text(content)
    with pytest.raises(ExposureError) as raised:
        Exposure("127.0.0.1", file)
    assert message in str(raised.value)
    assert "0123456789abcdef" not in str(raised.value)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such modes")
def test_tokens_that_others_may_read_are_refused(tokens: Path) -> None:
    """The file is for its owner only."""
    tokens.chmod(0o640)
    with pytest.raises(ExposureError, match="chmod 600"):
        Exposure("127.0.0.1", tokens)


@pytest.mark.fault(124)
@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"POST /v1/traces HTTP/1.1\r\nHost: local",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HTT",
    ],
)
def test_headers_have_a_deadline(tmp_path: Path, begun: bytes) -> None:
    """A connection is closed that does not send headers, or only their beginning, also after a first request."""
    with Collector(tmp_path / "store.duckdb", header_timeout=0.3) as running, connect(running) as connection:
        connection.sendall(begun)
        received = b""
        try:
            while part := connection.recv(4096):
                received += part
        except ConnectionResetError:
            pass
        assert received.count(b"HTTP/1.1 200 OK") == begun.count(b"\r\n\r\n")
        assert httpx.get(f"{running.url}/health", trust_env=False).json()["responses"] == {"408": 1}


def test_an_idle_connection_between_requests_stays_open(tmp_path: Path) -> None:
    """The deadline of headers is not that of the next request."""
    with (
        Collector(tmp_path / "store.duckdb", header_timeout=0.2) as running,
        httpx.Client(base_url=running.url, trust_env=False) as client,
        connect(running) as silent,
    ):
        stream = client.get("/health").extensions["network_stream"].get_extra_info("client_addr")
        with suppress(ConnectionResetError):
            assert silent.recv(1) == b""  # the deadline has passed for the silent one
        assert client.get("/health").extensions["network_stream"].get_extra_info("client_addr") == stream


@pytest.mark.fault(124)
def test_connections_of_an_address_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One address gets 503 beyond its limit, until its connections end."""
    monkeypatch.setattr(_protocol, "is_loopback", lambda _address: False)
    with Collector(tmp_path / "store.duckdb", connections_per_address=4) as running, ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(connect(running))
        with connect(running) as refused:
            assert refused.recv(4096).startswith(b"HTTP/1.1 503 ")
        stack.close()
        with httpx.Client(transport=httpx.HTTPTransport(retries=2)) as client:
            while client.get(f"{running.url}/health").status_code == 503:
                pass  # until the server has seen them go
            assert client.get(f"{running.url}/health").json()["responses"]["503"] >= 1


@pytest.mark.parametrize(("address", "may_stay"), [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True)])
def test_this_machine_and_proxies_have_no_limit(address: str, may_stay: bool) -> None:
    """Others have one, and an address is forgotten when its last connection ends."""
    connections = _protocol.Connections(None, 1, 2, {"192.0.2.1"})  # type: ignore[arg-type]
    assert [connections.enter(address) for _ in range(4)] == [may_stay] * 4
    assert [connections.enter("192.0.2.1") for _ in range(4)] == [True] * 4
    assert [connections.enter("192.0.2.2") for _ in range(3)] == [True, True, False]
    for _ in range(3):
        connections.leave("192.0.2.2")
    assert "192.0.2.2" not in connections._connected
    assert connections.enter("192.0.2.2")


def test_tls_by_files(tmp_path: Path, certificate: tuple[Path, Path], span: Make, traces: Make) -> None:
    """With a certificate and its key, it speaks TLS."""
    with Collector(tmp_path / "store.duckdb", certificate=certificate) as running:
        assert running.url.startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=str(certificate[0]))
        with httpx.Client(base_url=running.url, verify=trusted, trust_env=False) as client:
            assert client.post("/v1/traces", json=traces(span("agent.run"))).status_code == 200
            assert client.get("/health").json()["stored"] == 1


@pytest.mark.fault(124)
def test_a_tls_handshake_has_a_deadline(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """A connection that does not begin one is closed. asyncio's own deadline is a minute."""
    with Collector(tmp_path / "store.duckdb", certificate=certificate, header_timeout=0.2) as running:
        with connect(running) as waiting:
            assert waiting.recv(1) == b""
        assert httpx.get(f"{running.url}/health", verify=False, trust_env=False).status_code == 200  # noqa: S501 - a test's own


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such modes")
def test_the_files_are_for_their_owner_only(tmp_path: Path, span: Make, traces: Make) -> None:
    """The store and its log of writes can't be read by others, whatever the umask is."""
    before = os.umask(0o000)
    try:
        with Collector(tmp_path / "store.duckdb") as running:
            httpx.post(f"{running.url}/v1/traces", json=traces(span("agent.run")), trust_env=False).raise_for_status()
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("store*")}
    finally:
        os.umask(before)
    # The first checkpoint may have removed the log of writes.
    assert modes.items() <= dict.fromkeys(("store.duckdb", "store.duckdb.wal", "store.duckdb.control"), 0o600).items()
    assert "store.duckdb" in modes


@pytest.mark.fault(124)
def test_a_slow_sender_does_not_hold_up_others(tmp_path: Path, span: Make, traces: Make) -> None:
    """Forty connections with half a request each wait, while others are served."""
    with Collector(tmp_path / "store.duckdb") as running, ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connect(running)).sendall(
                b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 1000\r\n\r\n{"
            )
        start = time.monotonic()
        reply = httpx.post(f"{running.url}/v1/traces", json=traces(span("agent.run")), trust_env=False, timeout=20)
        assert reply.status_code == 200
        assert time.monotonic() - start < 20  # before any of them is given up
