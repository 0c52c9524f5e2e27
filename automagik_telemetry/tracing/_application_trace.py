"""The trace that the host's own OpenTelemetry has open, if any, so that a run can join it."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Return a block in which what begins is part of the trace that the host has open.

    A trace that is bound already counts before it, for that one's spans are ours. Nothing is imported: a host that has
    not imported OpenTelemetry has no span.
    """
    ids = {} if "trace_id" in structlog.contextvars.get_contextvars() else current()
    with structlog.contextvars.bound_contextvars(**ids):
        yield


def current() -> dict[str, str]:
    """Return the `trace_id` and `span_id` of the host's current span; nothing without a valid one."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return {}
    try:
        span = api.get_current_span().get_span_context()
        valid = span.is_valid
    except Exception:  # noqa: BLE001 - the host's own tracing may be anything, and is no reason to fail
        return {}
    return {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"} if valid else {}
