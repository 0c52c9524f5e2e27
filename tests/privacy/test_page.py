"""The commands on the privacy page work, and its numbers are correct."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from automagik_telemetry.cli import main
from tests.privacy.places import HOLDERS, PLACES
from tests.privacy.shapes import TEMPLATES

PAGE = (Path(__file__).parent.parent.parent / "docs" / "privacy.md").read_text(encoding="utf-8")
LINES = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]


@pytest.mark.parametrize("line", LINES)
def test_command_works(line: str, tmp_path: Path) -> None:
    """Each command line of the page succeeds with some output."""
    program, *arguments = shlex.split(line)
    assert program == "automagik-telemetry"
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "automagik_telemetry", *arguments]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_every_command_named_exists() -> None:
    """Commands that the text names are commands."""
    named = set(re.findall(r"automagik-telemetry ([a-z-]+)", PAGE))
    assert len(named) >= 6
    assert {name for name in named if main.get_command(main.make_context("x", ["status"]), name) is None} == set()


def test_numbers_on_the_page() -> None:
    """The numbers of shapes, places and types on the page are correct."""
    assert "some seventy shapes" in PAGE
    assert 65 <= len(TEMPLATES) < 75
    assert f"some {round(len(PLACES), -1)} places" in PAGE
    assert "twelve types of object" in PAGE
    assert len(HOLDERS) == 12
