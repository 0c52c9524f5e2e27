"""The notice before the first send: printed once on stderr, in a run that sends nothing."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from automagik_telemetry.consent import _environment as variables
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.settings import without_credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automagik_processors import Kind
    from automagik_telemetry.consent._application import Application
    from automagik_telemetry.settings import Settings

    Catalogue = Mapping[str, Mapping[str, Kind]]

_COLUMNS = 80
TEXT = """\
{application} sends anonymous usage telemetry: which commands, agents and features are used, how long they take, \
and errors. It never sends messages, arguments, paths or undeclared names. A random ID identifies this installation.
The endpoint is {endpoint}. Nothing has been sent yet. Sending begins with the next command.
To opt out: automagik-telemetry disable {name}
To see every event that can be sent: automagik-telemetry events"""
"""The notice. Each line is a paragraph, which is wrapped to the terminal."""


def digest(catalogue: Catalogue) -> str:
    """Return a digest of the declared events, which changes with any event or field."""
    import hashlib

    kinds = {event: {name: kind.name for name, kind in fields.items()} for event, fields in catalogue.items()}
    return hashlib.sha256(json.dumps(kinds, sort_keys=True).encode()).hexdigest()[:16]


def reason_to_suppress(
    sender: Application, settings: Settings, catalogue: Catalogue, environ: Mapping[str, str] | None = None
) -> str | None:
    """Return the reason why this run of a command must not send, or None. Print the notice if it is due.

    The notice is about one application and one recipient. Without a terminal, or in continuous integration, nothing is
    printed, and nothing is sent unless the environment opts in explicitly.
    """
    scope = sender.scope(settings)
    if preferences.simulated is not None or scope is None:
        return None
    environ = os.environ if environ is None else environ
    current = digest(catalogue)
    if preferences.load().of(scope).notice == current:
        return None
    if variables.recognize(environ) or not _has_terminal():
        return None if settings.telemetry_enabled else "the notice has not been shown, because there is no terminal"
    try:
        preferences.change(lambda saved: saved.with_notice(scope, current))
    except OSError:
        return f"{preferences.path()} can't be written, so the notice can't be marked as shown"
    sys.stderr.write(_text(scope.application, without_credentials(sender.url(settings) or "")))
    return "the notice was shown in this run"


def _text(application: str, endpoint: str) -> str:
    """Return the notice, wrapped to the terminal."""
    # Only a run that shows it needs these.
    import shlex
    import textwrap

    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError, AttributeError):
        columns = 0
    wrap = textwrap.TextWrapper(columns or _COLUMNS, break_long_words=False, break_on_hyphens=False)
    parts = {"application": application, "endpoint": endpoint, "name": shlex.quote(application)}
    return "".join(f"{wrap.fill(paragraph.format(**parts))}\n" for paragraph in TEXT.splitlines())


def _has_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # stderr is None or closed
        return False
