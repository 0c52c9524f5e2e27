"""Whom the exporter takes for the endpoint: only who has a certificate for its name that the host trusts."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from automagik_telemetry.export._body import gzip, join
from automagik_telemetry.export._contract import ExportResult, Outcome
from automagik_telemetry.export.http._exporter import OTLPHTTPExporter
from tests.faults.sending import ENVELOPE, fragment
from tests.faults.server import PATIENCE, Endpoint, hang_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Certify = Callable[..., tuple[str, str]]

GZIPPED = gzip(join(ENVELOPE, [fragment(0)]))


def export(url: str) -> ExportResult:
    """Send one body with a fresh exporter."""
    exporter = OTLPHTTPExporter(url)
    try:
        return exporter.export(GZIPPED, PATIENCE)
    finally:
        exporter.shutdown()


@pytest.fixture
def certify(tmp_path: Path) -> Certify:
    """Return a function that makes a certificate signed by itself, and returns its path and its key's."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("the command openssl makes the certificate")

    def make(name: str = "IP:127.0.0.1", *, expired: bool = False) -> tuple[str, str]:
        paths = str(tmp_path / "certificate.pem"), str(tmp_path / "key.pem")
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", paths[1]]
        names = ["-subj", "/CN=endpoint", "-addext", f"subjectAltName={name}"]
        request = [openssl, "req", "-x509", "-days", "1", *curve, *names, "-out", paths[0]]
        subprocess.run(request, check=True, capture_output=True)
        if expired:  # as soon as it is made
            again = [openssl, "x509", "-in", paths[0], "-signkey", paths[1], "-days", "0", "-out", paths[0]]
            subprocess.run(again, check=True, capture_output=True)
        return paths

    return make


@pytest.fixture
def secure(request: pytest.FixtureRequest, certify: Certify, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """Provide an endpoint whose certificate is as the parameters say, and trusted as SSL_CERT_FILE names it."""
    options = dict(getattr(request, "param", {}))
    trusted = options.pop("trusted", True)
    paths = certify(**options)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", paths[0])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*paths)
    with Endpoint(tls=context) as endpoint:
        yield endpoint


@pytest.mark.fault(22)
@pytest.mark.parametrize(
    ("secure", "reason"),
    [
        pytest.param({"trusted": False}, "self-signed", id="nobody vouches for it"),
        pytest.param({"expired": True}, "expired", id="expired"),
        pytest.param({"name": "DNS:elsewhere.test"}, "not valid for '127.0.0.1'", id="another's"),
    ],
    indirect=["secure"],
)
def test_a_certificate_that_is_not_good_is_refused(secure: Endpoint, reason: str) -> None:
    """Nothing is sent, nothing is sent in the clear instead, and the error says why."""
    result = export(secure.url)
    assert result.outcome is Outcome.RETRY
    assert "CERTIFICATE_VERIFY_FAILED" in result.detail
    assert reason in result.detail.replace("self signed", "self-signed")
    assert secure.requests == []


def test_a_certificate_that_the_host_trusts_is_accepted(secure: Endpoint) -> None:
    """SSL_CERT_FILE names whom to trust, as everywhere."""
    assert export(secure.url) == ExportResult(Outcome.SUCCESS)


@pytest.mark.fault(22)
def test_an_endpoint_that_speaks_in_the_clear_is_not_believed() -> None:
    """A server without TLS, where there should be one, gets no event."""
    with Endpoint() as plain:
        assert export(plain.url.replace("http:", "https:")).outcome is Outcome.RETRY
        assert plain.requests == []


def test_trust_is_read_anew_after_a_refusal(certify: Certify, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that the host comes to trust while the process runs is accepted at the next attempt."""
    other = Path(certify("DNS:elsewhere.test")[0])
    bundle = other.with_name("trusted.pem")
    shutil.copy(other, bundle)
    paths = certify()
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*paths)
    with Endpoint(tls=context) as endpoint:
        assert export(endpoint.url).outcome is Outcome.RETRY
        shutil.copy(paths[0], bundle)
        assert export(endpoint.url) == ExportResult(Outcome.SUCCESS)


def test_failures_cost_no_memory() -> None:
    """Every attempt after a failure has a new connection; what whom to trust takes is read for none in the clear."""
    with Endpoint(hang_up) as endpoint:
        exporter = OTLPHTTPExporter(endpoint.url)
        for _ in range(20):
            exporter.export(GZIPPED, PATIENCE)
        before = resident()
        for _ in range(60):
            exporter.export(GZIPPED, PATIENCE)
        assert resident() - before < 8 * 1024, "KiB; half a megabyte for each would be 30,000"


def resident() -> int:
    """Return this process's memory in KiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0])
