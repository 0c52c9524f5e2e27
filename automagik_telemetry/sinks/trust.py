"""Whom the host trusts to be who they say: the certificates that TLS connections are checked against."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache


def trusted() -> ssl.SSLContext:
    """Return whom the host trusts, by the environment's word, or else what certifi lists, as httpx does."""
    return _read(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


def forget() -> None:
    """Read it anew at the next connection: the host may have been told better meanwhile."""
    _read.cache_clear()


@lru_cache(maxsize=1)  # for it takes half a megabyte and 30 ms to read
def _read(file: str | None, directory: str | None) -> ssl.SSLContext:
    if not file and not directory:
        import certifi  # noqa: PLC0415 - httpx brings it

        file = certifi.where()
    context = ssl.create_default_context(cafile=file or None, capath=None if file else directory)
    context.set_alpn_protocols(["http/1.1"])
    return context
