"""Reads, decompresses and parses the body of a request, each step within a limit."""

from __future__ import annotations

import sys
import zlib
from typing import TYPE_CHECKING, Any, Final

import orjson

from automagik_telemetry.collector._errors import BadRequest

if sys.version_info >= (3, 14):
    from compression import zstd as zstd  # noqa: PLC0414 - tests import it from here
else:
    from backports import zstd as zstd  # noqa: PLC0414 - as above

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

DEFAULT_LIMIT: Final = 16 * 1024 * 1024
"""Maximum size of a body in bytes, before and after decompression."""

MAX_OBJECTS: Final = 500_000
"""Maximum number of objects and arrays in a body, each of which takes far more memory and time than its two bytes."""

MAX_PROTOBUF: Final = 8 * 1024 * 1024
"""Maximum size of a decompressed protobuf body, in which an object can have two bytes."""

_SMALL: Final = 32 * 1024
"""Maximum size of a body that is parsed on the event loop: shorter than the way to a thread and back."""

JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"
ENCODINGS: Final = ("gzip", "zstd", "identity")

_GZIP_WINDOW: Final = 31
_TOO_LARGE: Final = 413
# A rejected body is read to its end within this factor of the limit, so that the sender receives the response.
_DRAIN_FACTOR: Final = 4


def content_type(header: str | None) -> str:
    """Return the media type of a request, `JSON` or `PROTOBUF`. Parameters such as a charset are ignored.

    Raises:
        BadRequest: 415, if the type is not supported.
    """
    media_type = (header or "").partition(";")[0].strip().lower()
    if media_type in {JSON, PROTOBUF}:
        return media_type
    was = f"got {_shown(header)}" if header else "but is missing"
    raise BadRequest(415, f"Content-Type must be {JSON} or {PROTOBUF}, {was}.")


def content_encoding(header: str | None) -> str:
    """Return the compression of a body, one of `ENCODINGS`.

    Raises:
        BadRequest: 415, if the encoding is not supported.
    """
    encoding = (header or "identity").strip().lower()
    if encoding in ENCODINGS:
        return encoding
    raise BadRequest(415, f"Content-Encoding must be gzip, zstd or identity, got {_shown(header)}.")


async def read(chunks: AsyncIterator[bytes], limit: int, received: Callable[[int], None]) -> bytes:
    """Return a body. Never more than `limit` bytes are kept in memory.

    Args:
        chunks: The parts of the body.
        limit: Maximum number of bytes.
        received: Called with the number of bytes kept so far. It raises if they are too many.

    Raises:
        BadRequest: 413, if the body is larger.
    """
    body = bytearray()
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size <= limit:
            body += chunk
        else:
            body.clear()
        received(len(body))
        if size > limit * _DRAIN_FACTOR:
            break
    if size > limit:
        raise BadRequest(413, f"The body must have at most {limit:,} bytes. Send smaller batches.")
    return bytes(body)


def is_small(body: bytes, encoding: str) -> bool:
    """Return whether a body is parsed in less than a millisecond. The size that gzip claims to have is not trusted."""
    if len(body) > _SMALL or encoding == "zstd":
        return False
    try:
        decompress(body, encoding, _SMALL)
    except BadRequest as error:
        return error.status != _TOO_LARGE
    return True


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Return the decompressed body, which must be one gzip member or zstd frame, never inflated beyond `limit` bytes.

    Raises:
        BadRequest: 400, if the data is not valid, truncated, or followed by more; 413, if it is too large.
    """
    if encoding == "identity":
        return body
    inflater: Any = zlib.decompressobj(wbits=_GZIP_WINDOW) if encoding == "gzip" else zstd.ZstdDecompressor()
    try:
        plain: bytes = inflater.decompress(body, limit + 1)
    except (zlib.error, zstd.ZstdError):
        raise BadRequest(400, f"The body is not valid {encoding}.") from None
    if len(plain) > limit:
        raise BadRequest(413, f"The decompressed body must have at most {limit:,} bytes. Send smaller batches.")
    if not inflater.eof:
        raise BadRequest(400, f"The {encoding} data is truncated.")
    if inflater.unused_data:
        part = "member" if encoding == "gzip" else "frame"
        raise BadRequest(400, f"The {encoding} data must be one {part}, but more data follows.")
    return plain


def parse_json(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body.

    Raises:
        BadRequest: 400, if the body is not valid JSON, nested too deep, or not an object; 413, if it has too many.
    """
    # In texts they count as well, which only bounds those more.
    if body.count(b"{") + body.count(b"[") > MAX_OBJECTS:
        raise too_many_objects()
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # orjson's own limit is 1,024 levels. Its message differs between versions.
        if "depth" in error.msg.lower() or "recursion" in error.msg.lower():
            raise BadRequest(400, "The JSON is nested too deep: at most 1,024 levels are allowed.") from None
        raise BadRequest(400, f"The body is not valid JSON: error at character {error.pos}.") from None
    if not isinstance(parsed, dict):
        raise BadRequest(400, "The body must be a JSON object.")
    return parsed


def too_many_objects() -> BadRequest:
    """Return the error of a body with too many objects."""
    return BadRequest(413, f"A body must have at most {MAX_OBJECTS:,} objects and arrays. Send smaller batches.")


def _shown(header: str | None) -> str:
    """Return a header's value, quoted and shortened for a message."""
    return repr((header or "")[:60])
