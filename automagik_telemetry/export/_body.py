"""The body of a request: its envelope, one line for each event, and compression."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from automagik_telemetry._fork_lock import importing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SEPARATOR = b",\n"
"""What ends the line of an encoded event, its fragment, and separates it from the next."""


class Envelope(NamedTuple):
    """What stands before and after the fragments in a request: a line that says who sends, and the closing brackets."""

    head: bytes
    tail: bytes

    @property
    def closing(self) -> bytes:
        """What stands in the place of the last separator in the end."""
        return b"\n" + self.tail


def join(envelope: Envelope, fragments: Sequence[bytes]) -> bytes:
    """Return the request body that carries `fragments`, as a sealed segment's file holds it."""
    return envelope.head + SEPARATOR.join(fragments) + envelope.closing


def split(body: bytes) -> tuple[Envelope, list[bytes]]:
    """Return the envelope and the fragments of a request body: the inverse of `join`."""
    head, *fragments, tail = body.split(b"\n")
    return Envelope(head + b"\n", tail), [fragment.removesuffix(b",") for fragment in fragments]


_LEVEL = 1
_GZIP = 16 + 15  # a gzip header and trailer, and the largest window: 16 + zlib.MAX_WBITS


def gzip(body: bytes | bytearray) -> bytes:
    """Return the body, compressed."""
    return _compress()(body, _LEVEL, _GZIP)


@cache
def _compress() -> Callable[[bytes | bytearray, int, int], bytes]:
    """Return isal's `compress`, which takes a fifth of the time, or zlib's where isal is not installed.

    It is imported when it is first needed, because it takes 700 KiB of memory.
    """
    try:
        with importing:
            from isal import isal_zlib  # noqa: PLC0415 - see above
    except (ImportError, OSError):  # not there, or too many open files just now
        import zlib  # noqa: PLC0415 - the HTTP exporter has imported it, so that no file need be opened

        return zlib.compress
    return isal_zlib.compress
