"""What carries a request to an endpoint and its answer back, and the ways in which that fails."""

from __future__ import annotations

import sys
import zlib
from os import environ
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_REPLY_BYTES = 4 * 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS


class Reply(NamedTuple):
    """An answer: its status, its headers by their names in lower case, its body decompressed and bounded."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ExchangeError(Exception):
    """There is no answer; the text says why."""


class ConnectError(ExchangeError):
    """Nobody was reached, or somebody else was."""


class ExchangeTimeoutError(ExchangeError):
    """The time for the whole exchange is over."""


class BrokenError(ExchangeError):
    """The connection ended within the exchange, or what came is no answer."""


class Connection(Protocol):
    """A way to one endpoint, opened at the first request and kept."""

    def post(self, headers: Mapping[str, str], body: bytes, deadline: float) -> Reply:
        """Send `body` and return the answer until `deadline` (of `time.monotonic()`). Raises ExchangeError."""

    def close(self) -> None:
        """Close it."""

    def abandon(self) -> None:
        """Close our copy without a word on it: in the child of a fork it is the parent's."""


def bounded(parts: Iterable[bytes], encoding: str) -> bytes:
    """Return at most `MAX_REPLY_BYTES` of an answer's body, decompressed; no more of `parts` is taken than that."""
    decoder = zlib.decompressobj(_GZIP) if encoding.lower() == "gzip" else None
    reply = bytearray()
    for raw in parts:
        room = MAX_REPLY_BYTES - len(reply)
        try:
            reply += decoder.decompress(raw, room) if decoder else raw[:room]
        except zlib.error:
            break
        if len(reply) >= MAX_REPLY_BYTES:
            break
    return bytes(reply)


def proxy_for(url: str) -> str | None:
    """Return the proxy that the host names for `url`, if any."""
    if sys.platform not in {"darwin", "win32"} and not any(name.lower().endswith("_proxy") for name in environ):
        return None
    import urllib.request  # noqa: PLC0415 - much to import for what most hosts don't have

    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
