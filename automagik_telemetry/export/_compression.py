"""Compresses a request body with gzip: by isal, in a fifth of the time, or by zlib where that is not installed."""

from __future__ import annotations

import zlib
from functools import cache
from typing import TYPE_CHECKING

from automagik_telemetry._fork_lock import importing

if TYPE_CHECKING:
    from collections.abc import Callable

_LEVEL = 1
_GZIP = 16 + zlib.MAX_WBITS


def gzip(body: bytes | bytearray) -> bytes:
    """Return the body, compressed."""
    return _compress()(body, _LEVEL, _GZIP)


@cache
def _compress() -> Callable[[bytes | bytearray, int, int], bytes]:
    """Return the faster module's `compress`, imported when it is first needed: it takes 700 KiB of memory."""
    try:
        with importing:
            from isal import isal_zlib  # noqa: PLC0415 - see above
    except (ImportError, OSError):  # not there, or too many open files just now
        return zlib.compress
    return isal_zlib.compress
