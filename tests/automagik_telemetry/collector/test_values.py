"""The conversion of values to plain strings."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automagik_telemetry.collector._errors import BadRequest
from automagik_telemetry.collector._rows import log_rows, trace_rows
from automagik_telemetry.collector._values import any_text

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (12.5, "12.5"),
        (-0.1, "-0.1"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.5e-10, "1.5e-10"),
        (1e16, "10000000000000000"),
        (1.2345678901234567e20, "123456789012345670000"),
        (1e21, "1e+21"),
        (1e300, "1e+300"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
        ("2.50", "2.5"),
        (3, "3"),
    ],
)
def test_doubles_are_formatted_as_in_go(number: object, expected: str) -> None:
    """The shortest digits that read back the same, with an exponent only for the very small and very large."""
    assert any_text({"value": {"doubleValue": number}}, "value") == expected


@pytest.mark.slow
@given(st.floats(allow_nan=False))
def test_a_double_reads_back_the_same(number: float) -> None:
    """No double loses anything by being written as a string."""
    written = any_text({"value": {"doubleValue": number if math.isfinite(number) else str(number)}}, "value")
    assert float(written) == number


REQUEST: dict[str, Any] = {
    "resourceSpans": [
        {
            "resource": {
                "attributes": [{"key": "k", "value": {"kvlistValue": {"values": [{"key": "k", "value": {}}]}}}]
            },
            "scopeSpans": [
                {
                    "scope": {"name": "n", "attributes": []},
                    "spans": [
                        {
                            "traceId": "1" * 32,
                            "spanId": "1" * 16,
                            "kind": 1,
                            "startTimeUnixNano": "1",
                            "status": {"code": 1},
                            "attributes": [{"key": "k", "value": {"arrayValue": {"values": [{"intValue": "1"}]}}}],
                            "events": [{"timeUnixNano": "1", "name": "n", "attributes": []}],
                            "links": [{"traceId": "1" * 32, "spanId": "1" * 16}],
                        }
                    ],
                }
            ],
        }
    ],
    "resourceLogs": [
        {
            "scopeLogs": [
                {"schemaUrl": "", "logRecords": [{"body": {"doubleValue": 1.5}, "severityNumber": 9, "flags": 1}]}
            ]
        }
    ],
}


def _places(node: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path to every value in a JSON document but the document itself."""
    if path:
        yield path
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _places(value, (*path, key))


any_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(_places(REQUEST), key=str)), any_json)
def test_any_json_anywhere_is_read_or_refused(place: tuple[str | int, ...], content: object) -> None:
    """Any JSON anywhere in a request gives rows or one sentence, never another error."""
    request: Any = copy.deepcopy(REQUEST)
    parent: Any = request
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = content
    for read in (trace_rows, log_rows):
        try:
            rows = list(read(request))
        except BadRequest as refused:
            sentence = (refused.status, str(refused)[-1])
        else:
            assert all(isinstance(row, dict) for row in rows)
            continue
        assert sentence == (400, ".")
