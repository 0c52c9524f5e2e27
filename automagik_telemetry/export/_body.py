"""The body of a request: its envelope, one line for each event, and compression."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from automagik_telemetry._fork_lock import importing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SEPARATOR = b",\n"
"""The end of the line of an encoded event, its fragment, which separates it from the next."""


class Envelope(NamedTuple):
    """The parts of a request around its fragments: a line with resource and scope, and the closing brackets."""

    head: bytes
    tail: bytes

    @property
    def closing(self) -> bytes:
        """The closing brackets, which replace the last separator."""
        return b"\n" + self.tail

    @property
    def prefix(self) -> bytes:
        """The part of the head that stands once in a request, however many resources it carries."""
        return self.head[: self.head.find(b"[") + 1]


def join(envelope: Envelope, fragments: Sequence[bytes]) -> bytes:
    """Return the request body that carries `fragments`, as a sealed segment's file holds it."""
    return envelope.head + SEPARATOR.join(fragments) + envelope.closing


RESOURCES_END = b"]}"
"""The end of the list of resources, and of the request."""


def split(body: bytes) -> tuple[Envelope, list[bytes]]:
    """Return the envelope and the fragments of a request body: the inverse of `join`."""
    head, *fragments, tail = body.split(b"\n")
    return Envelope(head + b"\n", tail), [fragment.removesuffix(b",") for fragment in fragments]


_LEVEL = 1
_GZIP = 16 + 15  # a gzip header and trailer, and the largest window: 16 + zlib.MAX_WBITS


def gzip(body: bytes | bytearray) -> bytes:
    """Return the compressed body."""
    return _compress()(body, _LEVEL, _GZIP)


@cache
def _compress() -> Callable[[bytes | bytearray, int, int], bytes]:
    """Return isal's `compress`, which takes a fifth of zlib's time, or zlib's if isal is not installed.

    It is imported at the first use, because it takes 700 KiB of memory.
    """
    try:
        with importing:
            from isal import isal_zlib
    except (ImportError, OSError):  # not installed, or too many open files
        import zlib

        return zlib.compress
    return isal_zlib.compress
