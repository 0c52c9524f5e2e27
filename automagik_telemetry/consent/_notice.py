"""The notice before the first send, in four short lines: printed once on stderr, in a run that sends nothing."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from automagik_telemetry.consent import _commands as commands
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
_MIN_COLUMNS = 20
_SENDS = "{application} sends usage data{with_id} to {recipient}."
_WOULD_SEND = "{application} would like to send usage data{with_id} to {recipient}."
_CONTENT = "Never your texts, arguments or paths. Nothing has been sent yet."
_OPT_OUT = "To opt out: {off}, or DO_NOT_TRACK=1"
_PAGE = "To read more: {page}"


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
    printed, and nothing is sent unless the environment opts in explicitly. A grant counts as the notice of the events
    that the application has at its next run. A `local` choice sends nothing, and needs no notice.
    """
    scope = sender.scope(settings)
    choice = preferences.load().of(scope)
    current, shown = digest(catalogue), choice.notice
    if preferences.simulated is not None or scope is None or shown == current or choice.local:
        return None
    environ = os.environ if environ is None else environ
    is_granted = shown == preferences.GRANTED
    if not is_granted and (variables.recognize(environ) or not is_terminal(sys.stderr)):
        return None if settings.telemetry_enabled else "the notice has not been shown, because there is no terminal"
    try:
        preferences.change(lambda saved: saved.with_notice(scope, current))
    except OSError:
        reason = f"{preferences.path()} can't be written, so the notice can't be marked as shown"
        return None if is_granted else reason
    if is_granted:
        return None
    sys.stderr.write(text(sender, settings))
    return "the notice was shown in this run"


def text(sender: Application, settings: Settings, *, asks: bool = False) -> str:
    """Return the notice, wrapped to the terminal. If it `asks`, the user has granted nothing yet."""
    # Only a run that shows it needs this.
    import textwrap

    scope = sender.scope(settings)
    application = sender.scope_name(settings)
    parts = {
        "application": application,
        "with_id": " with a random ID" if sender.has_id(settings) else "",
        "recipient": without_credentials(sender.url(settings) or "") if scope is None else scope.recipient,
        "off": commands.command("off", application=application),
        "page": sender.given.privacy_url or commands.command("events"),
    }
    wrap = textwrap.TextWrapper(_columns(), subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    lines = (_WOULD_SEND if asks else _SENDS, _CONTENT, _OPT_OUT, _PAGE)
    return "".join(f"{wrap.fill(line.format(**parts))}\n" for line in lines)


def _columns() -> int:
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError, AttributeError):
        columns = 0
    return max(columns or _COLUMNS, _MIN_COLUMNS)


def is_terminal(stream: object) -> bool:
    """Return whether a standard stream is a terminal. It may be None or closed."""
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]  # it may be anything
    except (AttributeError, ValueError):
        return False
