"""Test runs are recognized in every phase, by real runners, also where no variable shows them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

LOOK = "from automagik_telemetry.consent._environment import test_runner\nprint('found:', test_runner())\n"
UNITTEST = f"""
import unittest
{{at_import}}
class Test(unittest.TestCase):
    def test(self):
        {"; ".join(LOOK.splitlines())}
"""
IN_A_THREAD = """
import threading
thread = threading.Thread(target=exec, args=({look!r}, {{}}))
thread.start()
thread.join()
"""


def found(folder: Path, *arguments: str, **files: str) -> list[str]:
    """Return the lines that a Python with these arguments prints about test runners, pytest's variables removed."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    lines = [line[line.index("found:") :] for line in ended.stdout.splitlines() if "found:" in line]
    assert lines, ended.stdout + ended.stderr
    return lines


@pytest.mark.fault(94)
@pytest.mark.parametrize("at_import", [LOOK, IN_A_THREAD.format(look=LOOK)])
@pytest.mark.parametrize(
    "arguments",
    [
        ("-m", "unittest", "-v", "test_it"),
        ("-m", "unittest", "discover"),
        ("-m", "pytest", "-s", "-p", "no:cacheprovider", "test_it.py"),
        ("-m", "pytest", "-s", "-p", "no:cacheprovider", "--assert=plain", "test_it.py"),
        ("script.py",),
        ("own_runner.py",),
    ],
)
def test_a_runner_is_recognized(tmp_path: Path, arguments: tuple[str, ...], at_import: str) -> None:
    """At import while tests are collected, and in a test; from this thread and from another one."""
    lines = found(
        tmp_path,
        *arguments,
        test_it=UNITTEST.format(at_import=at_import),
        script="import pytest\npytest.main(['-s', '-p', 'no:cacheprovider', 'test_it.py'])\n",
        own_runner="import unittest\nunittest.main('test_it')\n",
    )
    assert len(lines) == 2
    expected = "pytest" if "pytest" in arguments or arguments == ("script.py",) else "unittest"
    assert set(lines) == {f"found: a test run: {expected} runs it"}


@pytest.mark.fault(94)
def test_django_s_runner(tmp_path: Path) -> None:
    """`manage.py test` is a test run, and any other command of it is not."""
    assert found(tmp_path, "manage.py", "test", manage=LOOK) == ["found: a test run: Django runs it"]
    assert found(tmp_path, "manage.py", "runserver", manage=LOOK) == ["found: None"]


@pytest.mark.fault(94)
@pytest.mark.parametrize(
    "text", [LOOK, f"import unittest.mock, pytest, _pytest.config, doctest\n{LOOK}", IN_A_THREAD.format(look=LOOK)]
)
def test_an_application_is_not_a_test_run(tmp_path: Path, text: str) -> None:
    """An application may import test libraries."""
    assert found(tmp_path, "application.py", application=text) == ["found: None"]
    assert found(tmp_path, "-c", text) == ["found: None"]
    assert found(tmp_path, "-m", "application") == ["found: None"]
