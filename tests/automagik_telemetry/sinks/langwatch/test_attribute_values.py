"""Attributes of a span arrive by their type: lists as arrays, dicts as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.automagik_telemetry.sinks.langwatch.test_trace import AGENT, read, trace

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["read"]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (["a", "b"], ["a", "b"]),
        (("a", 1, 2.5, True), ["a", 1, 2.5, True]),
        ([], []),
        ({"key": ["a", {"b": None}]}, '{"key":["a",{"b":null}]}'),
        ({}, "{}"),
        (["x" * 40_000], ["x" * 32_768 + "[cut: 7,232 more characters]"]),
        ("plain", "plain"),
    ],
)
def test_value_of_an_attribute(read: Callable[..., Any], value: object, sent: object) -> None:
    """A list is an OTLP array, and a dict JSON, never the text of Python."""
    ((_, attributes),) = read(trace({**AGENT, "attributes": {"labels": value}}))
    assert attributes["labels"] == sent


def test_list_of_dicts(read: Callable[..., Any]) -> None:
    """Dicts in a list are maps, such as the contexts of a retrieval."""
    contexts = [{"document_id": "d", "chunk_id": 1, "content": "text"}]
    ((_, attributes),) = read(trace({**AGENT, "attributes": {"langwatch.rag.contexts": contexts}}))
    assert attributes["langwatch.rag.contexts"] == contexts
    assert json.dumps(attributes["langwatch.rag.contexts"])
