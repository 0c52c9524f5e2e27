"""Proxies and trusted certificates are taken from the environment as curl and requests take them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING

import httpx
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from automagik_telemetry.cli._diagnosis import explain
from automagik_telemetry.export._contract import ExportResult, Outcome
from automagik_telemetry.export.http._network_settings import forget_trusted, is_excluded, proxy_for
from tests.faults.sending import GZIPPED, export
from tests.faults.server import Endpoint, closed_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

pytestmark = pytest.mark.fault(81)

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (*NAMES, *map(str.upper, NAMES), *TRUST, "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    forget_trusted()
    yield
    forget_trusted()


class Tunnel:
    """A proxy that makes tunnels, and keeps what it was asked."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.asked: list[str] = []
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._tunnel(self._socket.accept()[0])

    def _tunnel(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                received = client.recv(4096)
                if not received:
                    return
                head += received
            self.asked.append(head.decode())
            client.sendall(self._answer)
            if b" 200 " not in self._answer:
                return
            host, _, port = head.split()[1].decode().rpartition(":")
            with socket.create_connection((host, int(port))) as server:
                back = threading.Thread(target=_pass_on, args=(server, client))
                back.start()
                _pass_on(client, server)
                back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while received := source.recv(65_536):
            target.sendall(received)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Provide the paths of a certificate for 127.0.0.1, signed by itself, and of its key."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("the command openssl makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    paths = str(folder / "certificate.pem"), str(folder / "key.pem")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", paths[1]]
    names = ["-subj", "/CN=endpoint", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [openssl, "req", "-x509", "-days", "1", *curve, *names, "-out", paths[0]], check=True, capture_output=True
    )
    return paths


@pytest.fixture
def secure(certificate: tuple[str, str]) -> Iterator[Endpoint]:
    """Provide an endpoint that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with Endpoint(tls=context) as endpoint:
        yield endpoint


EXCLUDED = [
    ("host.test", 443, "host.test", True),
    ("HOST.test", 443, "Host.TEST", True),
    ("host.test.", 443, "host.test", True),
    ("host.test", 443, ".host.test", True),
    ("a.host.test", 443, "host.test", True),
    ("a.host.test", 443, ".host.test", True),
    ("ahost.test", 443, "host.test", False),
    ("host.test", 443, "a.host.test", False),
    ("host.test", 443, "*", True),
    ("host.test", 443, "other, *", True),
    ("host.test", 443, "other host.test", True),
    ("host.test", 443, " other ,, host.test ,", True),
    ("host.test", 443, "", False),
    ("host.test", 443, ".", False),
    ("host.test", 443, "host.test:443", True),
    ("host.test", 4318, "host.test:443", False),
    ("a.host.test", 4318, ".host.test:4318", True),
    ("host.test", 443, "host.test:many", False),
    ("localhost", 80, "localhost", True),
    ("10.1.2.3", 80, "10.1.2.3", True),
    ("10.1.2.3", 80, "10.0.0.0/8", True),
    ("10.1.2.3", 80, "10.1.2.99/24", True),
    ("11.1.2.3", 80, "10.0.0.0/8", False),
    ("10.1.2.3", 80, "10.0.0.0/99", False),
    ("10.1.2.3", 8080, "10.0.0.0/8:8080", True),
    ("10.1.2.3", 80, "10.1.2.3:8080", False),
    ("10.1.2.3", 80, ".2.3", False),
    ("::1", 80, "::1", True),
    ("::1", 80, "[::1]", True),
    ("::1", 4318, "[::1]:4318", True),
    ("::1", 80, "[::1]:4318", False),
    ("2001:db8::7", 80, "2001:db8::/32", True),
    ("2001:db9::7", 80, "2001:db8::/32", False),
    ("2001:db8:0:0::7", 80, "2001:DB8::7", True),
    ("fe80::1%eth0", 80, "fe80::/10", True),
    ("::1", 80, "127.0.0.1", False),
]


@pytest.mark.parametrize(("host", "port", "no_proxy", "excluded"), EXCLUDED)
def test_hosts_without_a_proxy(host: str, port: int, no_proxy: str, excluded: bool) -> None:
    """NO_PROXY names hosts, domains, addresses and networks, each with a port or without."""
    assert is_excluded(host, port, no_proxy) is excluded


HOSTS = st.sampled_from(["host.test", "a.host.test", "ahost.test", "localhost", "10.1.2.3", "192.168.7.9"])
ENTRIES = st.sampled_from(
    [
        *("host.test", ".host.test", "test", "a.host.test:4318", "host.test:80", ".test:4318", "localhost"),
        *("LOCALHOST", "10.1.2.3", "10.0.0.0/8", "192.168.0.0/16", "192.168.7.9/32", "10.1.2.3/31", "", " "),
    ]
)


@given(HOSTS, st.lists(ENTRIES, max_size=3))
def test_hosts_without_a_proxy_are_those_of_requests(host: str, entries: list[str]) -> None:
    """For names with a port in the URL, and for networks."""
    no_proxy = ",".join(entries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", no_proxy)
        patch.setenv("ALL_PROXY", "http://proxy.test:3128")
        theirs = requests.utils.should_bypass_proxies(f"http://{host}:4318/v1/traces", None)
        ours = proxy_for(f"http://{host}:4318/v1/traces") is None
    assert ours is theirs


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "127.0.0.0/8", "*", ".0.0.1", "10.0.0.0/8", "other.test", "::1", ""])
def test_hosts_without_a_proxy_are_those_of_curl(
    no_proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that is a real server is asked by both, or by neither."""
    if (curl := shutil.which("curl")) is None:
        pytest.skip("there is no curl")
    with Endpoint() as endpoint, Endpoint() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("NO_PROXY", no_proxy)
        body = tmp_path / "body"
        body.write_bytes(GZIPPED)
        types = ["-H", "Content-Type: application/json", "-H", "Content-Encoding: gzip"]
        subprocess.run([curl, "-s", "--data-binary", f"@{body}", *types, endpoint.url], check=True, capture_output=True)
        assert export(endpoint.url) == ExportResult(Outcome.SUCCESS)
    assert (len(endpoint.requests), len(proxy.requests)) in {(2, 0), (0, 2)}


PRECEDENCE: list[tuple[str, dict[str, str], str | None]] = [
    ("https", {"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:1"}, "lower"),
    ("https", {"HTTPS_PROXY": "http://upper:1", "ALL_PROXY": "http://all:1"}, "upper"),
    ("https", {"HTTP_PROXY": "http://other:1", "ALL_PROXY": "http://all:1"}, "all"),
    ("https", {"HTTP_PROXY": "http://other:1"}, None),
    ("http", {"HTTP_PROXY": "http://upper:1"}, "upper"),
    ("http", {"HTTP_PROXY": "http://upper:1", "REQUEST_METHOD": "GET"}, None),
    ("http", {"http_proxy": "http://lower:1", "REQUEST_METHOD": "GET"}, "lower"),
    ("http", {"all_proxy": "proxy:3128"}, "proxy"),
    ("http", {"all_proxy": "//proxy:3128"}, "proxy"),
    ("http", {"all_proxy": " http://proxy:3128 "}, "proxy"),
    ("https", {"https_proxy": "", "HTTPS_PROXY": "http://upper:1"}, None),
    ("https", {"https_proxy": " ", "ALL_PROXY": "http://all:1"}, "all"),
    ("https", {"ALL_PROXY": "http://all:1", "NO_PROXY": "other", "no_proxy": "host.test"}, None),
]


@pytest.mark.parametrize(("scheme", "variables", "host"), PRECEDENCE)
def test_which_proxy_counts(
    scheme: str, variables: dict[str, str], host: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the scheme before that of all, and lower case before upper case."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = proxy_for(f"{scheme}://host.test/v1/traces")
    assert (found.url.host if found else None) == host
    if found is not None:
        assert variables[found.variable]


UNUSABLE = [
    ("socks5://127.0.0.1:1080", "needs the package socksio"),
    ("socks5h://user:hunter2@127.0.0.1:1080", "needs the package socksio"),
    ("socks4://127.0.0.1:1080", "it begins with socks4://"),
    ("socks://127.0.0.1:1080", "it begins with socks://"),
    ("ftp://user:hunter2@127.0.0.1", "it begins with ftp://"),
    ("http://", "it is not a URL"),
    ("http://user:hunter2@", "it is not a URL"),
    ("http://[::1", "it is not a URL"),
    ("http://proxy:hunter2", "it is not a URL"),
    ("http://user:hunter2@proxy:99999", "it is not a URL"),
    ("http://pro xy:1", "it is not a URL"),
    ("http://\x01:1", "it is not a URL"),
    (":::", "it is not a URL"),
]


@pytest.mark.parametrize(("proxy", "reason"), UNUSABLE)
@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
def test_a_proxy_that_can_not_be_used(proxy: str, reason: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent past it; what is said names the variable, and holds no password."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv(variable, proxy)
    with Endpoint() as endpoint:
        result = export(endpoint.url)
    assert endpoint.requests == []
    assert (result.outcome, "hunter2" in result.detail) == (Outcome.RETRY, False)
    assert f"{variable} is not a usable proxy" in result.detail
    assert reason in result.detail
    assert explain(result)[0] == "proxy can't be used"


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said that the proxy was asked, and which variable names it."""
    monkeypatch.setenv("HTTP_PROXY", f"http://user:hunter2@127.0.0.1:{closed_port()}")
    result = export("http://endpoint.test")
    assert result.outcome is Outcome.RETRY
    assert "by the proxy in HTTP_PROXY" in result.detail
    assert "hunter2" not in result.detail
    assert explain(result)[0] == "connection through the proxy failed"


def test_a_tunnel_through_a_proxy(
    secure: Endpoint, certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To an endpoint with TLS; the proxy gets its password, and the endpoint doesn't."""
    monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
    with Tunnel() as tunnel:
        monkeypatch.setenv("https_proxy", f"http://us%40er:hunter2@{tunnel.address}")
        assert export(secure.url) == ExportResult(Outcome.SUCCESS)
    (asked,) = tunnel.asked
    assert "Proxy-Authorization: Basic dXNAZXI6aHVudGVyMg==" in asked
    assert "authorization" not in {name.lower() for name in secure.requests[0].headers}


def test_a_tunnel_that_needs_a_password(secure: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer of the proxy is in what is said, with the variable."""
    with Tunnel(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n") as tunnel:
        monkeypatch.setenv("ALL_PROXY", tunnel.address)
        result = export(secure.url)
    assert (result.outcome, secure.requests) == (Outcome.RETRY, [])
    assert "by the proxy in ALL_PROXY" in result.detail
    assert "407" in result.detail


def test_a_proxy_with_tls(certificate: tuple[str, str], secure: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is trusted by the certificates that the environment names, too."""
    monkeypatch.setenv("http_proxy", secure.url)
    assert "CERTIFICATE_VERIFY_FAILED" in export("http://endpoint.test").detail
    monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
    assert export("http://endpoint.test") == ExportResult(Outcome.SUCCESS)
    assert secure.requests[0].path == "http://endpoint.test/"


@pytest.mark.parametrize("variable", TRUST)
def test_each_variable_names_whom_to_trust(
    variable: str, certificate: tuple[str, str], secure: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file, or a directory of certificates by their hashes."""
    places = [certificate[0]]
    if variable != "SSL_CERT_FILE":
        folder = tmp_path / "certificates"
        folder.mkdir()
        shutil.copy(certificate[0], folder / "one.pem")
        subprocess.run(["openssl", "rehash", folder], check=True)
        places = [str(folder), *(places if variable != "SSL_CERT_DIR" else [f"/nowhere{os.pathsep}{folder}"])]
    for place in places:
        monkeypatch.setenv(variable, place)
        assert export(secure.url) == ExportResult(Outcome.SUCCESS)


def test_file_and_directory_count_together(
    certificate: tuple[str, str], secure: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in curl; the bundle of requests counts without them only."""
    import certifi

    shutil.copy(certificate[0], tmp_path / "one.pem")
    subprocess.run(["openssl", "rehash", tmp_path], check=True)
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate[0])
    assert export(secure.url).outcome is Outcome.RETRY
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert export(secure.url) == ExportResult(Outcome.SUCCESS)


@pytest.mark.slow
@pytest.mark.parametrize("variable", TRUST)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"", "it holds no certificate"),
        (b"garbage", "it holds no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "it holds no certificate"),
        (os.urandom(3000), "it holds no certificate"),
        ("directory", "the directory is empty"),
        ("locked", "Permission denied"),
    ],
    ids=["nowhere", "empty", "garbage", "torn", "binary", "an empty directory", "unreadable"],
)
def test_certificates_that_can_not_be_read(  # noqa: PLR0913, PLR0917 - a place, and what is in it
    variable: str,
    content: bytes | str | None,
    reason: str,
    secure: Endpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is sent, and what is said names the variable, its value and the reason."""
    path = tmp_path / "trusted"
    if isinstance(content, bytes):
        path.write_bytes(content)
        reason = "No such file or directory" if variable == "SSL_CERT_DIR" else reason
    elif content == "directory":
        path.mkdir()
        if variable == "SSL_CERT_FILE":
            reason = "directory"
    elif content == "locked":
        if os.geteuid() == 0 or variable == "SSL_CERT_DIR":
            pytest.skip("there is nothing that root can't read")
        path.touch(mode=0)
    monkeypatch.setenv(variable, str(path))
    result = export(secure.url)
    assert (result.outcome, secure.requests) == (Outcome.RETRY, [])
    assert f"{variable}={str(path)[:100]} names no certificates that can be read: " in result.detail
    assert reason in result.detail
    assert explain(result)[0] == "certificates can't be read"
    monkeypatch.delenv(variable)
    assert "CERTIFICATE_VERIFY_FAILED" in export(secure.url).detail


def test_in_the_clear_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint without TLS is reached whatever the variables name."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    with Endpoint() as endpoint:
        assert export(endpoint.url) == ExportResult(Outcome.SUCCESS)


def test_a_usable_proxy_is_a_url() -> None:
    """With the port that its scheme implies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALL_PROXY", "https://proxy.test")
        found = proxy_for("http://host.test")
    assert found is not None
    assert found.url == httpx.URL("https://proxy.test")
