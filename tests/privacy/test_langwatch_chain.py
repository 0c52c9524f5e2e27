"""The default chain of full traces: secrets become a mark, content stays."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from automagik_telemetry import ConfigurationError, configure
from automagik_telemetry.handlers._dictconfig import Builder, load

DEFAULT_CONFIG = Path(__file__).parent.parent.parent / "logging.yaml"


def sent(path: Path, **fields: Any) -> dict[str, Any]:
    """Return the attributes of the span that the file's chain makes of a trace, with strings parsed."""
    formatter = Builder(load(path)).handler("langwatch").formatter
    assert formatter is not None
    span = {"span_id": "a" * 16, "name": "llm.call", "type": "llm", "start": 1.0, "end": 2.0, **fields}
    record = logging.makeLogRecord({"msg": "trace", "levelno": logging.INFO, "trace_id": "b" * 32, "spans": [span]})
    encoded = json.loads(formatter.format(record))
    assert encoded["name"] == "llm.call"
    return {each["key"]: next(iter(each["value"].values())) for each in encoded["attributes"]}


def test_secrets_become_a_mark() -> None:
    """The default file sends the content, without passwords, keys and tokens."""
    headers = {"Authorization": "Bearer abc", "Accept": "text/html"}
    span = sent(DEFAULT_CONFIG, input="my api_key=abc123 is old", output={"headers": headers}, model="m")
    assert json.loads(span["langwatch.input"])["value"] == "my api_key=[scrubbed] is old"
    assert span["gen_ai.request.model"] == "m"
    assert "text/html" in span["langwatch.output"]
    assert "abc" not in str(span)


def test_lists_are_extended_in_the_file(tmp_path: Path) -> None:
    """A user's own names and expressions are set in the file."""
    path = tmp_path / "mine.yaml"
    text = DEFAULT_CONFIG.read_text(encoding="utf-8").replace("extra_keys: []", "extra_keys: [badge number]")
    path.write_text(text.replace("extra_patterns: []", r"extra_patterns: ['EMP-\d+']"), encoding="utf-8")
    span = sent(path, input="EMP-42 asks", output={"badgeNumber": "17", "password": "x"})
    assert json.loads(span["langwatch.output"])["value"] == {"badgeNumber": "[scrubbed]", "password": "[scrubbed]"}
    assert json.loads(span["langwatch.input"])["value"] == "[scrubbed] asks"


def test_processor_can_be_removed_in_the_file(tmp_path: Path) -> None:
    """Without the processor in the file, all content is sent verbatim."""
    path = tmp_path / "mine.yaml"
    lines = DEFAULT_CONFIG.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "Scrub" not in line and "extra_" not in line), encoding="utf-8")
    assert json.loads(sent(path, output={"password": "x"})["langwatch.output"])["value"] == {"password": "x"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("extra_patterns: []", "extra_patterns: ['(']", ["extra_patterns", "'('", "must be a regular expression"]),
        ("extra_keys: []", "extra_keys: [5]", ["extra_keys", "5"]),
        ("extra_keys: []", "extra_kys: []", ["extra_kys"]),
    ],
)
def test_mistake_is_one_clear_error(tmp_path: Path, old: str, new: str, expected: list[str]) -> None:
    """A bad entry is one error with its place and value."""
    path = tmp_path / "mine.yaml"
    path.write_text(DEFAULT_CONFIG.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        configure(path)
    for part in ["formatters.langwatch.processors[0]", *expected]:
        assert part in str(caught.value)
