"""The compression of request bodies."""

from __future__ import annotations

import gzip as standard
import platform
import sys
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automagik_telemetry.export import _body as compression
from automagik_telemetry.export._body import gzip

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["isal", "zlib"], scope="module")
def _by(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compress with this module."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "zlib":
            patch.setitem(sys.modules, "isal", None)
        compression._compress.cache_clear()
        is_required = platform.machine() == "x86_64" and sys.version_info < (
            3,
            15,
        )  # where it has a wheel
        if request.param == "zlib" or is_required:
            assert (compression._compress() is zlib.compress) == (request.param == "zlib")
        yield
    compression._compress.cache_clear()


@pytest.mark.usefixtures("_by")
@given(st.binary(max_size=5_000))
def test_it_is_one_member(body: bytes) -> None:
    """Any body of any type decompresses to itself."""
    assert standard.decompress(gzip(body)) == body
    assert gzip(bytearray(body)) == gzip(body)


@pytest.mark.usefixtures("_by")
def test_events_become_small() -> None:
    """A body of events is much alike."""
    line = b'{"traceId":"%032x","spanId":"%016x","name":"agent.run","kind":1,"attributes":[]},\n'
    body = b"".join(line % (number * 2**90, number * 2**30) for number in range(1_000))
    assert len(gzip(body)) < len(body) / 4
