"""Every command on the integration page prints the documented output, one after the other, in one shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.server import closed_port

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "integrate.md").read_text(encoding="utf-8")
LOCAL = "http://127.0.0.1:"
AWAIT = "import socket, time\nwhile socket.socket().connect_ex(('127.0.0.1', {port})):\n    time.sleep(0.01)"


class Command(NamedTuple):
    """A command, of one line or more, and its output, in which `...` matches anything."""

    text: str
    output: str


def commands() -> list[Command]:
    """Return the commands of the page, in order."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    found = []
    for block in blocks:
        for entry in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = entry.splitlines()
            end = next(number for number in range(1, len(lines) + 1) if "\n".join(lines[:number]).count('"') % 2 == 0)
            found.append(Command("\n".join(lines[:end]), "\n".join(lines[end:])))
    return found


def script(port: int) -> str:
    """Return the commands as a bash program that prints a number before each, and the exit code after it."""
    lines = ["trap 'kill $(jobs -p)' EXIT"]
    for number, (text, _) in enumerate(commands()):
        ours = text.replace("4318", str(port)).replace("telemetry report", f"telemetry report --url {LOCAL}{port}")
        if ours.endswith("&"):
            ours = f'{ours[:-1]} --port {port} >collector.log 2>&1 &\npython -c "{AWAIT.format(port=port)}"'
        lines += [f"echo @@{number}", ours, "echo @@ $?"]
    return "\n".join(lines)


@pytest.mark.timeout(600)  # fifteen processes, some of which import two frameworks
def test_every_command_works_as_documented(tmp_path: Path) -> None:
    """Every command succeeds with the expected output, against a collector on a free port."""
    port = closed_port()
    environment = {
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]),
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "docs" / "example"), *filter(None, sys.path)]),
        "AUTOMAGIK_STATE_DIR": str(tmp_path / "state"),
    }
    done = subprocess.run(
        ["bash", "-c", script(port)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    printed = re.findall(r"@@\d+\n(.*?)@@ (\d+)\n", done.stdout, re.DOTALL)
    assert len(printed) == len(commands())
    for (text, expected), (output, code) in zip(commands(), printed, strict=True):
        pattern = re.escape(expected.replace("4318", str(port)).strip()).replace(re.escape("..."), ".*")
        assert code == "0", f"$ {text}\n{output}"
        assert re.fullmatch(re.sub(r"(\\ )+", r"\\s+", pattern), output.strip(), re.DOTALL), f"$ {text}\n{output}"


def test_every_step_has_its_mark() -> None:
    """Each part of the page has its ✅."""
    parts = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    assert [part.splitlines()[0] for part in parts if "✅" in part] == [
        "1. Agents",
        "2. Commands",
        "3. Web applications",
        "4. Environment",
        "Data flow",
        "Privacy",
        "Testing",
        "Monitoring",
    ]
