"""Compresses a request body with gzip, piece by piece: by isal, in a fifth of the time, or by zlib where it is not."""

from __future__ import annotations

import zlib
from functools import cache
from typing import TYPE_CHECKING, Protocol

from automagik_telemetry.delivery.importing import importing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LEVEL = 1
_GZIP = 16 + zlib.MAX_WBITS


class _Stream(Protocol):
    def compress(self, data: bytes | memoryview, /) -> bytes: ...
    def flush(self) -> bytes: ...


def gzip(pieces: Iterable[bytes | memoryview]) -> bytes:
    """Return what the pieces are together, compressed; each is done with when the next is asked for."""
    stream = _compressobj()(_LEVEL, zlib.DEFLATED, _GZIP)
    return b"".join([*map(stream.compress, pieces), stream.flush()])


@cache
def _compressobj() -> Callable[[int, int, int], _Stream]:
    """Return the faster module's `compressobj`, imported when it is first needed: it takes 700 KiB of memory."""
    try:
        with importing():
            from isal import isal_zlib  # noqa: PLC0415 - see above
    except (ImportError, OSError):  # no wheel for the platform, or too many open files just now
        return zlib.compressobj
    return isal_zlib.compressobj
