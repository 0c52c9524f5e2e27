"""Common behaviour of the integrations of frameworks."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.parametrize(("framework", "extra"), [("agno", "agno"), ("pydantic_ai", "pydantic-ai")])
def test_without_the_framework(framework: str, extra: str) -> None:
    """The package itself never imports the framework; the error names the required extra."""
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "distribution", "extra", "needed"),
    [("pydantic_ai", "pydantic_ai_slim", "pydantic-ai", "2.68"), ("agno", "agno", "agno", "3.1")],
)
def test_an_old_framework_is_named_with_the_version_that_is_needed(
    package: str, distribution: str, extra: str, needed: str, tmp_path: Path
) -> None:
    """The message has the installed version, and the lower bound in pyproject.toml."""
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("class Agent: ...\n")
    (tmp_path / f"{distribution}-1.29.dist-info").mkdir()
    name = distribution.replace("_", "-")
    (tmp_path / f"{distribution}-1.29.dist-info" / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.29\n"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {package}, automagik_telemetry; "
    code += f"automagik_telemetry.instrument({package}.Agent())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: automagik_telemetry.integrations.{package} needs {extra} >= {needed}, found 1.29: "
        f"pip install --upgrade 'automagik-telemetry[{extra}]'"
    )
    bounds = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    assert bounds == [f"{name}>={needed}"]
