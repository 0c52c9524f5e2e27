"""Directories and files that are this user's alone: 0700 and 0600, never someone else's, never a link."""

from __future__ import annotations

import contextlib
import os
import stat

from automagik_telemetry._descriptors import Descriptor, Identity, standard_descriptors_kept


class UnsafeDirectoryError(OSError):
    """A directory that is not ours alone: someone else's, a link, or open to others."""


def private_directory(path: str) -> str:
    """Make `path` a directory for this user alone (0700) and return it; its parents are made if missing.

    Raises UnsafeDirectoryError if it exists otherwise, OSError if it can't be made.
    """
    if not os.path.isabs(path):
        raise UnsafeDirectoryError(f"{path!r} is not an absolute path")
    path = os.path.normpath(path)  # a slash at its end would follow a link
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or (os.name == "posix" and not _ours_alone(status)):
        raise UnsafeDirectoryError(f"{path!r} must be a directory of your own with mode 0700")
    return path


def open_private(path: str, flags: int) -> Descriptor:
    """Open a file of ours with `flags` and return its descriptor; a new one gets 0600. Raises OSError if not ours."""
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    with standard_descriptors_kept():
        number = os.open(path, flags, 0o600)
    # Another process, which takes over what is left, may have removed it.
    descriptor = Descriptor(number, Identity.of_unlinked(number) or Identity.of(path))
    status = os.fstat(descriptor.number)
    if not stat.S_ISREG(status.st_mode) or (os.name == "posix" and not _ours_alone(status)):
        descriptor.close()
        raise UnsafeDirectoryError(f"{path!r} must be a file of your own with mode 0600")
    return descriptor


def read_private(path: str, limit: int = 4096) -> str:
    """Return the text of a small file of ours. Raises FileNotFoundError, or OSError if it isn't ours."""
    descriptor = open_private(path, os.O_RDONLY)
    try:
        return os.read(descriptor.number, limit).decode("utf-8", "replace").strip()
    finally:
        descriptor.close()


def create_private(path: str, text: str) -> bool:
    """Write a new small file at once, whole or not at all; False if another process was first. Raises OSError."""
    draft = f"{path}.{os.urandom(8).hex()}"
    descriptor = open_private(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        os.write(descriptor.number, text.encode())
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        descriptor.close()
        os.unlink(draft)
    return True


def _ours_alone(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & 0o077
