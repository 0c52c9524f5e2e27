"""The bytes of a request: read, decompress and parse them, each step with a bound."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

import orjson

from automagik_telemetry.collector._errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEFAULT_LIMIT: Final = 16 * 1024 * 1024
"""The largest body taken, in bytes, before and after decompression."""

JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"

_GZIP_WINDOW: Final = 31
# A refused body is read on to its end, so that the sender gets to read the answer, but not for ever.
_DRAIN_FACTOR: Final = 4


def content_type(header: str | None) -> str:
    """The media type of a request, `JSON` or `PROTOBUF`; parameters such as a charset are ignored.

    Raises:
        BadRequest: 415, for any other.
    """
    media_type = (header or "").partition(";")[0].strip().lower()
    if media_type in {JSON, PROTOBUF}:
        return media_type
    was = f"is {_shown(header)}" if header else "is missing"
    raise BadRequest(415, f"Content-Type must be {JSON} or {PROTOBUF}, but {was}.")


def content_encoding(header: str | None) -> str:
    """How a body is compressed, `gzip` or `identity`.

    Raises:
        BadRequest: 415, for any other.
    """
    encoding = (header or "identity").strip().lower()
    if encoding in {"gzip", "identity"}:
        return encoding
    raise BadRequest(415, f"Content-Encoding must be gzip or identity, but is {_shown(header)}.")


async def read(chunks: AsyncIterator[bytes], limit: int) -> bytes:
    """All of a body, of which never more than `limit` bytes are kept.

    Raises:
        BadRequest: 413, when there are more.
    """
    body = bytearray()
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size <= limit:
            body += chunk
        else:
            body.clear()
        if size > limit * _DRAIN_FACTOR:
            break
    if size > limit:
        raise BadRequest(413, f"The body is larger than {limit} bytes.")
    return bytes(body)


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """The body itself; gzip is one member, and is never inflated beyond `limit` bytes.

    Raises:
        BadRequest: 400 for data that is not gzip, is cut short or goes on after its end; 413 when it is too large.
    """
    if encoding == "identity":
        return body
    inflater = zlib.decompressobj(wbits=_GZIP_WINDOW)
    try:
        plain = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise BadRequest(400, "The body is not valid gzip.") from None
    if len(plain) > limit:
        raise BadRequest(413, f"The body is larger than {limit} bytes when decompressed.")
    if not inflater.eof:
        raise BadRequest(400, "The gzip data is cut short.")
    if inflater.unused_data:
        raise BadRequest(400, "There is more data after the end of the gzip data.")
    return plain


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        BadRequest: 400, when it is not JSON, nested too deep, or not an object.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # orjson's own limit, 1,024 levels; its words for it differ between versions.
        if "depth" in error.msg.lower() or "recursion" in error.msg.lower():
            raise BadRequest(400, "The JSON is nested too deep.") from None
        raise BadRequest(400, f"The body is not valid JSON, from character {error.pos} on.") from None
    if not isinstance(parsed, dict):
        raise BadRequest(400, "The body must be a JSON object.")
    return parsed


def _shown(header: str | None) -> str:
    """A header's value, fit for a sentence."""
    return repr((header or "")[:60])
