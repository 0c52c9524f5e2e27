"""The notice before the first send: once, on stderr, with the command that turns it off; that run sends nothing."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from automagik_telemetry.consent import _environment as variables
from automagik_telemetry.consent import _preferences as preferences

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automagik_processors import Kind
    from automagik_telemetry.settings import Settings

    Catalogue = Mapping[str, Mapping[str, Kind]]

TEXT = """\
This application would like to send anonymous usage telemetry: which commands, agents and features are used, how long
they take, and what fails. Never messages, arguments, paths or names that nobody declared; a random id stands for you.
It goes to {endpoint}. Nothing has been sent; from the next command on it will be.
To turn it off: automagik-telemetry disable        To see all that can be sent: automagik-telemetry events
"""


def digest(catalogue: Catalogue) -> str:
    """Return what the catalogue of events comes to: another event or field gives another digest."""
    import hashlib  # noqa: PLC0415 - of the many who import this few are asked

    kinds = {event: {name: kind.name for name, kind in fields.items()} for event, fields in catalogue.items()}
    return hashlib.sha256(json.dumps(kinds, sort_keys=True).encode()).hexdigest()[:16]


def reason_to_suppress(
    settings: Settings, catalogue: Catalogue, environ: Mapping[str, str] | None = None
) -> str | None:
    """Return why this run of a command must send nothing yet, or None if it may; print the notice if it is due.

    Without a terminal, or in continuous integration, nothing is printed, and nothing sent unless the environment says
    so explicitly.
    """
    environ = os.environ if environ is None else environ
    current = digest(catalogue)
    if preferences.load().notice == current:
        return None
    if variables.recognize(environ) or not _has_terminal():
        return None if settings.telemetry_enabled else "the notice was not shown yet, and there is no terminal"
    try:
        preferences.save(notice=current)
    except OSError:
        return f"the notice can't be remembered in {preferences.path()}"
    sys.stderr.write(TEXT.format(endpoint=settings.telemetry_endpoint))
    return "the notice was shown just now"


def _has_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # none at all, or closed
        return False
