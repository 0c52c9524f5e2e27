"""How a command fails: one line on stderr and exit code 2."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


class Failure(click.ClickException):
    """A command cannot do what it was asked; the message is one sentence."""

    exit_code = 2


@contextmanager
def saving() -> Iterator[None]:
    """Files of the user's are written in this block.

    Raises:
        Failure: one of them can't be.
    """
    try:
        yield
    except OSError as error:
        raise Failure(f"{error.filename or 'A file'} can't be written: {error.strerror}") from None


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Imports in this block come with an extra of this package.

    Raises:
        Failure: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise Failure(
            f"This command needs {error.name}, which comes with: pip install 'automagik-telemetry[{extra}]'"
        ) from None
