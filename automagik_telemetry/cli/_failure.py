"""Failures of a command: one line on stderr and exit code 2."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from automagik_telemetry._log import printable

if TYPE_CHECKING:
    from collections.abc import Iterator


class Failure(click.ClickException):
    """Failure of a command; the message is one sentence."""

    exit_code = 2

    def format_message(self) -> str:
        return printable(self.message)


@contextmanager
def saving(remedy: str = "") -> Iterator[None]:
    """Report a file that can't be written in this block, and a remedy.

    Raises:
        Failure: A file can't be written.
    """
    try:
        yield
    except OSError as error:
        text = f"{error.filename or 'A file'} can't be written: {error.strerror}. {remedy}"
        raise Failure(text.rstrip()) from None


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Report a module that can't be imported in this block, with the extra that installs it.

    Raises:
        Failure: A module is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise Failure(
            f"This command needs the package {error.name}. Install it: pip install 'automagik-telemetry[{extra}]'"
        ) from None
