"""What holds for the repository as a whole, whatever the code does."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from automagik_telemetry._version import __version__

ROOT = Path(__file__).parent.parent
TOP_LEVEL = {
    ".ci",
    ".github",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "automagik_telemetry",
    "docs",
    "logging.yaml",
    "processors",
    "pyproject.toml",
    "tests",
}
# Written with classes of one letter, so that this file passes its own test.
FORBIDDEN = re.compile(r"py[p]i\.org|python[h]osted\.org|/[r]oot/|/[w]ork/|/[t]mp/v")


def committed() -> list[Path]:
    """Return the files under version control; without git, those that .gitignore doesn't name."""
    try:
        listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()]
        names = [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file()]
        return [name for name in names if not any(fnmatch(part, rule) for part in name.parts for rule in ignored)]
    return [Path(name) for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_top_level_is_the_agreed_one() -> None:
    """The top level holds exactly the agreed files and folders."""
    assert {path.parts[0] for path in committed()} == TOP_LEVEL


def test_no_machine_is_named() -> None:
    """No file names a package registry or a folder of the machine on which it was written."""
    texts = {path: (ROOT / path).read_text(encoding="utf-8", errors="replace") for path in committed()}
    assert {str(path): found.group() for path, text in texts.items() if (found := FORBIDDEN.search(text))} == {}


def test_every_module_says_what_it_is() -> None:
    """Every module begins with a docstring."""
    modules = [path for path in committed() if path.suffix == ".py"]
    assert modules
    assert [path for path in modules if not ast.get_docstring(ast.parse((ROOT / path).read_text()))] == []


def test_every_test_says_what_it_shows() -> None:
    """Every test has a docstring."""
    silent = [
        f"{path}:{node.lineno}"
        for path in committed()
        if path.parts[0] == "tests" and path.suffix == ".py"
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
        if not ast.get_docstring(node)
    ]
    assert silent == []


def test_changelog_tells_of_this_version() -> None:
    """The changelog's newest version is the package's."""
    versions = re.findall(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == __version__


def declared(part: str) -> list[Requirement]:
    """Return what one extra, one group or the package itself needs, without the project's own extras and groups."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = {
        "dependencies": project["project"]["dependencies"],
        **project["project"]["optional-dependencies"],
        **project["dependency-groups"],
    }[part]
    needs = [Requirement(line) for line in lines if isinstance(line, str)]
    return [need for need in needs if canonicalize_name(need.name) != "automagik-telemetry"]


def pinned(file: str) -> dict[str, str]:
    """Return the versions that a file pins with a hash. No address stands in it."""
    pins = (ROOT / file).read_text()
    assert "://" not in pins
    return dict(re.findall(r"^([\w.-]+)==(\S+).*\\\n    --hash=sha256:", pins, re.MULTILINE))


@pytest.mark.parametrize("part", ["dependencies", "collector", "demo", "fast", "dev", "bench"])
def test_pins_cover_what_is_declared(part: str) -> None:
    """Every declared dependency is pinned, at a version that the declaration allows, with a hash and no address."""
    pins = pinned("tests/bench/requirements.txt" if part == "bench" else ".ci/requirements.txt")
    needs = declared(part)
    assert [need.name for need in needs if pins.get(canonicalize_name(need.name), "") not in need.specifier] == []


@pytest.mark.parametrize("part", ["dependencies", "collector", "demo", "agno", "pydantic-ai", "prices"])
def test_the_oldest_dependencies_are_the_lower_bounds(part: str) -> None:
    """The versions with which `make check` runs the fast tests are the lower bounds in pyproject.toml."""
    pins = pinned(".ci/floors.txt")
    bounds = {
        canonicalize_name(need.name): Version(each.version)
        for need in declared(part)
        for each in need.specifier
        if each.operator == ">="
    }
    assert bounds
    assert {name: Version(pins[name]) for name in bounds} == bounds


def test_the_workflow_runs_every_supported_python() -> None:
    """The workflow sets up the Pythons that the classifiers name, and calls the script that runs everywhere else."""
    (job,) = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"].values()
    (setup,) = [step["with"] for step in job["steps"] if "with" in step]
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    supported = {found.group(1) for each in classifiers if (found := re.search(r":: (3\.\d+)$", each))}
    assert set(setup["python-version"].split()) == supported
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
