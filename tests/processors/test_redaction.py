"""Recall in three sets of made-up secrets, and precision in code, prose and IDs."""

from __future__ import annotations

import re
import sysconfig
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from automagik_processors import Scrub
from automagik_processors._scrub_rules import RULES
from tests.processors.redaction import innocent, names, places, shapes
from tests.processors.redaction.filling import filled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

scrub = Scrub()


def scrubbed(value: Any) -> Any:
    """Return what becomes of a field's value."""
    return scrub(None, "info", {"event": "e", "x": value})["x"]


def left_of(bodies: Iterable[str], value: Any) -> list[str]:
    """Return the random parts that stand in what is left of a value."""
    left = str(scrubbed(value))
    return [body for body in bodies if body in left]


def recall(templates: Iterable[tuple[str, Callable[[str], Any]]], seed: int) -> tuple[float, list[str]]:
    """Return the share of secrets, each with its place, of which no random part stays; and the others' templates."""
    random = Random(seed)
    missed: list[str] = []
    count = 0
    for template, place in templates:
        secret, bodies = filled(template, random)
        count += 1
        if left_of(bodies, place(secret)):
            missed.append(template)
    return 1 - len(missed) / count, missed


def _in_sentences(templates: Iterable[str]) -> list[tuple[str, Callable[[str], Any]]]:
    return [(template, sentence.format) for template in templates for sentence in shapes.SENTENCES]


@pytest.mark.fault(102)
def test_recall_of_vendors_keys_in_a_sentence() -> None:
    """Nine of ten keys are found by their shape, of issuers with a rule and of others."""
    ruled = [rule.example for rule in RULES if rule.where in ("start", "word")]
    found, missed = recall(_in_sentences(ruled), 1)
    assert found > 0.97, missed
    found, missed = recall(_in_sentences(shape for shape in shapes.CHECK.values() if shape not in shapes.UNTOLD), 2)
    assert found > 0.9, missed


@pytest.mark.fault(102)
@pytest.mark.parametrize(
    "templates", [places.BUILD, places.CHECK, places.LATER, places.ATTACK], ids=["build", "check", "later", "attack"]
)
def test_recall_in_places(templates: tuple[str, ...]) -> None:
    """Nine of ten passwords are found in the places in which they stand."""
    in_places = [
        (secret, place.format)
        for place in templates
        for secret in places.SECRETS
        if not ("://" in place and "#" in secret)  # it ends a URL
    ]
    found, missed = recall(in_places, 3)
    assert found > 0.94, missed


@pytest.mark.fault(102)
@pytest.mark.parametrize("keys", [names.BUILD, names.CHECK], ids=["build", "check"])
def test_recall_of_keys_of_dicts(keys: tuple[str, ...]) -> None:
    """Nine of ten values under the names of secrets are found, in many spellings and languages."""
    secrets = ("<A16>", "<A32>", "<B43>", "<H40>", "<A7>!<A6>#<A3>", "tiger<D4>", "<L20>")
    in_dicts = [(secret, lambda value, key=key: {"id": 1, key: value}) for key in keys for secret in secrets]
    found, missed = recall(in_dicts, 4)
    assert found > 0.97, missed


def test_keys_of_other_things_are_left() -> None:
    """Under other names ordinary values stay."""
    values = ("an ordinary value", "gpt-4o", 5, 0.5, "2024-05-01", "b3f1c1de-6a7c-4b43-9b0f-8f1a2b3c4d5e")
    assert [key for key in names.INNOCENT for value in values if scrubbed({key: value}) != {key: value}] == []


@pytest.mark.slow
def test_few_pieces_of_code_are_marked() -> None:
    """At most 2 of 100 pieces of 60 lines of the standard library and of installed packages are marked."""
    for root in (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")):
        for suffix in (".py", ".js") if root.endswith("-packages") else (".py",):
            pieces = innocent.pieces(Path(root), suffix, Random(5), 200)
            marked = [piece for piece in pieces if scrubbed(piece) != piece]
            assert len(marked) <= len(pieces) * 0.02, marked


def test_prose_and_code_about_secrets_is_left() -> None:
    """Sentences in fifteen languages, and lines of code, that speak of passwords and hold none."""
    assert [text for text in (*innocent.PROSE, *innocent.SNIPPETS) if scrubbed(text) != text] == []


def test_few_paragraphs_are_marked() -> None:
    """At most 1 of 100 paragraphs of the texts that installed packages bring is marked."""
    files = sorted(Path(sysconfig.get_path("purelib")).rglob("*.dist-info/METADATA"))
    paragraphs = [
        paragraph
        for path in files
        for paragraph in re.split(r"\n\s*\n", path.read_text(encoding="utf-8", errors="replace"))[1:]
        if len(paragraph) > 80
    ]
    assert len(paragraphs) > 500
    marked = [paragraph for paragraph in paragraphs if scrubbed(paragraph) != paragraph]
    assert len(marked) <= len(paragraphs) * 0.01, marked


@pytest.mark.parametrize("place", ["{}", "the value {} is here", "id={}", '"id": "{}",', "commit {} fixed it"])
def test_ids_hashes_and_images_are_left(place: str) -> None:
    """IDs, hashes, numbers and images stay, alone and in a text."""
    random = Random(place)
    texts = [place.format(value) for _ in range(20) for value in innocent.values(random)]
    assert [text for text in texts if scrubbed(text) != text] == []
