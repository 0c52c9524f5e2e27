"""The content of the wheel and the sdist."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from packaging.metadata import Metadata

from automagik_telemetry._version import __version__

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def wheel_names(wheel: Path) -> set[str]:
    """Return the names inside the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture
def sdist_names(sdist: Path) -> set[str]:
    """Return the names inside the sdist, without its one top folder."""
    with tarfile.open(sdist) as archive:
        return {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in archive.getnames()}


def test_wheel_has_two_packages_and_nothing_else(wheel_names: set[str]) -> None:
    """The wheel claims no import name but those of the two packages and of the pytest plugin."""
    assert {name.split("/")[0] for name in wheel_names} == {
        "automagik_telemetry",
        "automagik_processors",
        "pytest_automagik_telemetry.py",
        f"automagik_telemetry-{__version__}.dist-info",
    }


def test_wheel_is_whole(wheel_names: set[str]) -> None:
    """Every module of the checkout is in the wheel, and both packages are marked as typed."""
    sources = {
        str(path.relative_to(root))
        for root, package in ((ROOT, "automagik_telemetry"), (ROOT / "processors", "automagik_processors"))
        for path in (root / package).rglob("*.py")
    }
    assert sources
    assert sources <= wheel_names
    assert {"automagik_telemetry/py.typed", "automagik_processors/py.typed"} <= wheel_names


def test_wheel_has_no_tests(wheel_names: set[str]) -> None:
    """Tests stay out of users' environments."""
    assert [name for name in wheel_names if {"tests", "conftest.py"} & {*PurePosixPath(name).parts}] == []


def test_wheel_carries_the_logging_file(wheel: Path) -> None:
    """The wheel's logging.yaml is the one at the top of the checkout."""
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("automagik_telemetry/logging.yaml") == (ROOT / "logging.yaml").read_bytes()


@pytest.mark.parametrize(
    ("system", "machine", "implementation", "required"),
    [
        ("linux", "x86_64", "CPython", True),
        ("darwin", "x86_64", "CPython", True),
        ("darwin", "arm64", "CPython", True),
        ("linux", "aarch64", "CPython", False),  # the kernel's word, under which a Raspberry Pi OS of 32 bits may run
        ("linux", "armv7l", "CPython", False),
        ("win32", "AMD64", "CPython", False),  # of a Python of 32 bits, too
        ("linux", "x86_64", "PyPy", False),
    ],
)
def test_compressor_is_required_where_it_has_wheels(
    wheel: Path, system: str, machine: str, implementation: str, required: object
) -> None:
    """Elsewhere an installer would try to build it, and fail."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"automagik_telemetry-{__version__}.dist-info/METADATA")
    environment = {
        "sys_platform": system,
        "platform_machine": machine,
        "platform_python_implementation": implementation,
        "python_version": "3.11",
        "extra": "",
    }
    needed = {
        each.name
        for each in Metadata.from_email(metadata, validate=False).requires_dist or ()
        if each.marker is None or each.marker.evaluate(environment)
    }
    assert {"structlog", "httpx"} < needed
    assert ("isal" in needed) == required


def test_sdist_has_what_is_needed_to_work_on_it(sdist_names: set[str]) -> None:
    """The sdist holds everything that can be built, tested and read."""
    assert {
        ".ci/run",
        ".ci/requirements.txt",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "automagik_telemetry/_version.py",
        "logging.yaml",
        "processors/automagik_processors/py.typed",
        "tests/smoke/test_smoke.py",
    } <= sdist_names
    assert any(name.startswith("docs/") for name in sdist_names)
