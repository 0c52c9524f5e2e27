"""The wheel, installed where neither the sources nor the development dependencies can be seen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.packaging.conftest import run

SMOKE = Path(__file__).parent.parent / "smoke" / "test_smoke.py"


def test_smoke_tests_pass_without_the_sources(clean_python: Path, tmp_path: Path) -> None:
    """The smoke tests pass on the installed wheel."""
    script = shutil.copy(SMOKE, tmp_path)
    assert "passed test_both_packages_import" in run(clean_python, "-I", script, cwd=tmp_path)


def test_core_installs_no_extra(clean_python: Path, tmp_path: Path) -> None:
    """Without extras, no package is installed that only the extras or the development group need."""
    code = "import importlib.metadata as m, json; print(json.dumps([d.name.lower() for d in m.distributions()]))"
    installed = set(json.loads(run(clean_python, "-I", "-c", code, cwd=tmp_path)))
    assert "automagik-telemetry" in installed
    assert installed.isdisjoint({"duckdb", "fastapi", "langwatch", "opentelemetry-api", "pytest", "rich", "starlette"})
