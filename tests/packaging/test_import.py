"""The cost of `import automagik_telemetry` for a program that sends nothing."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.packaging.conftest import run

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = {
    *(
        "click",
        "duckdb",
        "fastapi",
        "httpx",
        "isal",
        "langwatch",
        "opentelemetry",
        "rich",
        "starlette",
        "uvicorn",
        "yaml",
    )
}
# What only a process needs that sends something.
SENDING = {
    "automagik_processors",
    "automagik_telemetry.export._pipeline",
    "automagik_telemetry.integrations",
    "automagik_telemetry.tracing",
    "automagik_telemetry.events.catalogue",
    "base64",
    "hashlib",
    "mmap",
    "orjson",
    "tomllib",
}
# What a process needs that calls `configure()`, and none that only imports.
CONFIGURING = {"automagik_telemetry.sinks", "automagik_telemetry.consent._identity"}


def loaded_by(code: str, cwd: Path) -> set[str]:
    """Return the modules that a program loads beyond what structlog and logging.config load by themselves."""
    before = "import structlog, logging.config, sys; before = set(sys.modules); "
    after = "; import json; sys.stdout.write(json.dumps(sorted(set(sys.modules) - before)))"
    return set(json.loads(run(sys.executable, "-I", "-W", "error", "-c", before + code + after, cwd=cwd)))


@pytest.mark.fault(57)
@pytest.mark.parametrize("package", ["automagik_telemetry", "automagik_processors"])
def test_import_brings_nothing_heavy(package: str, tmp_path: Path) -> None:
    """Importing a package loads nothing that only some programs need."""
    loaded = loaded_by(f"import {package}", tmp_path)
    assert package in loaded
    assert {name.split(".")[0] for name in loaded}.isdisjoint(HEAVY)
    assert sorted(loaded & ((SENDING | CONFIGURING) - {package})) == []


def test_configuring_brings_nothing_to_send_with(tmp_path: Path) -> None:
    """Without consent a program loads no module for sending, and no YAML for the default file."""
    loaded = loaded_by("import automagik_telemetry as us; assert us.configure().telemetry is None", tmp_path)
    assert loaded > CONFIGURING
    assert {name.split(".")[0] for name in loaded}.isdisjoint(HEAVY)
    assert sorted(loaded & SENDING) == []


@pytest.mark.parametrize("package", ["automagik_telemetry", "automagik_processors"])
def test_every_public_name_is_there(package: str, tmp_path: Path) -> None:
    """Names whose module is imported late are listed, found, and found by `from ... import *`, as all others."""
    code = "import {0} as package; assert set(package.__all__) <= set(dir(package)); from {0} import *; "
    code += "print(all(globals()[name] is getattr(package, name) for name in package.__all__), hasattr(package, 'no'))"
    printed = run(sys.executable, "-I", "-W", "error", "-c", code.format(package), cwd=tmp_path)
    assert printed.split() == ["True", "False"]
