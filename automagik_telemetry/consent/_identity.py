"""Who sends, without saying who: random ids that are derived from nothing.

The anonymous id and the salt are made when something may first be sent, kept in files of 0600 in the state directory,
and known to this process alone where there is no such directory. The session id is this process's.
"""

from __future__ import annotations

import os
import re
import uuid
from functools import cache

from automagik_telemetry._private_files import create_private, private_directory, read_private

# Compiled where a file is read: a process that is off reads none.
_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_SALT = r"[0-9a-f]{64}"


def state_directory(configured: str | None) -> str:
    """Return the state directory: `configured`, or the platform's place for it. It need not exist."""
    if configured:
        return configured
    import platformdirs  # noqa: PLC0415 - only a process that may send needs it

    return platformdirs.user_state_dir("automagik-telemetry", appauthor=False)


@cache
def anonymous_id(directory: str) -> str:
    """Return the random id (a version 4 UUID) of this installation, made at the first call."""
    return _kept(directory, "anonymous_id", _ID, str(uuid.uuid4()))


@cache
def hash_key(directory: str) -> bytes:
    """Return the 32 random bytes that key the hashes of undeclared words. They never leave the machine."""
    return bytes.fromhex(_kept(directory, "salt", _SALT, os.urandom(32).hex()))


@cache
def session_id() -> str:
    """Return the random id (a version 4 UUID) of this process."""
    return str(uuid.uuid4())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=session_id.cache_clear)


def _kept(directory: str, name: str, shape: str, fresh: str) -> str:
    """Return the value in a file, `fresh` if there is none yet; a value for this process only if there can't be one."""
    try:
        path = os.path.join(private_directory(directory), name)
        while not create_private(path, fresh):
            if re.fullmatch(shape, text := read_private(path)):
                return text
            os.unlink(path)
    except OSError:
        pass
    return fresh
