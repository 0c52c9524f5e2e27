"""Type checkers check the fields of an application's own events: real runs of mypy and pyright."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import automagik_processors
import automagik_telemetry

pytestmark = pytest.mark.slow

ROOTS = [str(Path(str(package.__file__)).parent.parent) for package in (automagik_telemetry, automagik_processors)]
APPLICATION = '''
from enum import StrEnum

from automagik_telemetry import configure
from automagik_telemetry.events import Event, count, duration, flag, measure, word


class Plan(StrEnum):
    FREE = "free"
    PRO = "pro"


class CheckoutFinished(Event):
    """A checkout was finished."""

    name = "checkout.finished"
    items: int = count("Number of items.")
    plan: str = word("The plan.", allowed=("free", "pro"))
    duration_ms: float = duration("Time to finish.")
    tier: Plan | None = word("The plan as an Enum.", allowed=Plan, default=None)
    country: str | None = word("The country.", default=None)
    score: float | None = measure("A score.", minimum=0, maximum=1, default=None)
    gift: bool = flag("Whether it is a gift.", default=False, kw_only=True)


tracing = configure(events=[CheckoutFinished])
tracing.track(CheckoutFinished(3, "pro", 12, Plan.PRO, "BR", 0.5, gift=True))
if tracing.telemetry:
    tracing.telemetry.track_event(CheckoutFinished(items=3, plan="pro", duration_ms=12.5))
'''
MISTAKES = [
    'CheckoutFinished(items="three", plan="pro", duration_ms=12.5)',
    'CheckoutFinished(items=3, plan="pro")',
    'CheckoutFinished(items=3, plan="pro", duration_ms=1.0, coupon="x")',
    'CheckoutFinished(3, "pro", 1.0, "gold")',
    'CheckoutFinished(3, "pro", 1.0).item',
    'tracing.track({"items": 3})',
    'configure(events=[CheckoutFinished(3, "pro", 1.0)])',
    'wrong: type[Event] = type("Wrong", (Event,), {}); wrong.owner.items',
]
DECLARATION = '''

class Wrong(Event):
    """An annotation that is not of the kind."""

    name = "test.wrong"
    items: str = count("Number of items.")
'''
COMMANDS = {
    "mypy": ["--strict", "--no-incremental", "--no-error-summary"],
    "pyright": ["--pythonpath", sys.executable],
}


def check(checker: str, folder: Path, code: str) -> tuple[int, list[int], str]:
    """Return the exit code of a type checker, the lines with an error, and its output."""
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed")
    (folder / "shop.py").write_text(code, encoding="utf-8")
    paths = ", ".join(f'"{root}"' for root in ROOTS)
    (folder / "pyrightconfig.json").write_text(f'{{"extraPaths": [{paths}]}}', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", checker, *COMMANDS[checker], "shop.py"],
        cwd=folder,
        env=os.environ | {"MYPYPATH": os.pathsep.join(ROOTS), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = {int(line) for line in re.findall(r"shop\.py:(\d+).*? error: ", done.stdout)}
    return done.returncode, sorted(lines), done.stdout + done.stderr


@pytest.mark.parametrize("checker", COMMANDS)
def test_a_right_application_has_no_type_error(checker: str, tmp_path: Path) -> None:
    """Every kind of field, an Enum of allowed values, defaults and keywords pass in the strict mode."""
    code, lines, output = check(checker, tmp_path, APPLICATION)
    assert (code, lines) == (0, []), output


@pytest.mark.parametrize("checker", COMMANDS)
def test_each_misuse_is_a_type_error(checker: str, tmp_path: Path) -> None:
    """A wrong kind, a missing or unknown field, and anything that is not an event are errors in their lines."""
    first = APPLICATION.count("\n") + 1
    code, lines, output = check(checker, tmp_path, APPLICATION + "\n".join(MISTAKES) + "\n" + DECLARATION)
    last = first + len(MISTAKES) + DECLARATION.count("\n") - 1
    assert code == 1
    assert lines == [*range(first, first + len(MISTAKES)), last], output
