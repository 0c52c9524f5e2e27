"""Delivers request bodies as OTLP over HTTP: JSON, compressed with gzip, one POST at a time on a kept connection.

httpx is imported at the first request, on the worker's thread. Its transport is used without its client, which would
follow the application's netrc, log every request at INFO and read proxies for itself.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from typing import TYPE_CHECKING

from automagik_telemetry._fork_lock import importing
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
"""Length from which a part of a header may be a secret; "Bearer" is none."""


class OTLPHTTPExporter:
    """Posts OTLP/JSON to `url`. `headers` are added to each request; they must be latin-1 and hold no line break."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        """Raises ValueError for a header that could not be sent as one."""
        for name, value in (headers or {}).items():
            if not (name + value).isprintable():
                raise ValueError(f"the header {name!r} holds characters that a header can't hold")
        self.url = url
        self._headers = {
            # Exactly this type: with a charset, receivers have been seen to refuse it or to damage ids.
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
        """The time of day that the last answer said, by the header Date."""

    def export(self, body: bytes, timeout: float) -> ExportResult:
        """Send `body`, compressed with gzip, within `timeout` seconds, connecting, sending and reading included."""
        result = self._export(body, timeout)
        detail = result.detail
        for secret in self._secrets:  # a server may say what it was told
            detail = detail.replace(secret, "***")
        return result if detail is result.detail else result._replace(detail=detail)

    def _export(self, body: bytes, timeout: float) -> ExportResult:
        with importing:
            import httpx  # noqa: PLC0415 - a tenth of a second that only a process that sends should pay

        deadline = time.monotonic() + timeout
        kept = self._answered
        try:
            try:
                return self._post(body, deadline)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                if not kept:
                    raise
            # A connection that was kept may have been closed by the other side meanwhile: ask anew at once.
            self.shutdown()
            return self._post(body, deadline)
        except httpx.HTTPError as error:
            self.shutdown()
            if "CERTIFICATE" in str(error):
                _forget_trust()
            return ExportResult(Outcome.RETRY, detail=f"{type(error).__name__}: {error}"[:300])
        except Exception as error:  # noqa: BLE001 - a library's surprise must not end all sending
            self.shutdown()
            return ExportResult(Outcome.RETRY, detail=type(error).__name__)

    def _post(self, body: bytes, deadline: float) -> ExportResult:
        import httpx  # noqa: PLC0415 - see `export`

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
        """Import httpx and make the transport; nothing is connected yet."""
        with contextlib.suppress(Exception), importing:
            self._transport = self._transport or self._open()

    def _open(self) -> DeadlineTransport:
        """Return a new transport to `url`."""
        from automagik_telemetry.export.http._transport import open_transport  # noqa: PLC0415 - imports httpx

        return open_transport(self.url)

    def abandon(self) -> None:
        """Close our copy of the connection without a word on it: in the child of a fork it is the parent's."""
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
    """Read anew, at the next connection, whom the application trusts: it may have been told better meanwhile."""
    from automagik_telemetry.export.http._transport import trusted  # noqa: PLC0415 - imports httpx

    trusted.cache_clear()


def _read(response: httpx.Response) -> bytes:
    """Return at most `MAX_REPLY_BYTES` of the reply, decompressed. Raises httpx.HTTPError."""
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
