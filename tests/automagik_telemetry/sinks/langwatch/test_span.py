"""The fast encoder of attributes has the same output as the general one."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from automagik_processors._bounded_json import MAX_TEXT
from automagik_processors._otlp_attributes import key_values
from automagik_processors._otlp_values import quote
from automagik_telemetry.sinks.langwatch import _keys as keys
from automagik_telemetry.sinks.langwatch._span import MAX_SHORT, encode_span
from automagik_telemetry.tracing.context import SPAN_TYPES

IDS = ("1" * 32, "2" * 16, None)

values = (
    st.booleans() | st.integers() | st.floats() | st.text() | st.text(min_size=300) | st.sampled_from(["\ud800" * 300])
)


@given(st.dictionaries(st.text(), values, max_size=5))
@example({keys.SPAN_TYPE: "the application's", "other": 1})
@example({keys.TIMESTAMPS: "the application's", "other": 1})
def test_attributes(given: dict[str, Any]) -> None:
    """An attribute of any type has the text of `key_values`, also from the cache.

    Keys are unique: a value of the application replaces the type, and the measured times replace its value.
    """
    times = {keys.TIMESTAMPS: '{"started_at":0,"finished_at":0}'}
    expected = f'"attributes":[{",".join(key_values({keys.SPAN_TYPE: "span"} | given | times).values())}]'
    for _ in range(2):
        assert expected in encode_span(IDS, {"attributes": given})


@given(st.text(st.characters(), min_size=190, max_size=210))
def test_long_texts(text: str) -> None:
    """A long text is quoted as a short one is."""
    assert f'"name":{quote(text)},' in encode_span(IDS, {"name": text})
    assert f'{{"stringValue":{quote(text)}}}' in encode_span(IDS, {"model": text})


def test_what_is_too_long() -> None:
    """Names and texts of attributes are cut, with a mark."""
    text = encode_span(IDS, {"attributes": {"k" * (MAX_SHORT + 1): "v" * (MAX_TEXT + 1)}})
    assert f'"{"k" * MAX_SHORT}[cut: 1 more characters]"' in text
    assert f'"{"v" * MAX_TEXT}[cut: 1 more characters]"' in text


def test_every_recorded_type_is_known() -> None:
    """LangWatch defines every type of span that the recorder uses."""
    assert keys.SPAN_TYPES >= SPAN_TYPES
