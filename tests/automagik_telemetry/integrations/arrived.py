"""The spans and fields that arrived at the receiver, after a flush."""

from __future__ import annotations

from typing import Any

from automagik_telemetry import get_tracing_manager


def sent(receiver: Any) -> list[dict[str, Any]]:
    """Flush, and return every span that arrived."""
    assert get_tracing_manager().flush(10)
    spans: list[dict[str, Any]] = receiver.spans()
    return spans


def named(receiver: Any, fields: Any, name: str) -> list[dict[str, Any]]:
    """Return the fields of every event of that name that arrived."""
    return [fields(span) for span in sent(receiver) if span["name"] == name]
