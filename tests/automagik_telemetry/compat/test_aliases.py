"""The names in alias modules are the same objects."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from automagik_telemetry.compat._aliases import ALIASES, Alias


@pytest.mark.parametrize("alias", ALIASES, ids=lambda alias: alias.path)
def test_an_alias_has_the_same_names(alias: Alias) -> None:
    """Every name in an alias module is the object itself."""
    module = importlib.import_module("automagik_telemetry." + alias.path.removesuffix(".py").replace("/", "."))
    source = importlib.import_module(f"automagik_telemetry.{alias.source}")
    assert sorted(module.__all__) == sorted(alias.names)
    assert all(getattr(module, name) is getattr(source, name) for name in alias.names)


@pytest.mark.slow
def test_importing_the_package_loads_no_alias() -> None:
    """The import of the package loads no alias module."""
    code = "import sys, automagik_telemetry; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in loaded if name.startswith(("automagik_telemetry.compat", "automagik_telemetry.tele"))]
