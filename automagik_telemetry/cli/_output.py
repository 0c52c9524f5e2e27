"""Output of the commands: its width, colours, and a destination that can't be written."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from automagik_telemetry._log import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["printable", "wants_no_colour", "width", "writing"]

_MIN_WIDTH = 20


def width() -> int:
    """Return the columns of the terminal; 0 if the output is not one, because a line is easier to search then."""
    return max(shutil.get_terminal_size().columns, _MIN_WIDTH) if sys.stdout.isatty() else 0


def wants_no_colour() -> bool:
    """Return whether the environment asks for plain text (no-color.org)."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


@contextmanager
def writing() -> Iterator[None]:
    """End the process with one line and exit code 2 if its output can't be written, such as on a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPIPE or error.filename is not None:  # click ends quietly; or it is another file
            raise
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - else it is flushed again at exit
        click.echo(f"Error: The output can't be written: {error.strerror}.", err=True)
        sys.exit(2)
