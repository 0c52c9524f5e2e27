"""The chain for the user's own account, as it stands in logging.yaml: secrets become a mark, content stays."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from automagik_telemetry import ConfigurationError, configure
from automagik_telemetry.logging_config import Builder, load

SHIPPED = Path(__file__).parent.parent.parent / "logging.yaml"


def sent(path: Path, **fields: Any) -> dict[str, Any]:
    """Return the span that the file's chain makes of an event, its attributes as a dict."""
    formatter = Builder(load(path)).handler("langwatch").formatter
    assert formatter is not None
    record = logging.makeLogRecord({"msg": "llm.call", "levelno": logging.INFO, **fields})
    span: dict[str, Any] = json.loads(formatter.format(record))
    span["attributes"] = {each["key"]: each["value"] for each in span["attributes"]}
    return span


def test_secrets_become_a_mark() -> None:
    """What the shipped file sends holds the content, and no password, key or token."""
    headers = {"Authorization": "Bearer abc", "Accept": "text/html"}
    span = sent(SHIPPED, input="my api_key=abc123 is old", headers=headers, total_tokens=5)
    assert span["name"] == "llm.call"
    assert span["attributes"]["input"] == {"stringValue": "my api_key=[scrubbed] is old"}
    assert span["attributes"]["total_tokens"] == {"intValue": "5"}
    assert "text/html" in str(span)
    assert "abc" not in str(span)


def test_lists_are_extended_in_the_file(tmp_path: Path) -> None:
    """A user's own names and expressions stand in the file."""
    path = tmp_path / "mine.yaml"
    text = SHIPPED.read_text(encoding="utf-8").replace("extra_keys: []", "extra_keys: [badge number]")
    path.write_text(text.replace("extra_patterns: []", r"extra_patterns: ['EMP-\d+']"), encoding="utf-8")
    span = sent(path, badgeNumber="17", input="EMP-42 asks", password="x")  # noqa: S106 - it is planted
    assert span["attributes"]["badgeNumber"] == span["attributes"]["password"] == {"stringValue": "[scrubbed]"}
    assert span["attributes"]["input"] == {"stringValue": "[scrubbed] asks"}


def test_processor_can_be_removed_in_the_file(tmp_path: Path) -> None:
    """Without the processor in the file, all leaves as it is: the account is the user's own."""
    path = tmp_path / "mine.yaml"
    lines = SHIPPED.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "Scrub" not in line and "extra_" not in line), encoding="utf-8")
    assert sent(path, password="x")["attributes"]["password"] == {"stringValue": "x"}  # noqa: S106 - it is planted


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("extra_patterns: []", "extra_patterns: ['(']", ["extra_patterns", "'('", "no regular expression"]),
        ("extra_keys: []", "extra_keys: [5]", ["extra_keys", "5"]),
        ("extra_keys: []", "extra_kys: []", ["extra_kys"]),
    ],
)
def test_mistake_is_one_clear_error(tmp_path: Path, old: str, new: str, expected: list[str]) -> None:
    """A bad entry is one error with its place and value."""
    path = tmp_path / "mine.yaml"
    path.write_text(SHIPPED.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        configure(path)
    for part in ["formatters.langwatch.processors[1]", *expected]:
        assert part in str(caught.value)
