"""An application that is frozen or zipped starts and works, with telemetry on, off and never asked, and with traces."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipapp
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from automagik_telemetry.sinks.langwatch.handler import PATH as TRACES_PATH
from tests.faults.server import PATIENCE, Endpoint
from tests.packaging.conftest import ROOT, run

APPLICATION = Path(__file__).parent / "application.py"
PACKAGES = (ROOT / "automagik_telemetry", ROOT / "processors" / "automagik_processors")

# Both forms of one analysis, which takes most of the time.
SPEC = """
analysis = Analysis([{application!r}])
archive = PYZ(analysis.pure)
EXE(archive, analysis.scripts, analysis.binaries, analysis.datas, name="onefile", console=True)
inner = EXE(archive, analysis.scripts, exclude_binaries=True, name="inner", console=True)
COLLECT(inner, analysis.binaries, analysis.datas, name="onedir")
"""

ON = {"AUTOMAGIK_TELEMETRY_ENABLED": "true"}
OFF = {"DO_NOT_TRACK": "1", **ON}
TRACES = {"LANGWATCH_API_KEY": "sk-lw-test"}
PYTHON = [sys.executable, "-S", "-B", "-W", "error"]


class Program(NamedTuple):
    """A built application: the command that starts it, and the variables that this needs."""

    command: list[str]
    variables: dict[str, str]

    def run(self, home: Path, endpoint: Endpoint, **variables: str) -> dict[str, Any]:
        """Run it in an empty home, check how it ended, and return what it printed and the names of what it left."""
        home.mkdir()
        environment = {
            "HOME": str(home),
            "TMPDIR": str(home),
            "AUTOMAGIK_STATE_DIR": str(home / "state"),
            "AUTOMAGIK_TELEMETRY_ENDPOINT": endpoint.url,
            "LANGWATCH_ENDPOINT": endpoint.url,
            "AUTOMAGIK_SAMPLING_RATE": "1",
            **self.variables,
            **variables,
        }
        done = subprocess.run(
            self.command, cwd=home, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert (done.returncode, done.stderr) == (0, "a line of its own\n"), done.stdout + done.stderr
        (line,) = done.stdout.splitlines()
        return {**json.loads(line), "left": sorted(path.name for path in home.rglob("*"))}


def check(program: Program, folder: Path) -> None:
    """Run a program off, never asked, on and with traces."""
    folder.mkdir()
    for name, variables in {"off": OFF, "never asked": {}}.items():
        with Endpoint() as endpoint:
            found = program.run(folder / name, endpoint, **variables)
        assert found == {"telemetry": False, "traces": False, "settled": True, "opened": [], "left": []}
        assert endpoint.requests == []
    for name, variables, path, events in (("telemetry", ON, "/v1/traces", 3), ("traces", TRACES, TRACES_PATH, 1)):
        with Endpoint() as endpoint:
            found = program.run(folder / name, endpoint, **variables)
        assert found["left"]
        on = {"telemetry": False, "traces": False, name: True}
        assert found == {**on, "settled": True, "opened": [], "left": found["left"]}
        assert len(endpoint.accepted) == events
        assert {request.path for request in endpoint.requests} == {path}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.fault(72)
def test_frozen(clean_python: Path, tmp_path: Path) -> None:
    """It works as PyInstaller freezes it, to a folder and to one file, where nothing but the wheel is installed."""
    kept = Path(sys.prefix, "wheels")
    source = ["--no-index", "--find-links", str(kept)] if kept.is_dir() else []
    tools = tmp_path / "tools"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--target", tools, *source, "pyinstaller", cwd=tmp_path)
    (tmp_path / "application.spec").write_text(SPEC.format(application=str(APPLICATION)))
    variables = {**os.environ, "PYTHONPATH": str(tools), "PYINSTALLER_CONFIG_DIR": str(tmp_path / "cache")}
    command = [str(clean_python), "-m", "PyInstaller", "--log-level", "WARN", "application.spec"]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    check(Program([str(tmp_path / "dist" / "onedir" / "inner")], {}), tmp_path / "onedir")
    check(Program([str(tmp_path / "dist" / "onefile")], {}), tmp_path / "onefile")


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with our packages in a zip beside the application, and all three in a zipapp."""
    folder = tmp_path_factory.mktemp("zipped")
    for package in PACKAGES:
        shutil.copytree(package, folder / "content" / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.make_archive(str(folder / "packages"), "zip", folder / "content")
    shutil.copy(APPLICATION, folder / "content")
    zipapp.create_archive(folder / "content", folder / "application.pyz", main="application:main")
    shutil.copy(APPLICATION, folder)
    shutil.rmtree(folder / "content")
    return folder


def variables_for(*paths: Path) -> dict[str, str]:
    """Return variables with which Python finds what is at `paths` and what our packages need, but no checkout."""
    needed = Path(orjson.__file__).parents[1]  # a folder on the path, whose .pth files are not read
    return {"PYTHONPATH": os.pathsep.join(map(str, [*paths, needed]))}


@pytest.mark.fault(72)
def test_zip(zipped: Path, tmp_path: Path) -> None:
    """It works when it imports us from a zip."""
    variables = variables_for(zipped / "packages.zip")
    check(Program([*PYTHON, str(zipped / "application.py")], variables), tmp_path / "zip")


@pytest.mark.fault(72)
def test_zipapp(zipped: Path, tmp_path: Path) -> None:
    """It works as a zipapp with us in it."""
    check(Program([*PYTHON, str(zipped / "application.pyz")], variables_for()), tmp_path / "zipapp")


@pytest.mark.fault(72)
@pytest.mark.parametrize("arguments", [["status"], ["doctor"], ["events"], ["settings"], ["preview"], ["--version"]])
def test_commands_in_a_zip(zipped: Path, arguments: list[str], tmp_path: Path) -> None:
    """Our commands run from a zip, as `python -m automagik_telemetry`."""
    variables = {"HOME": str(tmp_path), **variables_for(zipped / "packages.zip")}
    command = [*PYTHON, "-m", "automagik_telemetry", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
