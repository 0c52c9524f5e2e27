"""The anonymous ID, the hash key and the session ID of one application at one recipient.

They are derived from two secrets of 32 random bytes: one of the application, stored in a file of 0600 in the state
directory, and one of this process. The derivation is keyed BLAKE2b of the recipient, so that two recipients can't join
what they receive, nor can two applications. The stored secret is made when events may first be sent. Without a state
directory it belongs to this process alone.
"""

from __future__ import annotations

import os
import re
import sys
import uuid
from functools import cache
from typing import TYPE_CHECKING

from automagik_telemetry._private_files import create_private, owner_of_home, private_directory, read_private
from automagik_telemetry._process import at_fork, kept
from automagik_telemetry.consent._application import Scope
from automagik_telemetry.consent.decision import decide_telemetry

if TYPE_CHECKING:
    from automagik_telemetry.consent._application import Application
    from automagik_telemetry.settings import Settings

_FOLDER = "applications"
_SECRET = "secret"  # noqa: S105 - the name of a file
_HEX = r"[0-9a-f]{64}"  # compiled when a file is read, because a process that is off reads none
_EARLIER = ("anonymous_id", "hash_key")
"""Files of earlier versions, which had one ID for all applications and recipients."""


class Identity:
    """The IDs and the key with which an application sends to a recipient.

    Args:
        scope: The application and the recipient.
        directory: The state directory; "", which can't hold any file, for an identity of this process alone.
    """

    def __init__(self, scope: Scope, directory: str) -> None:
        self._scope = scope
        self._directory = directory

    @property
    def anonymous_id(self) -> str:
        """The random ID (a version 4 UUID) of this installation of the application, for this recipient."""
        return _anonymous_id(self._secret(), self._scope)

    @property
    def hash_key(self) -> bytes:
        """The hash key of undeclared strings, 32 bytes. It is never sent."""
        return _derived(self._secret(), "hash key", self._scope.recipient)

    @property
    def session_id(self) -> str:
        """The random ID (a version 4 UUID) of this process, for this application and recipient."""
        return _uuid(_derived(_session(), "session", "\n".join(self._scope)))

    def _secret(self) -> bytes:
        return _stored(self._directory, self._scope.application)


def of(sender: Application, settings: Settings) -> Identity:
    """Return the identity of an application. It is one of this process alone if nothing is sent."""
    if sender.scope(settings) is None or not decide_telemetry(settings, sender=sender).given:
        return _identity(sender, settings, "")
    return stored(sender, settings)


def stored(sender: Application, settings: Settings) -> Identity:
    """Return the identity of an application that sends. Nothing is stored if it sends no ID."""
    return _identity(sender, settings, state_directory(settings.state_dir) if sender.has_id(settings) else "")


def _identity(sender: Application, settings: Settings, directory: str) -> Identity:
    return Identity(sender.scope(settings) or Scope(sender.name(settings), ""), directory)


def state_directory(configured: str | None) -> str:
    """Return the state directory: `configured`, or the platform's default. It need not exist."""
    if configured:
        return configured
    if owner_of_home() is not None:  # root in another user's home uses its own
        return _state_directory_of_root()
    import platformdirs

    return platformdirs.user_state_dir("automagik-telemetry", appauthor=False)


def _state_directory_of_root() -> str:
    if sys.platform == "win32":  # which has no root
        raise OSError
    import pwd

    return os.path.join(pwd.getpwuid(0).pw_dir, ".local", "state", "automagik-telemetry")


def folder_of(directory: str, name: str) -> str:
    """Return the folder of an application in the state directory. It need not exist."""
    import hashlib

    return os.path.join(directory, _FOLDER, hashlib.sha256(name.encode()).hexdigest()[:16])


def folders(directory: str) -> list[str]:
    """Return the folders of all applications in the state directory."""
    root = os.path.join(directory, _FOLDER)
    try:
        return [os.path.join(root, name) for name in sorted(os.listdir(root))]
    except OSError:
        return []


def make_folder(directory: str, name: str) -> str:
    """Create the folder of an application if it is missing, and return it. Raises OSError."""
    private_directory(directory)
    private_directory(os.path.join(directory, _FOLDER))
    return private_directory(folder_of(directory, name))


def reset(directory: str, name: str | None) -> int:
    """Delete the secret of an application, or of all, and the files of earlier versions; return how many there were.

    Raises OSError if one can't be deleted.
    """
    _stored.cache_clear()
    chosen = folders(directory) if name is None else [folder_of(directory, name)]
    paths = [os.path.join(folder, _SECRET) for folder in chosen] + [os.path.join(directory, each) for each in _EARLIER]
    count = 0
    for path in paths:
        try:
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        count += 1
    return count


def existing_id(directory: str, scope: Scope) -> str | None:
    """Return the anonymous ID of an application for a recipient; None if it has none. It makes none."""
    try:
        text = read_private(os.path.join(folder_of(directory, scope.application), _SECRET))
    except OSError:
        return None
    return _anonymous_id(bytes.fromhex(text), scope) if re.fullmatch(_HEX, text) else None


@cache
def _stored(directory: str, name: str) -> bytes:
    """Return the secret of an application, created if there is none; a secret of this process without a file."""
    fresh = os.urandom(32).hex()
    try:
        path = os.path.join(make_folder(directory, name), _SECRET)
        while not create_private(path, fresh):
            if re.fullmatch(_HEX, text := read_private(path)):
                return bytes.fromhex(text)
            os.unlink(path)
    except OSError:
        pass
    return bytes.fromhex(fresh)


def _random_secret() -> bytes:
    return os.urandom(32)


_session = kept("session secret", lambda: cache(_random_secret))
at_fork(__name__, after_in_child=_session.cache_clear)


def forget() -> None:
    """Read the stored secrets again, and begin a new session, as a new process does. For tests."""
    _stored.cache_clear()
    _session.cache_clear()


def _derived(secret: bytes, purpose: str, recipient: str) -> bytes:
    import hashlib

    return hashlib.blake2b(recipient.encode(), key=secret, person=purpose.encode(), digest_size=32).digest()


def _anonymous_id(secret: bytes, scope: Scope) -> str:
    return _uuid(_derived(secret, "anonymous ID", scope.recipient))


def _uuid(derived: bytes) -> str:
    return str(uuid.UUID(bytes=derived[:16], version=4))
