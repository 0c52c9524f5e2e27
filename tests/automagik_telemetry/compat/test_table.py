"""Names at their other addresses are the same objects."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from automagik_telemetry.compat._table import TABLE, Row


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.path)
def test_an_address_leads_to_the_same_names(row: Row) -> None:
    """Every name of the table is found at its other address, and is the object itself."""
    address = importlib.import_module("automagik_telemetry." + row.path.removesuffix(".py").replace("/", "."))
    source = importlib.import_module(f"automagik_telemetry.{row.source}")
    assert sorted(address.__all__) == sorted(row.names)
    assert all(getattr(address, name) is getattr(source, name) for name in row.names)


def test_importing_the_package_loads_no_other_address() -> None:
    """A program that does not use the other addresses does not pay for them."""
    code = "import sys, automagik_telemetry; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in loaded if name.startswith(("automagik_telemetry.compat", "automagik_telemetry.tele"))]
