"""What is remembered of keys and texts changes no verdict, and takes little room; hints hide no secret."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automagik_processors import Scrub
from automagik_processors._scrub_shapes import _SHAPES, DEFAULT_PATTERNS, Shapes
from tests.privacy.shapes import TEMPLATES, parts

used = Scrub()
shapes = Shapes(DEFAULT_PATTERNS, "[scrubbed]")

PIECES = (
    *("password", "token=", "api_key: abc", "--token", " -x", "- ", " ", "then:", "3%", "http://a:b@c/", "?sig=x"),
    *("<token>a</token>", "\n", "{", "}", '"', "a" * 15, "b" * 70, '{"password": "x"}', "sk-abc123def456ghi789"),
)
texts = st.text(max_size=20) | st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
events = st.dictionaries(
    texts,
    st.recursive(texts | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(texts, inner)),
)


@given(events)
def test_memory_changes_nothing(event: dict[str, Any]) -> None:
    """What has scrubbed many events scrubs the next as what is new, and the same event again the same."""
    expected = Scrub()(None, "info", event)
    assert used(None, "info", event) == expected
    assert used(None, "info", event) == expected


@given(st.lists(st.sampled_from(sorted(hint for hints in _SHAPES.values() for hint in hints)) | texts).map("".join))
def test_hints_hide_nothing(text: str) -> None:
    """Only those expressions are tried of which a literal stands in the text, and nothing is missed by it."""
    assert shapes.scrub(text) == slowly(text)


@pytest.mark.parametrize("template", TEMPLATES)
def test_hints_hide_no_known_shape(template: str) -> None:
    """The same for secrets as they are, alone and among words."""
    generator = random.Random(template)
    for _ in range(20):
        secret, _ = parts(template, generator)
        for text in (secret, f"so it is {secret} then", f"x={secret};", f"({secret})"):
            assert shapes.scrub(text) == slowly(text)


def test_no_shape_is_of_hex_digits_alone() -> None:
    """Each literal holds a character that no id has, so that ids need not be searched; own expressions still are."""
    assert [hint for hints in _SHAPES.values() for hint in hints if not hint.strip("0123456789abcdef")] == []
    assert Scrub(extra_patterns=["a{16}"])(None, "info", {"x": "a" * 16}) == {"x": "[scrubbed]"}


def slowly(text: str) -> str:
    """Try all expressions, one after the other."""

    def marked(found: re.Match[str]) -> str:
        if "secret" not in found.re.groupindex:
            return "[scrubbed]"
        start, end = (place - found.start() for place in found.span("secret"))
        return f"{found[0][:start]}[scrubbed]{found[0][end:]}"

    for pattern in DEFAULT_PATTERNS:
        text = re.sub(pattern, marked, text)
    return text


def test_memory_is_bounded() -> None:
    """Ever new keys, words and ids don't fill the memory; no text is kept, and of what is long or secret no hash."""
    scrub = Scrub()
    for number in range(10_000):
        scrub(None, "info", {f"key {number}": f"a text {number}", "x": "a" * 100 + str(number), "y": f"token={number}"})
    assert 100 < len(scrub._harmless_keys) <= 5_000
    assert 100 < len(scrub._text.harmless) <= 5_000
    assert {type(kept) for kept in scrub._text.harmless} == {int}
    assert not any(hash(f"token={number}") in scrub._text.harmless for number in range(10_000))
    assert not any(hash("a" * 100 + str(number)) in scrub._text.harmless for number in range(10_000))
