"""The exporter sends only to an endpoint with a trusted certificate for its name."""

from __future__ import annotations

import shutil
import ssl
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from automagik_telemetry.export._contract import ExportResult, Outcome
from automagik_telemetry.export.http._exporter import OTLPHTTPExporter
from tests.faults.sending import GZIPPED, export
from tests.faults.server import PATIENCE, Endpoint, certificate, hang_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Certify = Callable[..., tuple[str, str]]


@pytest.fixture
def certify(tmp_path: Path) -> Certify:
    """Return a function that makes a certificate signed by itself, and returns its path and its key's."""
    return partial(certificate, tmp_path)


@pytest.fixture
def secure(request: pytest.FixtureRequest, certify: Certify, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """Provide an endpoint whose certificate has the given parameters, and is trusted by SSL_CERT_FILE."""
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
    """Nothing is sent, with or without TLS, and the error has the cause."""
    result = export(secure.url)
    assert result.outcome is Outcome.RETRY
    assert "CERTIFICATE_VERIFY_FAILED" in result.detail
    assert reason in result.detail.replace("self signed", "self-signed")
    assert secure.requests == []


def test_a_certificate_that_the_machine_trusts_is_accepted(secure: Endpoint) -> None:
    """SSL_CERT_FILE sets the trusted certificates."""
    assert export(secure.url) == ExportResult(Outcome.SUCCESS)


@pytest.mark.fault(22)
def test_an_endpoint_without_tls_is_refused() -> None:
    """A server without TLS, where there should be one, gets no event."""
    with Endpoint() as plain:
        assert export(plain.url.replace("http:", "https:")).outcome is Outcome.RETRY
        assert plain.requests == []


def test_trust_is_read_anew_after_a_refusal(certify: Certify, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that becomes trusted while the process runs is accepted at the next attempt."""
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
    """Every attempt after a failure has a new connection; certificates are loaded for none without TLS."""
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
