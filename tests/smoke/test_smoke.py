"""The least that must work with nothing but the core dependencies; also a script, for an installed wheel.

`python -I test_smoke.py` runs every test here without pytest, so it uses no fixture and no development dependency.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path


def run(*arguments: str, **variables: str) -> str:
    """Return what a Python process prints, started elsewhere, with no variables but these."""
    with tempfile.TemporaryDirectory() as folder:
        variables = {"HOME": folder, "AUTOMAGIK_STATE_DIR": f"{folder}/state", "PATH": os.environ["PATH"], **variables}
        process = [sys.executable, "-I", *arguments]
        done = subprocess.run(process, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", done.stderr
    return done.stdout


def command(*arguments: str, **variables: str) -> str:
    """Return what the installed command prints."""
    return run(str(Path(sysconfig.get_path("scripts"), "automagik-telemetry")), *arguments, **variables)


def test_both_packages_import() -> None:
    """Both packages can be imported without a warning, from one distribution."""
    names = "automagik_telemetry", "automagik_processors"
    printed = run("-W", "error", "-c", f"import {', '.join(names)}; print({names[0]}.__name__, {names[1]}.__name__)")
    assert printed.split() == [*names]


def test_command_gives_its_version() -> None:
    """The command tells the version of the package."""
    version = run("-c", "from automagik_telemetry.version import __version__; print(__version__)").strip()
    assert version in command("--version")


def test_command_gives_help() -> None:
    """The command explains itself."""
    assert "Usage:" in command("--help")


def test_telemetry_is_off_by_default() -> None:
    """Nobody who has not asked for it sends anything."""
    code = "from automagik_telemetry import get_tracing_manager as get; print(get().telemetry, get().observability)"
    assert run("-c", code) == "None None\n"


def main() -> None:
    """Run every test of this file; show that the packages come from site-packages, not from a checkout."""
    for package in ("automagik_telemetry", "automagik_processors"):
        origin = run("-c", f"import {package}; print({package}.__file__)").strip()
        assert Path(origin).is_relative_to(sysconfig.get_path("purelib")), origin
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print("passed", name)


if __name__ == "__main__":
    main()
