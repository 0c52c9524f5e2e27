"""Delivers request bodies as OTLP over HTTP: JSON, compressed with gzip, one POST at a time on a kept connection.

What it takes to connect is imported at the first request, on the listener's thread.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from typing import TYPE_CHECKING

from automagik_telemetry.delivery.exporter import ExportResult, Outcome
from automagik_telemetry.delivery.importing import importing
from automagik_telemetry.sinks.connection import MAX_REPLY_BYTES, BrokenError, Connection, ExchangeError, proxy_for
from automagik_telemetry.sinks.response import classify
from automagik_telemetry.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_REPLY_BYTES", "OTLPHTTPExporter"]
_GZIP = 16 + zlib.MAX_WBITS
_GZIP_LEVEL = 3
_LEAST_SECRET = 8
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
            part for value in (headers or {}).values() for part in value.split() if len(part) >= _LEAST_SECRET
        ]
        self._connection: Connection | None = None
        self._answered = False
        self.under_way = False
        self.last_date: str | None = None
        """The time of day that the last answer said, by the header Date."""

    def export(self, body: bytes, timeout: float) -> ExportResult:
        """Send `body` within `timeout` seconds, connecting, sending and reading included."""
        result = self._export(body, timeout)
        detail = result.detail
        for secret in self._secrets:  # a server may say what it was told
            detail = detail.replace(secret, "***")
        return result if detail is result.detail else result._replace(detail=detail)

    def _export(self, body: bytes, timeout: float) -> ExportResult:
        deadline = time.monotonic() + timeout
        compressed = _compress(body)
        kept = self._answered
        try:
            try:
                return self._post(compressed, deadline)
            except BrokenError:
                if not kept:
                    raise
            # A connection that was kept may have been closed by the other side meanwhile: ask anew at once.
            self.shutdown()
            return self._post(compressed, deadline)
        except ExchangeError as error:
            self.shutdown()
            if "CERTIFICATE" in str(error):
                _forget_trust()
            return ExportResult(Outcome.RETRY, detail=f"{type(error).__name__}: {error}"[:300])
        except Exception as error:  # noqa: BLE001 - a surprise must not end all shipping
            self.shutdown()
            return ExportResult(Outcome.RETRY, detail=type(error).__name__)

    def _post(self, compressed: bytes, deadline: float) -> ExportResult:
        self._answered = False
        if self._connection is None:
            with importing():
                self._connection = self._open()
        self.under_way = True
        try:
            reply = self._connection.post(self._headers, compressed, deadline)
        finally:
            self.under_way = False
        self._answered = True
        self.last_date = reply.headers.get("date")
        return classify(reply.status, reply.headers, reply.body, time.time())

    def prepare(self) -> None:
        """Import and make what connects; nothing is connected yet."""
        with contextlib.suppress(Exception), importing():
            self._connection = self._connection or self._open()

    def _open(self) -> Connection:
        """Return a new connection to `url`, which is opened by its first request."""
        if (proxy := proxy_for(self.url)) is not None:
            from automagik_telemetry.sinks.transport import (  # noqa: PLC0415 - imports httpx
                TransportConnection,
                open_transport,
            )

            return TransportConnection(self.url, open_transport(self.url, proxy))
        from automagik_telemetry.sinks.direct import DirectConnection  # noqa: PLC0415 - see above

        return DirectConnection(self.url)

    def abandon(self) -> None:
        """Close our copy of the connection without a word on it: in the child of a fork it is the parent's."""
        connection, self._connection = self._connection, None
        self._answered = False
        if connection is not None:
            connection.abandon()

    def shutdown(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        self._answered = False
        if connection is not None:
            connection.close()


def _forget_trust() -> None:
    from automagik_telemetry.sinks.trust import forget  # noqa: PLC0415 - imports ssl

    forget()


def _compress(body: bytes) -> bytes:
    encoder = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP)
    return encoder.compress(body) + encoder.flush()
