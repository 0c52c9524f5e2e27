"""Gives a store's owner access to the collector that has it open, because DuckDB lets one process open a file.

While a collector runs, a file beside its store has its URL, and a token that is valid until it ends. Only the owner of
the store can read it.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from automagik_telemetry.collector._files import new_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automagik_telemetry.collector._store import Store

CONTROL_PATH: Final = "/api/control"

_HERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - a collector may listen there


class Control(NamedTuple):
    """The way to a running collector."""

    url: str
    token: str
    certificate: str | None
    """The file of its TLS certificate."""

    def verify(self) -> ssl.SSLContext | bool:
        """Return TLS settings that accept this certificate alone, under any host name."""
        if self.certificate is None:
            return True
        context = ssl.create_default_context(cafile=self.certificate)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


def make(url: str, token: str, certificate: str | Path | None) -> Control:
    """Return the way to a collector: by a loopback address, if it listens on every address."""
    for everywhere, here in _HERE.items():
        url = url.replace(f"//{everywhere}:", f"//{here}:")
    return Control(url, token, None if certificate is None else str(Path(certificate).absolute()))


def write(store: Path, control: Control) -> None:
    """Write the file, if its folder can be written."""
    with contextlib.suppress(OSError), new_file(_file(store)) as file:
        file.write_text(json.dumps(control._asdict()), encoding="utf-8")


def read(store: Path) -> Control | None:
    """Return the way to the collector that has a store open; None if its owner has no such file."""
    file = _file(store)
    try:
        if os.name == "posix" and file.stat().st_uid not in {os.geteuid(), store.stat().st_uid}:
            return None
        return Control(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError):
        return None


def remove(store: Path) -> None:
    """Remove the file."""
    with contextlib.suppress(OSError):
        _file(store).unlink(missing_ok=True)


def perform(store: Store, action: str, arguments: Sequence[str]) -> dict[str, int]:
    """Perform an action: `forget` installs, `export` to a file, or `backup` to a file.

    Returns:
        The numbers of what was deleted or written, by name.

    Raises:
        StoreError: The store or the file cannot be written.
        ValueError: There is no such action, or it has another number of arguments.
    """
    match action, arguments:
        case "forget", [*installs]:
            return store.forget(*installs)
        case "export", [target]:
            return {"events": store.export(Path(target))}
        case "backup", [target]:
            return {"bytes": store.backup(Path(target))}
    raise ValueError(action)


def _file(store: Path) -> Path:
    store = store.resolve()
    return store.with_name(f"{store.name}.control")
