"""Sends request bodies as OTLP over HTTP: JSON, compressed with gzip, one POST at a time on a persistent connection.

httpx is imported at the first request, on the worker's thread. Its transport is used without its client, which would
read the application's netrc and proxies, and log every request at INFO.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from typing import TYPE_CHECKING

from automagik_telemetry._fork_lock import importing
from automagik_telemetry._log import printable
from automagik_telemetry._version import __version__
from automagik_telemetry.export._contract import ExportResult, Outcome
from automagik_telemetry.export.http._response import classify

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from automagik_telemetry.export.http._transport import DeadlineTransport

MAX_REPLY_BYTES = 4 * 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS
_MIN_SECRET_CHARACTERS = 8
"""Length from which a part of a header counts as a secret; "Bearer" is shorter."""


class OTLPHTTPExporter:
    """Posts OTLP/JSON to `url`. `headers` are added to each request; they must be latin-1 without line breaks."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        """Raise ValueError for a header with an invalid character."""
        for name, value in (headers or {}).items():
            if not (name + value).isprintable():
                raise ValueError(f"the header {name!r} must have printable characters only")
        self.url = url
        self._headers = {
            # Exactly this type: with a charset, some receivers reject it or damage IDs.
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
            "User-Agent": f"automagik-telemetry/{__version__}",
            "Accept": "application/json",
            **(headers or {}),
        }
        self._secrets = [
            part for value in (headers or {}).values() for part in value.split() if len(part) >= _MIN_SECRET_CHARACTERS
        ]
        self._transport: DeadlineTransport | None = None
        self._answered = False
        self.under_way = False
        self.last_date: str | None = None
        """The Date header of the last response."""

    def export(self, body: bytes, timeout: float) -> ExportResult:
        """Send `body`, compressed with gzip, within `timeout` seconds for connecting, sending and reading."""
        result = self._export(body, timeout)
        detail = printable(result.detail)  # it may hold a text of the endpoint's
        for secret in self._secrets:  # a server may repeat a header in its response
            detail = detail.replace(secret, "***")
        return result if detail is result.detail else result._replace(detail=detail)

    def _export(self, body: bytes, timeout: float) -> ExportResult:
        with importing:
            import httpx

        deadline = time.monotonic() + timeout
        kept = self._answered
        try:
            try:
                return self._post(body, deadline)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                if not kept:
                    raise
            # The server may have closed the persistent connection meanwhile, so try again at once.
            self.shutdown()
            return self._post(body, deadline)
        except httpx.HTTPError as error:
            variable = self._transport.proxy_variable if self._transport is not None else None
            self.shutdown()
            if "CERTIFICATE" in str(error):
                _forget_trust()
            by = f" (by the proxy in {variable})" if variable else ""
            return ExportResult(Outcome.RETRY, detail=f"{type(error).__name__}{by}: {error}"[:300])
        except Exception as error:  # an unexpected error must not end all sending
            self.shutdown()
            return ExportResult(Outcome.RETRY, detail=type(error).__name__)

    def _post(self, body: bytes, deadline: float) -> ExportResult:
        import httpx

        self._answered = False
        if self._transport is None:
            with importing:
                self._transport = self._open()
        self._transport.deadline = deadline
        request = httpx.Request("POST", self.url, headers=self._headers, content=body)
        self.under_way = True
        try:
            response = self._transport.handle_request(request)
            try:
                reply = _read(response)
            finally:
                response.close()
        finally:
            self.under_way = False
        self._answered = True
        self.last_date = response.headers.get("date")
        return classify(response.status_code, response.headers, reply, time.time())

    def prepare(self) -> None:
        """Import httpx and create the transport, without connecting."""
        with contextlib.suppress(Exception), importing:
            self._transport = self._transport or self._open()

    def _open(self) -> DeadlineTransport:
        """Return a new transport to `url`."""
        from automagik_telemetry.export.http._transport import open_transport

        return open_transport(self.url)

    def abandon(self) -> None:
        """Close the connection in the child of a fork without sending, because it is the parent's."""
        transport, self._transport = self._transport, None
        self._answered = False
        if transport is not None:
            transport.abandon()

    def shutdown(self) -> None:
        """Close the connection."""
        transport, self._transport = self._transport, None
        self._answered = False
        if transport is not None:
            transport.close()


def _forget_trust() -> None:
    """Reload the trusted certificates at the next connection, because they may have been corrected."""
    from automagik_telemetry.export.http._network_settings import forget_trusted

    forget_trusted()


def _read(response: httpx.Response) -> bytes:
    """Return at most `MAX_REPLY_BYTES` of the decompressed response. Raises httpx.HTTPError."""
    gzipped = response.headers.get("content-encoding", "").lower() == "gzip"
    decoder = zlib.decompressobj(_GZIP) if gzipped else None
    reply = bytearray()
    for raw in response.iter_raw():
        room = MAX_REPLY_BYTES - len(reply)
        try:
            reply += decoder.decompress(raw, room) if decoder else raw[:room]
        except zlib.error:
            break
        if len(reply) >= MAX_REPLY_BYTES:
            break
    return bytes(reply)
