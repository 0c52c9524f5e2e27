"""The caches of keys and strings change no result and are small; hints hide no secret."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automagik_processors import Scrub
from automagik_processors._scrub_rules import RULES
from tests.processors.redaction.filling import filled

used = Scrub()

PIECES = (
    *("password", "token=", "api_key: abc", "--token", " -x", "- ", " ", "then:", "3%", "http://a:b@c/", "?sig=x"),
    *("<token>a</token>", "\n", "{", "}", '"', "a" * 15, "b" * 70, '{"password": "x"}', "sk-abc123def456ghi789"),
)
texts = st.text(max_size=20) | st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
events = st.dictionaries(
    texts,
    st.recursive(texts | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(texts, inner)),
)


@pytest.mark.slow
@given(events)
def test_memory_changes_nothing(event: dict[str, Any]) -> None:
    """A used scrubber gives the same result as a new one."""
    expected = Scrub()(None, "info", event)
    assert used(None, "info", event) == expected
    assert used(None, "info", event) == expected


def test_hints_hide_nothing() -> None:
    """Rules are chosen by what a text holds, and none is missed: each secret goes from any lines."""
    surroundings = (("x ", ""), ("x = 1\n", "\ny = 2"), ("{'a': 1}\n", "\n<b>"), ("пример\n", "\n例"))
    missed: list[str] = []
    for rule in RULES:
        random = Random(rule.name)
        for before, after in surroundings if "(?m)^" not in rule.pattern else surroundings[1:]:
            whole, bodies = filled(rule.example, random, with_digits=True)
            left = used(None, "info", {"x": before + whole + after})["x"]
            missed += [f"{rule.name}: {left}" for body in bodies if body in left]
    assert missed == []


def test_no_rule_is_of_hex_digits_alone() -> None:
    """Each start holds a character that no ID has, so that IDs need not be searched; own expressions still are."""
    starts = [start for rule in RULES if rule.where == "start" for start in rule.hints]
    assert [start for start in starts if not start.strip("0123456789abcdef")] == ["4b1d"]
    assert Scrub(extra_patterns=["a{16}"])(None, "info", {"x": "a" * 16}) == {"x": "[scrubbed]"}


def test_memory_is_bounded() -> None:
    """New keys, words and IDs don't fill the memory. No text is kept, and no hash of a long or secret one."""
    scrub = Scrub()
    for number in range(10_000):
        scrub(
            None, "info", {f"key {number}": f"a text {number}", "x": "a" * 100 + str(number), "y": f"token=a{number}b"}
        )
    assert 100 < len(scrub._harmless_keys) <= 5_000
    assert 100 < len(scrub._text.harmless) <= 5_000
    assert {type(kept) for kept in scrub._text.harmless} == {int}
    assert not any(hash(f"token=a{number}b") in scrub._text.harmless for number in range(10_000))
    assert not any(hash("a" * 100 + str(number)) in scrub._text.harmless for number in range(10_000))
