"""The documentation is true: its examples run, its generated pages are current, its links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from automagik_telemetry.compat._aliases import ALIASES

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
EXAMPLES = {
    page: found
    for page in PAGES
    if (found := re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
}
# Importing takes longest, and once is enough: each example is a fork, which begins with the page's imports.
RUN = """
import json, os, sys
imports, examples = json.load(sys.stdin)
exec(imports)
for number, code in enumerate(examples, 1):
    sys.stdout.flush()
    if not os.fork():
        exec(compile(code, f"example {number}", "exec"))
        sys.exit()
    if os.wait()[1]:
        sys.exit(f"example {number} failed")
"""


def name(value: object) -> str | None:
    """Return how a test shows an example."""
    return value.name if isinstance(value, Path) else None if isinstance(value, str) else str(value)


@pytest.mark.parametrize("page", EXAMPLES, ids=name)
@pytest.mark.parametrize("on", [False, True], ids=["off", "on"])
def test_examples_run(tmp_path: Path, page: Path, on: bool) -> None:
    """Each example runs unchanged, after the page's imports, with telemetry off and on."""
    text = "".join(EXAMPLES[page])
    imports = [line for line in re.findall(r"^(?:from|import) .*$", text, re.MULTILINE) if "__future__" not in line]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "AUTOMAGIK_TELEMETRY_ENABLED": "true" if on else "false",
        "AUTOMAGIK_TELEMETRY_ENDPOINT": "http://127.0.0.1:9",
    }
    program_input = json.dumps(["\n".join(dict.fromkeys(imports)), EXAMPLES[page]])
    done = subprocess.run(
        [sys.executable, "-c", RUN], env=environment, input=program_input, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{page.name}:\n{done.stderr}"
    assert "Traceback" not in done.stderr


def test_there_are_examples() -> None:
    """The pages do hold examples, so that the test above tests something."""
    assert {page.name for page in EXAMPLES} >= {"README.md", "integrate.md", "logging.md"}


def test_generated_pages_are_current(tmp_path: Path) -> None:
    """The generated pages are up to date."""
    subprocess.run([sys.executable, str(ROOT / "docs" / "generate.py"), str(tmp_path)], check=True)
    modules = [path.relative_to(tmp_path) for path in tmp_path.rglob("*.py")]
    assert len(modules) == 2 + len(ALIASES)
    for module in modules:
        made, known = tmp_path / module, ROOT / "automagik_telemetry" / module
        assert made.read_text(encoding="utf-8") == known.read_text(encoding="utf-8"), "make docs"
    for page in tmp_path.glob("*.md"):
        assert page.read_text(encoding="utf-8") == (ROOT / "docs" / page.name).read_text(encoding="utf-8"), "make docs"
