"""The IDs of spans, and the header of a remote caller."""

from __future__ import annotations

import pytest
import structlog

from automagik_telemetry.tracing._propagation import SpanContext, traceparent

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

# From the tests and the text of https://www.w3.org/TR/trace-context/.
VALID = [
    f"00-{TRACE}-{PARENT}-01",
    f"00-{TRACE}-{PARENT}-00",
    f"00-{TRACE}-{PARENT}-ff",
    f" 00-{TRACE}-{PARENT}-01\t",
    f"cc-{TRACE}-{PARENT}-01",
    f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like",
]
INVALID = [
    "",
    "garbage",
    f"ff-{TRACE}-{PARENT}-01",
    f"00-{TRACE}-{PARENT}-01-more",
    f"00-{TRACE}-{PARENT}-01.",
    f"cc-{TRACE}-{PARENT}-01.",
    f"00-{'0' * 32}-{PARENT}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE.upper()}-{PARENT}-01",
    f"00-{TRACE[1:]}-{PARENT}-01",
    f"00-{TRACE}-{PARENT}-1",
    f"00-{TRACE}-{PARENT}",
    f"0x-{TRACE}-{PARENT}-01",
    f"00-{TRACE}-{PARENT}-01\n",
]


@pytest.mark.parametrize("value", VALID)
def test_valid_traceparent(value: str) -> None:
    """Trace and span are taken from a header of this version or a later one."""
    headers = [(b"host", b"test"), (b"traceparent", value.encode())]
    assert traceparent(headers) == (TRACE, PARENT)


@pytest.mark.parametrize("value", INVALID)
def test_invalid_traceparent(value: str) -> None:
    """An invalid header is ignored."""
    assert traceparent([(b"traceparent", value.encode())]) is None


def test_two_headers_are_none() -> None:
    """Two headers are ambiguous, so both are ignored."""
    assert traceparent([(b"traceparent", VALID[0].encode())] * 2) is None
    assert traceparent([]) is None


def test_remote_caller_is_the_parent() -> None:
    """A span in a span is its child; the remote caller is the parent of what names it."""
    with SpanContext((TRACE, PARENT)).within():
        outer = structlog.contextvars.get_contextvars()
        assert (outer["trace_id"], outer["parent_span_id"]) == (TRACE, PARENT)
        with SpanContext().within():
            inner = structlog.contextvars.get_contextvars()
            assert (inner["trace_id"], inner["parent_span_id"]) == (TRACE, outer["span_id"])
        with SpanContext(("f" * 32, "e" * 16)).within():
            served = structlog.contextvars.get_contextvars()
            assert (served["trace_id"], served["parent_span_id"]) == ("f" * 32, "e" * 16)
        assert structlog.contextvars.get_contextvars() == outer
    assert structlog.contextvars.get_contextvars() == {}


def test_ids_differ() -> None:
    """No two spans have the same id."""
    assert len({SpanContext().span_id for _ in range(1000)}) == 1000
