"""A small record of each application that was granted or refused consent, so that commands know where it sends.

An application writes it when it is configured. An application that was never asked has no record.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from automagik_telemetry._failsafe import attempt
from automagik_telemetry._private_files import read_private, replace_private
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.consent._application import Application, Given, Scope
from automagik_telemetry.consent._commands import program
from automagik_telemetry.settings import check_endpoint, check_name, origin_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automagik_telemetry.settings import Settings

_MAX_BYTES = 8_192
_MAX_SERVICES = 20
_ENDING = ".record"


class Record(NamedTuple):
    """An application as it was configured last: its name, its endpoint and the command that runs it.

    Args:
        name: The name of the application, as in its scope.
        endpoint: The URL that it sends to.
        command: The command that runs it, such as "bookshop", without its directory; "" if it is not known.
        services: Other `service.name` values that it has used.
    """

    name: str
    endpoint: str
    command: str = ""
    services: tuple[str, ...] = ()

    @property
    def scope(self) -> Scope:
        """The scope of its consent."""
        return Scope(self.name, origin_of(self.endpoint))

    @property
    def sender(self) -> Application:
        """The application, as it describes itself."""
        return Application(Given(service_name=self.name, endpoint=self.endpoint))


def remember(sender: Application, settings: Settings) -> None:
    """Write the record of an application that was granted or refused consent, if it changes. Nothing is raised."""
    scope = sender.scope(settings)
    if scope is not None and preferences.simulated is None:
        attempt(_write, sender, scope, settings)


def _write(sender: Application, scope: Scope, settings: Settings) -> None:
    if _is_own_command():
        return
    directory = identity.state_directory(settings.state_dir)
    path = os.path.join(identity.folder_of(directory, scope.application), _name(scope))
    before = _read(path)
    services = before.services if before is not None else ()
    if (service := sender.name(settings)) not in {scope.application, *services}:
        services = (*services, service)[-_MAX_SERVICES:]
    record = Record(scope.application, sender.url(settings) or "", program(), services)
    if record != before:
        identity.make_folder(directory, scope.application)
        replace_private(path, json.dumps(record._asdict()))


def _is_own_command() -> bool:
    """Return whether this process is `automagik-telemetry`, which acts for other applications."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return bool(spec.name.partition(".")[0] == __name__.partition(".")[0])
    return os.path.basename(next(iter(getattr(sys, "argv", None) or ()), "")) == "automagik-telemetry"


def _name(scope: Scope) -> str:
    import hashlib

    return hashlib.sha256(scope.recipient.encode()).hexdigest()[:16] + _ENDING


def read(settings: Settings) -> list[Record]:
    """Return the records of all applications of this user, by name."""
    directory = identity.state_directory(settings.state_dir)
    return sorted({record for folder in identity.folders(directory) for record in _in(folder)})


def _in(folder: str) -> Iterator[Record]:
    try:
        names = [name for name in os.listdir(folder) if name.endswith(_ENDING)]
    except OSError:
        return
    for name in sorted(names):
        record = _read(os.path.join(folder, name))
        if record and os.path.basename(folder) == os.path.basename(identity.folder_of("", record.name)):
            yield record


def _read(path: str) -> Record | None:
    """Return the record in a file; None if there is none, or it is malformed."""
    try:
        return _parsed(json.loads(read_private(path, _MAX_BYTES)))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _parsed(fields: Any) -> Record:
    """Return a record. Raises KeyError, TypeError or ValueError if it is malformed."""
    services = fields["services"]
    if not isinstance(services, list):
        raise TypeError
    record = Record(str(fields["name"]), str(fields["endpoint"]), str(fields["command"]), tuple(map(str, services)))
    check_name(record.name)
    check_endpoint(record.endpoint)
    if not all(text.isprintable() for text in (*record[:3], *services)):
        raise ValueError
    return record
