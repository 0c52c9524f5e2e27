"""The demo runs from the wheel alone."""

from __future__ import annotations

import os
import sys
import zipfile
from typing import TYPE_CHECKING

from tests.packaging.conftest import run

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_demo_runs_from_the_wheel(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel includes the worked example, and the demo runs it and shows a full report."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
    shown = run(sys.executable, "-W", "error", "-m", "automagik_telemetry", "demo", cwd=tmp_path)
    assert str(tmp_path / "automagik_telemetry" / "example" / "bookshop") in shown
    assert "O emma, 1 in stock: on which shelf do you dream?" in shown
    assert "Error: that is no verse any more  (exit code 1)" in shown
    assert "96 responses: 64 x 200, 16 x 404, 16 x 502" in shown
    assert " events sent, 0 dropped" in shown
    for title in ("Feature usage", "Performance", "Error patterns: errors", "Framework preference", "agent.run"):
        assert title in shown
    assert '"name":"agent.run"' in shown
    assert "Traceback" not in shown
