"""The functions with which an application shows, asks for and changes the consent of its user."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO

from automagik_telemetry.consent import _application as application
from automagik_telemetry.consent import _notice as notice
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.consent import _states as states
from automagik_telemetry.consent.decision import Consent, is_unanswered
from automagik_telemetry.settings import OFF, Settings, origin_of, variable_of

if TYPE_CHECKING:
    from automagik_telemetry.consent._application import Application, Scope

_YES = frozenset({"y", "yes"})


class ConsentStatus(NamedTuple):
    """The consent of the user to one application and its recipient.

    Args:
        application: The name of the application.
        recipient: The origin of its endpoint, such as "https://telemetry.example.com"; None if it has no endpoint.
        state: "on" if usage may be sent, "local" if it is recorded and not sent, else "off".
        reason: The variable, file, command or answer that decided.
        level: The lowest level of events that are sent: "DEBUG", "INFO", "ERROR", "CRITICAL" or "OFF".
    """

    application: str
    recipient: str | None
    state: Literal["on", "local", "off"]
    reason: str
    level: str


def status(service_name: str | None = None, *, endpoint: str | None = None) -> ConsentStatus:
    """Return the consent of the user, as it is now. Nothing is changed or printed.

    Args:
        service_name: The name of the application. Default: that of `configure()`, logging.yaml or the environment.
        endpoint: The URL that it sends to. Default: as above.

    Returns:
        The state and the reason.

    Raises:
        TypeError: An argument is of another type.
        ValueError: The name or the URL is not valid.
    """
    return _status(_sender(service_name, endpoint))


def grant(service_name: str | None = None, *, endpoint: str | None = None) -> ConsentStatus:
    """Save that the user has agreed, such as in a dialog of the application. Call it for nothing else.

    What the user refused stays refused: a saved refusal, `withdraw()` included, an opt-out variable or an opt-out file.
    Only the commands of `telemetry_commands()` and `automagik-telemetry on` change that. A grant counts from the next
    process, or the next call of `configure()`.

    Args:
        service_name: The name of the application. Default: that of `configure()`, logging.yaml or the environment.
        endpoint: The URL that it sends to. Default: as above.

    Returns:
        The state afterwards.

    Raises:
        OSError: The choice can't be saved.
        TypeError: An argument is of another type.
        ValueError: The name or the URL is not valid, the application has no endpoint, or
            AUTOMAGIK_TELEMETRY_ENDPOINT names another recipient than `endpoint`.
    """
    sender = _sender(service_name, endpoint)
    _check_recipient(sender, endpoint, Settings.from_environ())
    _grant(sender, None)
    return _status(sender)


def withdraw(service_name: str | None = None, *, endpoint: str | None = None) -> ConsentStatus:
    """Save that the user does not agree, or no longer, and delete the events that wait to be sent.

    It covers every recipient of the application. Running processes stop within a second.

    Args:
        service_name: The name of the application. Default: that of `configure()`, logging.yaml or the environment.
        endpoint: The URL that it sends to. Default: as above.

    Returns:
        The state afterwards.

    Raises:
        OSError: The choice can't be saved. The variable DO_NOT_TRACK=1 opts out without a file.
        TypeError: An argument is of another type.
        ValueError: The name or the URL is not valid.
    """
    sender = _sender(service_name, endpoint)
    _refuse(sender, None)
    return _status(sender)


def ask(service_name: str | None = None, *, endpoint: str | None = None) -> bool:
    """Ask the user once whether usage may be sent, and save the answer. The default answer is no.

    Nothing is printed unless stdin and stderr are a terminal, and this process is in its foreground. Nor is anything
    printed if the user has answered before, if a variable or file opts out, in continuous integration, or if the answer
    can't be saved. An answer counts from the next process, or the next call of `configure()`.

    Args:
        service_name: The name of the application. Default: that of `configure()`, logging.yaml or the environment.
        endpoint: The URL that it sends to. Default: as above.

    Returns:
        Whether usage may be sent.

    Raises:
        KeyboardInterrupt: The user pressed Ctrl-C. No answer is saved.
        TypeError: An argument is of another type.
        ValueError: The name or the URL is not valid, or AUTOMAGIK_TELEMETRY_ENDPOINT names another recipient than
            `endpoint`.
    """
    sender, settings = _sender(service_name, endpoint), Settings.from_environ()
    _check_recipient(sender, endpoint, settings)
    is_terminal = notice.is_terminal(sys.stderr) and notice.is_terminal(sys.stdin) and _is_in_foreground(sys.stdin)
    is_due = is_terminal and sender.scope(settings) is not None and is_unanswered(settings, sender)
    is_due = is_due and _limit(sender, settings).given
    if is_due and preferences.simulated is None and preferences.can_save():
        sys.stderr.write(f"{notice.text(sender, settings, asks=True)}Send it? [y/N] ")
        sys.stderr.flush()
        if answer := sys.stdin.readline():  # else the terminal was closed
            is_yes = answer.strip().lower() in _YES
            with contextlib.suppress(OSError):
                (_grant if is_yes else _refuse)(sender, preferences.ASKED)
    return _status(sender).state == "on"


def _sender(service_name: str | None, endpoint: str | None) -> Application:
    """Return the application of this process, or another one. Raises TypeError or ValueError."""
    arguments: dict[str, Any] = {"service_name": service_name, "endpoint": endpoint}
    application.check(arguments)
    return application.used().stating(**arguments)


def _check_recipient(sender: Application, endpoint: str | None, settings: Settings) -> None:
    """Raise ValueError if a variable names another recipient than the argument, which would be granted instead."""
    scope = sender.scope(settings)
    if endpoint is not None and scope is not None and scope.recipient != origin_of(endpoint):
        variable = variable_of("telemetry_endpoint")
        raise ValueError(f"{variable} is set and comes before endpoint: unset it, or leave endpoint out")


def _is_in_foreground(terminal: TextIO) -> bool:
    """Return whether this process may read from its terminal. A process in the background would be stopped."""
    if not hasattr(os, "tcgetpgrp"):  # on Windows
        return True
    try:
        return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except (OSError, ValueError):  # it is the terminal of others
        return False


def _status(sender: Application) -> ConsentStatus:
    settings = Settings.from_environ()
    state = states.state_of(sender, settings, _limit(sender, settings))
    recipient = None if state.scope is None else state.scope.recipient
    return ConsentStatus(state.name, recipient, state.state, state.consent.reason, state.level)


def _limit(sender: Application, settings: Settings) -> Consent:
    """Return how much the application's own configuration lets its telemetry sink send."""
    level = application.configured_level(sender.scope(settings), settings)
    reason = f"the level of the telemetry sink is {states.level_name(level)}"
    return Consent(level, reason, limit=reason)


def _grant(sender: Application, by: str | None) -> None:
    settings = Settings.from_environ()
    scope = sender.scope(settings)
    if scope is None:
        raise ValueError(sender.obstacle(settings) or "the endpoint is not a valid URL")
    if is_unanswered(settings, sender):
        preferences.change(lambda saved: saved if _is_refused(saved, scope) else saved.granted(scope, by))


def _is_refused(saved: preferences.Choices, scope: Scope) -> bool:
    return saved.refusal(scope) is not None or saved.level(scope) == OFF


def _refuse(sender: Application, by: str | None) -> None:
    name = sender.scope_name(Settings.from_environ())
    preferences.change(lambda saved: saved.refused(name, by))
    for delete in application.on_withdrawal.values():
        delete(name)
