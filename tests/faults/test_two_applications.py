"""Two applications of different makers and one user: what their recipients get has nothing in common."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.automagik_telemetry.conftest import Receiver, fields

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = """
import click
from automagik_telemetry import configure
from automagik_telemetry.integrations.click import track_cli_command

tracing = configure(service_name={name!r}, endpoint={url!r})

@click.command()
@track_cli_command("agent list")
def main():
    if tracing.telemetry:
        tracing.telemetry.track_feature_usage("one undeclared word")

main(standalone_mode=False)
if tracing.telemetry:
    print(tracing.flush(20))
"""


@pytest.fixture
def receivers() -> Iterator[list[Receiver]]:
    """Two running receivers."""
    found = [Receiver(), Receiver()]
    threads = [threading.Thread(target=each.server.serve_forever, kwargs={"poll_interval": 0.01}) for each in found]
    for thread in threads:
        thread.start()
    yield found
    for each, thread in zip(found, threads, strict=True):
        each.server.shutdown()
        thread.join()
        each.server.server_close()


def run(home: Path, variables: dict[str, str], program: str) -> tuple[str, str]:
    """Run a program with a terminal as its stderr; return its stdout and stderr."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    mine, its = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=home, env=environment, stdout=subprocess.PIPE, stderr=its, check=True
        )
        printed = os.read(mine, 65_536).decode() if select.select([mine], [], [], 0)[0] else ""
    finally:
        os.close(its)
        os.close(mine)
    return done.stdout.decode(), printed


def ours(home: Path, *arguments: str) -> str:
    """Run a command of ours as the user; return its output."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "automagik_telemetry", *arguments]
    return subprocess.run(command, env=environment, cwd=home, check=True, capture_output=True, text=True).stdout


def sent(receiver: Receiver) -> dict[str, Any]:
    """Return all in a receiver's one request that may identify a user."""
    ((_, _, body),) = receiver.requests
    (resource,) = body["resourceSpans"]
    shown = fields(resource["resource"])
    spans = resource["scopeSpans"][0]["spans"]
    hashes = [value for span in spans for value in fields(span).values() if str(value).startswith("custom-")]
    return {
        "user.id": shown["user.id"],
        "session.id": shown["session.id"],
        "hash of one word": hashes[0],
        "trace IDs": sorted({span["traceId"] for span in spans}),
    }


@pytest.mark.fault(90, 91)
def test_nothing_is_equal(tmp_path: Path, receivers: list[Receiver]) -> None:
    """Notices name the real recipients; ids, sessions and hashes of one word differ; `status` lists both."""
    home = tmp_path / "somebody"
    home.mkdir()
    names = ["bookshop", "bakery"]
    programs = [
        PROGRAM.format(name=name, url=f"{receiver.url}/v1/traces")
        for name, receiver in zip(names, receivers, strict=True)
    ]
    assert [run(home, {}, program) for program in programs] == [("", "")] * 2
    assert list(home.iterdir()) == []
    notices = []
    for program in programs:
        out, notice = run(home, {"AUTOMAGIK_TELEMETRY_ENABLED": "true"}, program)
        assert out == ""
        notices.append(notice)
    for name, receiver, notice, other in zip(names, receivers, notices, reversed(receivers), strict=True):
        assert f"{name} sends usage data with a random ID to {receiver.url}." in notice
        assert other.url not in notice
        assert receiver.requests == []
    ours(home, "on", "bookshop")
    assert [run(home, {}, program)[0] for program in programs] == ["True\n", ""]
    assert [len(receiver.requests) for receiver in receivers] == [1, 0]
    ours(home, "on", "bakery")
    assert run(home, {}, programs[1])[0] == "True\n"
    first, second = map(sent, receivers)
    assert [key for key in first if first[key] == second[key]] == []
    shown = json.loads(ours(home, "status", "--json"))["applications"]
    assert [(each["application"], each["endpoint"]) for each in shown] == [
        ("bakery", f"{receivers[1].url}/v1/traces"),
        ("bookshop", f"{receivers[0].url}/v1/traces"),
    ]
    ours(home, "off", "bakery")
    assert [run(home, {}, program)[0] for program in programs] == ["True\n", ""]
    assert [len(receiver.requests) for receiver in receivers] == [2, 1]
