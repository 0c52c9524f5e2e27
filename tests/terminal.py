"""A process on a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CONTROLLED = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Runs a command in the foreground of the terminal that is its stdin."""


def on_terminal(
    arguments: Sequence[str], environment: Mapping[str, str], *, columns: int = 80, answer: str = ""
) -> tuple[int, str]:
    """Run a command on a terminal, which types an answer; return its exit code and its output without that."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    echoing = termios.tcgetattr(its)
    echoing[3] &= ~termios.ECHO
    termios.tcsetattr(its, termios.TCSANOW, echoing)
    environment = {"TERM": "xterm", **environment}
    process = subprocess.Popen(
        [sys.executable, "-ISc", _CONTROLLED, *arguments],
        env=environment,
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    os.write(mine, answer.encode())
    output = b""
    while True:
        try:
            if not (found := os.read(mine, 65_536)):
                break
        except OSError:  # the terminal's end
            break
        output += found
    os.close(mine)
    return process.wait(60), output.decode().replace("\r\n", "\n")
