"""Properties of the repository as a whole."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from automagik_telemetry._version import __version__
from tests import public_api

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def test_every_module_has_a_docstring() -> None:
    """Every module begins with a docstring."""
    modules = [path for path in committed() if path.suffix == ".py"]
    assert modules
    assert [path for path in modules if not ast.get_docstring(ast.parse((ROOT / path).read_text()))] == []


def test_every_test_has_a_docstring() -> None:
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


QUESTION = re.compile(
    r"(?:(?:and|as|at|by|for|from|in|of|on|or|to|with) )?"
    r"(?:what|whatever|when|whenever|where|wherever|whether|which|who|whoever|whom|whose|how|however)\b",
    re.IGNORECASE,
)
"""The beginning of a docstring that is a question or a relative clause, such as "In what", instead of a statement."""


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each docstring of a module, its classes, functions and attributes."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                value = statement.value.value
                if isinstance(value, str) and value.strip():
                    yield statement.lineno, value.strip()


def test_docstrings_are_statements() -> None:
    """A docstring begins with a verb or a noun phrase, not with a question word."""
    questions = [
        f"{path}:{line}: {text.splitlines()[0]}"
        for path in committed()
        if path.suffix == ".py"
        for line, text in docstrings(path)
        if QUESTION.match(text) or text.splitlines()[0].endswith("?")
    ]
    assert questions == []


VENDORS = re.compile(r"langwatch|langfuse|logfire|phoenix|\bagno\b|pydantic[_-]ai", re.IGNORECASE)
VENDORS_NAMED_IN = (
    *("automagik_telemetry/compat/", "automagik_telemetry/integrations/", "automagik_telemetry/sinks/"),
    *("automagik_telemetry/__init__.py", "automagik_telemetry/settings.py"),  # public names, and the variables of sinks
    "automagik_telemetry/handlers/_default_config.py",  # logging.yaml
    *("automagik_telemetry/events/_allowlist.py", "automagik_telemetry/events/_model_names.py"),
    "automagik_telemetry/cli/demo.py",  # the packages of its extra
)


def test_vendors_are_named_in_their_own_folders() -> None:
    """The package names a vendor only in its sink or integration, and in the few modules that list all of them."""
    named = [
        f"{path}: {found.group()}"
        for path in committed()
        if path.parts[0] == "automagik_telemetry"
        and path.suffix == ".py"
        and not str(path).startswith(VENDORS_NAMED_IN)
        if (found := VENDORS.search((ROOT / path).read_text(encoding="utf-8")))
    ]
    assert named == []


# With classes of one letter, as above.
SUPPRESSION = re.compile(r"# (?:[n]oqa|type: [i]gnore|pyright: [i]gnore)\b")
UNEXPLAINED = re.compile(r"# [n]oqa(?!: [A-Z]+\d+(?:, [A-Z]+\d+)* - \S)")


def test_suppressions_are_few_and_have_reasons() -> None:
    """Sources have at most 8 suppressions per 1,000 lines, and each `noqa` has its codes and a reason."""
    lines = {
        f"{path}:{number}": line
        for path in committed()
        if path.suffix == ".py"
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), 1)
    }
    sources = [line for place, line in lines.items() if place.startswith(("automagik_telemetry/", "processors/"))]
    suppressions = sum(len(SUPPRESSION.findall(line)) for line in sources)
    assert 0 < suppressions * 1000 <= 8 * len(sources)
    assert {place: line.strip() for place, line in lines.items() if UNEXPLAINED.search(line)} == {}


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#{1,6} +(.+?)[ #]*$", text, re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)  # of a link, its text
        name = re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")
        number = found[name] = found.get(name, -1) + 1
        names.add(f"{name}-{number}" if number else name)
    return names


@pytest.mark.parametrize("page", [path for path in committed() if path.suffix == ".md"], ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of the project names an existing one, and every anchor a heading in it."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        if ":" in name:  # an address elsewhere
            continue
        file = ROOT / page.parent / name if name else ROOT / page
        if not file.exists() or (anchor and (file.suffix != ".md" or anchor not in anchors(file))):
            broken.append(target)
    assert broken == []


def test_changelog_has_this_version() -> None:
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
    """Return the versions that a file pins with a hash, without an address."""
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


PUBLIC = public_api.callables()


@pytest.mark.parametrize("path", PUBLIC)
def test_public_callables_are_documented(path: str) -> None:
    """`Args:` of a public function, method or class names each argument, and `Returns:` says what is returned."""
    value = PUBLIC[path]
    said, arguments = public_api.docstring(value), public_api.arguments(value)
    assert [name for name in arguments if f"    {name}: " not in said] == []
    assert "Args:\n" in said or not arguments
    assert "Returns:\n" in said or not public_api.returns_something(value)
