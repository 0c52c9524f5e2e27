"""The two archives, built once, and a Python with only the wheel and its dependencies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def run(*command: str | Path, cwd: Path) -> str:
    """Return what the command prints; it must succeed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the sdist, and with the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("archives")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="session")
def wheel(archives: Path) -> Path:
    """Return the path of the wheel."""
    return next(archives.glob("*.whl"))


@pytest.fixture(scope="session")
def sdist(archives: Path) -> Path:
    """Return the path of the sdist."""
    return next(archives.glob("*.tar.gz"))


@pytest.fixture(scope="session")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python into which pip has installed the wheel: with its core dependencies, and nothing else.

    Where `make` has kept the pinned wheels pip takes those, and needs no network.
    """
    folder = tmp_path_factory.mktemp("clean")
    kept = Path(sys.prefix, "wheels")
    source = ["--no-index", "--find-links", str(kept)] if kept.is_dir() else []
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *source, wheel, cwd=folder)
    return python
