"""Each rule finds its own example and, of the examples of the others, nothing but the secret."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

from automagik_processors._scrub_rules import RULES, Rule
from automagik_processors._scrub_shapes import _DELIMITER, DEFAULT_PATTERNS, Shapes
from tests.privacy.oracle import found_in
from tests.processors.redaction.filling import filled

MARK = "[scrubbed]"


def alone(rule: Rule, text: str) -> str:
    """Return what one rule makes of a text."""
    shapes = Shapes([rule.pattern], MARK)
    if rule.where == "after":
        for found in re.finditer(rule.pattern, text):
            span = shapes.after_word([rule], text, found.start())
            if span:
                return text[: span[0]] + MARK + text[span[1] :]
    return shapes.scrub(text, [rule])


def test_each_rule_finds_its_example() -> None:
    """A rule replaces each random part of its example, in ten versions of it."""
    missed: list[str] = []
    for rule in RULES:
        random = Random(rule.name)
        for _ in range(10):
            whole, bodies = filled(rule.example, random, with_digits=True)
            left = alone(rule, whole)
            if not bodies or MARK not in left or any(body in left for body in bodies):
                missed.append(f"{rule.name}: {left}")
    assert missed == []


def test_rules_leave_what_surrounds_other_examples() -> None:
    """A match in the example of another rule is within that, and never in the text around it."""
    examples = [filled(other.example, Random(other.name))[0] for other in RULES]
    for rule in RULES:
        for whole in examples:
            left = alone(rule, f"The beginning, then\n{whole}\nand the end.")
            assert left.startswith("The beginning, then\n")
            assert left.endswith("\nand the end.") or (MARK in left and rule.name in OPEN_ENDED)


OPEN_ENDED = ("PEM", "SSH2", "PuTTY")
"""Private keys that may be cut off, and then reach to the end of a text."""


def test_rules_are_distinct() -> None:
    """No two rules have the same name or expression, and each has an example, a source and something to be found by."""
    assert len({rule.name for rule in RULES}) == len(RULES) == len(DEFAULT_PATTERNS)
    assert [rule.name for rule in RULES if not rule.example or ":" not in rule.source] == []
    assert [rule.name for rule in RULES[:-1] if not rule.hints] == []


def test_examples_are_no_secrets() -> None:
    """A scanner of repositories finds none in the rules, but for words that begin a private key."""
    from automagik_processors import _scrub_rules

    found = found_in(Path(_scrub_rules.__file__).read_text(encoding="utf-8"))
    assert {plugin for plugin, _ in found} <= {"PrivateKeyDetector"}


def test_no_key_reaches_beyond_a_delimiter() -> None:
    """A match of a rule with starts ends a few characters behind a delimiter at most, which keeps time linear."""
    delimiters = [chr(code) for code in range(128) if _DELIMITER.match(chr(code))]
    assert set("\"'`,;|&<>(){}[]: \n") <= set(delimiters)
    for rule in RULES:
        if rule.where == "start":
            whole, _ = filled(rule.example, Random(rule.name), with_digits=True)
            for delimiter in delimiters:
                text = f"{whole}{delimiter}{whole[-20:] * 10}"
                found = re.match(rule.pattern, text)
                assert found is not None
                assert found.end() <= len(whole) + 20, (rule.name, delimiter)
