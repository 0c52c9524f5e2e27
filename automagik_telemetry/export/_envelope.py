"""The body of a request: a line that says who sends, one line for each event, and the closing brackets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

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
