"""Private directories and files: owned by this user, with mode 0700 or 0600, and not a link."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from automagik_telemetry._descriptors import Descriptor, standard_descriptors_kept

if TYPE_CHECKING:
    from collections.abc import Iterator


class UnsafeDirectoryError(OSError):
    """A path that is not private: owned by another user, a link, or open to others."""


def private_directory(path: str) -> str:
    """Create the private directory `path` (0700) and its parents if missing, and return it.

    Raises:
        UnsafeDirectoryError: It exists and is not private.
        OSError: It can't be created.
    """
    if not os.path.isabs(path):
        raise UnsafeDirectoryError(f"{path!r} must be an absolute path")
    path = os.path.normpath(path)  # a trailing slash would follow a link
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or (os.name == "posix" and not _is_private(status)):
        raise UnsafeDirectoryError(f"{path!r} must be a directory of your own with mode 0700")
    return path


def owner_of_home() -> int | None:
    """Return the user that the home directory belongs to, if this process is root's and it is another user's.

    `sudo` may keep the user's home directory. What root creates there, the user could not use later.
    """
    if os.name != "posix" or os.geteuid() != 0:
        return None
    try:
        owner = os.stat(os.path.expanduser("~")).st_uid
    except OSError:
        return None
    return owner or None


def open_private(path: str, flags: int) -> Descriptor:
    """Open a private file with `flags`; a new one gets mode 0600. Raises OSError if it is not private."""
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    with standard_descriptors_kept():
        number = os.open(path, flags, 0o600)
    descriptor = Descriptor.of_file(number, path)
    status = os.fstat(descriptor.number)
    if not stat.S_ISREG(status.st_mode) or (os.name == "posix" and not _is_private(status)):
        descriptor.close()
        raise UnsafeDirectoryError(f"{path!r} must be a file of your own with mode 0600")
    return descriptor


def read_private(path: str, limit: int = 4096) -> str:
    """Return the text of a small private file. Raises FileNotFoundError, or OSError if it is not private."""
    descriptor = open_private(path, os.O_RDONLY)
    try:
        return os.read(descriptor.number, limit).decode("utf-8", "replace").strip()
    finally:
        descriptor.close()


def create_private(path: str, text: str) -> bool:
    """Create a small private file atomically; return False if it exists. Raises OSError."""
    with _draft(path, text) as draft:
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
    return True


def replace_private(path: str, text: str) -> None:
    """Create or replace a small private file atomically. Raises OSError."""
    with _draft(path, text) as draft:
        os.replace(draft, path)


@contextlib.contextmanager
def _draft(path: str, text: str) -> Iterator[str]:
    """Write a private draft beside `path`, and delete it at the end of the block unless it was renamed."""
    draft = f"{path}.{os.urandom(8).hex()}"
    descriptor = open_private(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        try:
            os.write(descriptor.number, text.encode())
        finally:
            descriptor.close()
        yield draft
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)


def _is_private(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & 0o077
