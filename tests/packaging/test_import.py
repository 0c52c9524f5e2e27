"""What `import automagik_telemetry` costs a program that may never send anything."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.packaging.conftest import run

if TYPE_CHECKING:
    from pathlib import Path

# What only a process needs that sends something, or that reads a logging.yaml.
LATE = {
    "automagik_processors",
    "automagik_telemetry.integrations",
    "automagik_telemetry.observability",
    "automagik_telemetry.telemetry",
    "base64",
    "hashlib",
    "mmap",
    "orjson",
    "platformdirs",
}
HEAVY = {"click", "duckdb", "fastapi", "httpx", "langwatch", "opentelemetry", "rich", "starlette", "uvicorn", "yaml"}


@pytest.mark.fault(57)
@pytest.mark.parametrize("package", ["automagik_telemetry", "automagik_processors"])
def test_import_brings_nothing_heavy(package: str, tmp_path: Path) -> None:
    """Importing a package loads nothing that only some programs need, beyond what structlog loads by itself."""
    code = "import structlog, logging.config, sys; before = set(sys.modules); import {}; import json; "
    code += "print(json.dumps(sorted(set(sys.modules) - before)))"
    loaded = json.loads(run(sys.executable, "-I", "-W", "error", "-c", code.format(package), cwd=tmp_path))
    assert package in loaded
    assert {name.split(".")[0] for name in loaded}.isdisjoint(HEAVY)
    assert sorted(set(loaded) & (LATE - {package})) == []


@pytest.mark.parametrize("package", ["automagik_telemetry", "automagik_processors"])
def test_every_public_name_is_there(package: str, tmp_path: Path) -> None:
    """Names whose module is imported late are listed, found, and found by `from ... import *`, as all others."""
    code = "import {0} as package; assert set(package.__all__) <= set(dir(package)); from {0} import *; "
    code += "print(all(globals()[name] is getattr(package, name) for name in package.__all__), hasattr(package, 'no'))"
    assert run(sys.executable, "-I", "-W", "error", "-c", code.format(package), cwd=tmp_path).split() == [
        "True",
        "False",
    ]
