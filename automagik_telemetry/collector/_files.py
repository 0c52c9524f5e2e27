"""Writes a file as a whole or not at all, for its owner only."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Give a path to write to, in a folder of its own beside the target; at the end the file replaces the target.

    Raises:
        OSError: The folder can't be made, or the file can't replace the target.
    """
    target = target.resolve()  # a symbolic link to it stays one
    folder = _folder_of(target)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        file = folder / target.name
        yield file
        file.chmod(0o600)
        _sync(file)
        file.replace(target)
        if os.name == "posix":
            _sync(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep_owner(target: Path, file: Path) -> None:
    """Give a new file to the owner of the one that it replaces, if this process may."""
    if os.name == "posix":
        before = target.stat()
        with suppress(PermissionError):
            os.chown(file, before.st_uid, before.st_gid)


def remove_unfinished(target: Path) -> None:
    """Remove what `new_file` left when the process was killed."""
    shutil.rmtree(_folder_of(target), ignore_errors=True)


def protect(path: Path) -> None:
    """Let no other user read a DuckDB file and its write-ahead log, which is created anew after each checkpoint."""
    for file in (path, write_ahead_log(path)):
        with suppress(FileNotFoundError):
            file.chmod(0o600)


def write_ahead_log(path: Path) -> Path:
    """Return the path of the write-ahead log of a DuckDB file."""
    path = path.resolve()  # DuckDB puts it beside the file, not beside a link
    return path.with_name(f"{path.name}.wal")


def _folder_of(target: Path) -> Path:
    target = target.resolve()
    return target.with_name(f".{target.name}.unfinished")


def _sync(path: Path) -> None:
    """Write a file or folder to the disk."""
    # Windows syncs only what may be written.
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
