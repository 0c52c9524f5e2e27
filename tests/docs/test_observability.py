"""docs/observability.md is true: its examples arrive in LangWatch, and its provider is found and gets traces."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from automagik_telemetry.tracing import _recorder as recorder
from automagik_telemetry.tracing._recorder import TraceLimits
from tests.faults.server import Endpoint

PAGE = (Path(__file__).parent.parent.parent / "docs" / "observability.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ENTRY_POINT = re.findall(r"```toml\n\[project\.entry-points\.\"(.*?)\"\]\n(.*?)```", PAGE, re.DOTALL)


def run(folder: Path, code: str, **variables: str) -> str:
    """Run a program in a process with `folder` on its path, and return its output."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
        "AUTOMAGIK_ENABLE_TRACING_IN_CI": "true",
        "AUTOMAGIK_SAMPLING_RATE": "1",
        **variables,
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def provider(tmp_path: Path) -> Path:
    """The page's provider, installed in a folder as a distribution is."""
    (code,) = [example for example in EXAMPLES if "def provider()" in example]
    ((group, entry),) = ENTRY_POINT
    module = entry.partition('"')[2].partition(":")[0]
    (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
    installed = tmp_path / f"{module}-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", encoding="utf-8")
    (installed / "entry_points.txt").write_text(f"[{group}]\n{entry.replace(chr(34), '')}", encoding="utf-8")
    return tmp_path


def test_every_example_arrives(tmp_path: Path) -> None:
    """With a key, the examples that trace do so; and each ends without a word of its own."""
    with Endpoint() as langwatch:
        code = "\n".join(example for example in EXAMPLES if "def provider()" not in example)
        code += "\nassert tracing.flush(20)\n"
        run(tmp_path, code, LANGWATCH_API_KEY="sk-lw-x", LANGWATCH_ENDPOINT=langwatch.url)
        bodies = [json.loads(request.body) for request in langwatch.requests]
    spans = [span for body in bodies for span in body["resourceSpans"][0]["scopeSpans"][0]["spans"]]
    names = sorted(span["name"] for span in spans)
    assert names == [
        *("Agent: simple", "agent.simple", "agent.simple", "chat", "claude_code", "gpt-5", "look up", "look up"),
        "turn",
    ]
    assert len({span["traceId"] for span in spans}) == 5


USES = """
from automagik_telemetry import get_tracing_manager
from automagik_telemetry.tracing.spans import open_span
tracing = get_tracing_manager()
print(tracing.observability and tracing.observability.get_active_providers())
open_span("run", "agent", input="hello").end()
"""


def test_another_provider_is_one_file_and_an_entry_point(provider: Path) -> None:
    """It is found once it is configured and allowed, gets each trace, and none else is needed."""
    path = provider / "traces.jsonl"
    assert run(provider, USES, AUTOMAGIK_OBSERVABILITY_ENABLED="true") == "None\n"
    assert run(provider, USES, TRACES_FILE=str(path)) == "None\n"
    assert not path.exists()
    printed = run(provider, USES, AUTOMAGIK_OBSERVABILITY_ENABLED="true", TRACES_FILE=str(path))
    assert printed == "['file']\n"
    (trace,) = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert trace["spans"][0]["input"] == "hello"


def test_provider_that_fails_harms_no_other(provider: Path) -> None:
    """A provider that raises logs a warning, and the others work."""
    (provider / "traces_to_file.py").write_text("def provider(): raise RuntimeError('broken')", encoding="utf-8")
    code = (
        "import logging; logging.getLogger('automagik_telemetry').addHandler(logging.FileHandler('warnings'))\n" + USES
    )
    variables = {"LANGWATCH_API_KEY": "sk-lw-x", "LANGWATCH_ENDPOINT": "http://127.0.0.1:9"}
    printed = run(provider, f"import os; os.chdir({str(provider)!r})\n{code}", **variables)
    assert printed == "['langwatch']\n"
    message = "the provider 'file' is off, because its entry point failed: RuntimeError: broken"
    assert message in (provider / "warnings").read_text(encoding="utf-8")


def test_bounds_match_the_page() -> None:
    """The table's figures are the code's."""
    limits = TraceLimits()
    figures: list[Any] = [limits.max_spans, limits.max_open_traces, limits.max_trace_characters]
    figures += [limits.max_open_characters, recorder.MAX_TEXT, recorder.MAX_TRACE, recorder.MAX_NODES]
    for figure in figures:
        assert f"{figure:,}" in PAGE
    assert f"| {limits.max_age / 86_400:.0f} days |" in PAGE
