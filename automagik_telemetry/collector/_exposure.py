"""Decides who may use a collector: tokens of senders and readers, and the names by which it may be called."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import tomllib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from automagik_telemetry.collector._errors import ExposureError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MIN_TOKEN_CHARACTERS: Final = 16
_OTHERS_MAY_READ: Final = 0o077
_EXAMPLE: Final = 'token = "...", applications = ["shop"], read = false'


class Access(NamedTuple):
    """The rights of a token."""

    applications: frozenset[str] | None
    """The applications whose events it may send; None for all."""
    read: bool
    """True if it may read the report and the metrics."""
    control: bool = False
    """True if it may delete installs and write files."""


EVERYTHING: Final = Access(None, read=True)
"""The rights of everyone on this machine, where no tokens are given."""

_OWNER: Final = Access(None, read=True, control=True)


class Exposure:
    """The rules of access to a collector.

    Args:
        host: The address that it listens on.
        tokens: A TOML file of tokens, with a table `[[token]]` for each: `token`, `applications`, and `read`.
        names: Names by which it may be called, beside `localhost` and its addresses.
        control: The token of the owner of the store.

    Raises:
        ExposureError: The address can be reached from other machines and there are no tokens, or the file is wrong.
    """

    def __init__(
        self, host: str, tokens: Path | None = None, names: Iterable[str] = (), control: str | None = None
    ) -> None:
        self.is_local = is_loopback(host)
        if tokens is None and not self.is_local:
            raise ExposureError(
                f"Other machines can reach {host}, so that senders and readers need tokens. Give a file of them with "
                "--tokens, or listen on 127.0.0.1."
            )
        self._names = {"localhost", host.lower(), *(name.lower() for name in names)}
        self._default = EVERYTHING if tokens is None else None
        self._tokens = [] if tokens is None else _load(tokens)
        if control is not None:
            self._tokens.append((_digest(control), _OWNER))

    def is_host(self, host: str | None) -> bool:
        """Return whether a Host header names this collector. Any other name may be DNS rebinding."""
        if host is None:
            return False
        name = host.lower()
        name = name.rpartition(":")[0] if name.rpartition("]")[2].count(":") == 1 else name
        return name in self._names or _is_address(name.strip("[]"))

    def access(self, authorization: str | None) -> Access | None:
        """Return the rights that an Authorization header gives, or None if it has no known token."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return self._default
        digest = _digest(token.strip())
        # All are compared, so that timing reveals nothing.
        found = [access for known, access in self._tokens if hmac.compare_digest(known, digest)]
        return found[0] if found else self._default


def is_loopback(host: str) -> bool:
    """Return whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _load(file: Path) -> list[tuple[bytes, Access]]:
    try:
        if os.name == "posix" and file.stat().st_mode & _OTHERS_MAY_READ:
            raise ExposureError(f"Other users may read the tokens in {file}. Protect it: chmod 600 {file}")
        tables = tomllib.loads(file.read_text(encoding="utf-8"))["token"]
        found = [(_digest(_token(table["token"])), _access(table)) for table in tables]
    except OSError as error:
        raise ExposureError(f"The tokens in {file} can't be read: {error.strerror}.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ExposureError(
            f"{file} is not a file of tokens. It needs a table [[token]] for each, with {_EXAMPLE}. A token has at "
            f"least {_MIN_TOKEN_CHARACTERS} characters."
        ) from error
    if not found:
        raise ExposureError(f"There are no tokens in {file}. Add a table [[token]], with {_EXAMPLE}.")
    return found


def _token(value: Any) -> str:
    if not isinstance(value, str) or len(value) < _MIN_TOKEN_CHARACTERS or not value.isascii() or " " in value:
        raise ValueError("token")
    return value


def _access(table: dict[str, Any]) -> Access:
    applications, read = table.get("applications", []), table.get("read", False)
    if table.keys() - {"token", "applications", "read"} or not isinstance(read, bool):
        raise ValueError("keys")
    if not isinstance(applications, list) or not all(isinstance(name, str) for name in applications):
        raise TypeError("applications")
    return Access(frozenset(applications), read)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
