"""The caches of keys and strings change no result and are small; hints hide no secret."""

from __future__ import annotations

import gc
import string
import sys
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automagik_processors import Scrub
from automagik_processors._scrub_rules import RULES
from tests.processors.redaction.filling import filled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
    """New keys, words and IDs don't fill the memory, and no hash of a long or secret text is kept."""
    scrub = Scrub()
    for number in range(10_000):
        scrub(
            None,
            "info",
            {f"field {number}": f"a text {number}", "x": "a" * 100 + str(number), "y": f"token=a{number}b"},
        )
    assert 100 < len(scrub._known_keys.harmless) <= 5_000
    assert len(scrub._keys._known) <= 5_000
    assert 100 < len(scrub._text.harmless) <= 5_000
    assert not any(hash(f"token=a{number}b") in scrub._text.harmless for number in range(10_000))
    assert not any(hash("a" * 100 + str(number)) in scrub._text.harmless for number in range(10_000))


def reachable(start: Iterable[Any]) -> Iterator[Any]:
    """Yield each object that containers, caches and objects of this package hold, those of other modules aside."""
    seen: set[int] = set()
    left = list(start)
    while left:
        held = left.pop()
        if id(held) in seen:
            continue
        seen.add(id(held))
        yield held
        own = type(held).__module__.startswith("automagik_processors")
        if own or isinstance(held, (dict, list, tuple, set, frozenset, type(cache(len)))):
            left += gc.get_referents(held)


def test_no_content_is_kept() -> None:
    """After scrubbing, no cache of an instance or a module holds a word of the content, in whatever place that was."""
    random = Random(1)
    made = ["".join(random.choices(string.ascii_lowercase, k=12)) for _ in range(30)]
    word = iter(made).__next__
    event: dict[str, Any] = {
        "prose": f"{word()} wrote {word()} to {word()}, the {word()} {word()} key: 5 and my {word()} token is {word()}",
        "names": f"{word()}_password=x, {word()}Token: y, http://h/?{word()}_key=z",
        "json": '{"' + word() + '": {"name": "' + word() + '", "value": 1}}',
        word(): [(word(), 1), [word(), 2], {word(): 3}, b"x"],
        "arguments": ["run", f"--{word()}", word(), f"--{word()}-token", word()],
        f"{word()} password": {word(): word()},
    }
    modules = [module for name, module in sys.modules.items() if name.startswith("automagik_processors")]
    scrub = Scrub()
    scrub(None, "info", event)
    assert scrub._text._words._others
    kept = [held for held in reachable([scrub, *map(vars, modules)]) if isinstance(held, (str, bytes))]
    assert len(kept) > 1_000
    assert [text for text in map(str, kept) if any(part in text.lower() for part in made)] == []
