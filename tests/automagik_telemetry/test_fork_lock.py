"""The gate of late imports: they wait for no other, and a fork for all of them."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from automagik_telemetry._fork_lock import importing


def test_imports_wait_for_no_other() -> None:
    """Two threads may import at once, because one may wait for a module that the other imports."""
    inside, over = threading.Event(), threading.Event()
    met: list[bool] = []

    def hold() -> None:
        with importing:
            inside.set()
            met.append(over.wait(10))

    def pass_through() -> None:
        with importing, importing:
            over.set()

    threads = [threading.Thread(target=work, daemon=True) for work in (hold, pass_through)]
    threads[0].start()
    assert inside.wait(30)
    threads[1].start()
    for thread in threads:
        thread.join(30)
    assert met == [True]


FORK = """
import os, sys, threading
from automagik_telemetry._fork_lock import importing

inside, begins, said = threading.Event(), threading.Event(), []

def hold():
    with importing:
        inside.set()
        begins.wait(30)
        for _ in range(3_000_000):  # far longer than it takes to fork
            pass
        said.append("imported")

os.register_at_fork(before=begins.set)  # what is registered last is called first
thread = threading.Thread(target=hold)
thread.start()
inside.wait(30)
with importing:  # a thread does not wait for itself
    pid = os.fork()
with importing:
    said.append("child" if pid == 0 else "parent")
if pid:
    os.waitpid(pid, 0)
    thread.join()
    with importing:
        pass
print(*said, flush=True)
os._exit(0)
"""


@pytest.mark.fault(36)
def test_a_fork_waits_for_imports() -> None:
    """A child finds no import half done, and both sides can import afterwards."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["imported child", "imported parent"]
