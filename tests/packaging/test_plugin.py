"""The pytest plugin, found by its entry point in a Python that has only the wheel and pytest."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.packaging.conftest import run

pytest_plugins = ["pytester"]

APPLICATION = """
import logging

from automagik_telemetry import configure

tracing = configure()


def greet(name):
    logging.getLogger("automagik.shop").info("feature.used", extra={"feature_name": name})
    if tracing.telemetry:
        tracing.telemetry.track_feature_usage("cli")
"""
TESTS = """
import asyncio

import pytest

import shop
from automagik_telemetry.testing import hashed


@pytest.mark.parametrize("number", range(6))
def test_greets(telemetry, number):
    shop.greet("someone")
    telemetry.assert_sent("feature.used", feature_name=hashed("someone"))
    telemetry.assert_sent("feature.used", feature_name="cli")
    assert len(telemetry.events) == 2


def test_in_a_task(telemetry):
    async def greet():
        shop.greet("someone")

    asyncio.run(greet())
    assert len(telemetry.events) == 2


def test_without_it():
    shop.greet("someone")
    assert shop.tracing.telemetry is None
"""
MODULES = """
import sys

from pathlib import Path


def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        names = [name for name in sys.modules if name.startswith(("automagik_", "pytest_automagik", "structlog"))]
        Path("modules.txt").write_text(" ".join(sorted(names)))
"""


@pytest.fixture(scope="session")
def python_with_pytest(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python with the wheel, pytest and pytest-xdist; offline where `make` has kept the pinned wheels."""
    folder = tmp_path_factory.mktemp("pytest")
    kept = Path(sys.prefix, "wheels")
    source = ["--no-index", "--find-links", str(kept)] if kept.is_dir() else []
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    packages: list[str | Path] = [wheel, "pytest", "pytest-xdist"]
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *source, *packages, cwd=folder)
    return python


@pytest.mark.parametrize("options", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_the_fixture_is_found(python_with_pytest: Path, pytester: pytest.Pytester, options: list[str]) -> None:
    """An application's tests use the fixture after installation alone, also under xdist. No warning is given."""
    pytester.makepyfile(shop=APPLICATION, test_shop=TESTS)
    command = [str(python_with_pytest), "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = pytester.run(*command)
    assert done.ret == 0
    assert "8 passed" in done.stdout.str()
    assert done.stderr.str() == ""


def test_nothing_is_imported_without_it(python_with_pytest: Path, pytester: pytest.Pytester) -> None:
    """A test run that does not use the fixture imports the plugin's one module, and nothing of the package."""
    pytester.makeconftest(MODULES)
    pytester.makepyfile("def test_nothing(): pass")
    done = pytester.run(str(python_with_pytest), "-I", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.ret == 0
    assert (pytester.path / "modules.txt").read_text() == "pytest_automagik_telemetry"


def test_the_fixture_is_listed(python_with_pytest: Path, pytester: pytest.Pytester) -> None:
    """`pytest --fixtures` shows the fixture with its description."""
    done = pytester.run(str(python_with_pytest), "-m", "pytest", "--fixtures", "-q")
    done.stdout.fnmatch_lines(["*telemetry*", "*Everything that the application would send during the test.*"])


@pytest.mark.parametrize("package", ["automagik_telemetry", "automagik_processors"])
def test_an_imported_package_is_no_warning(python_with_pytest: Path, pytester: pytest.Pytester, package: str) -> None:
    """A process that has imported a package and then calls `pytest.main` gets no warning about assertions."""
    pytester.makepyfile("def test_nothing(): pass")
    arguments = json.dumps(["-q", "-W", "error", "-p", "no:cacheprovider", str(pytester.path)])
    done = pytester.run(str(python_with_pytest), "-c", f"import {package}, pytest; pytest.main({arguments})")
    assert "1 passed" in done.stdout.str()
    assert "warning" not in done.stdout.str().lower() + done.stderr.str().lower()
