"""What the integrations of frameworks have in common."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("framework", "extra"), [("agno", "agno"), ("pydantic_ai", "pydantic-ai")])
def test_without_the_framework(framework: str, extra: str) -> None:
    """The package itself never imports the framework; the module says which extra it needs."""
    lines = (
        "import sys",
        "import automagik_telemetry, automagik_telemetry.integrations.agent",
        f"assert {framework!r} not in sys.modules",
        f"sys.modules[{framework!r}] = None",
        f"import automagik_telemetry.integrations.{framework}",
    )
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: ")
    assert f"automagik-telemetry[{extra}]" in done.stderr.splitlines()[-1]
