"""The state of each application: where it sends, how much, and why. All commands and the notice read it here."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.consent import _records as records
from automagik_telemetry.consent._application import DEFAULT_NAME, Application, Given, Scope
from automagik_telemetry.consent.decision import Consent, decide_telemetry
from automagik_telemetry.settings import LEVELS, OFF, without_credentials

if TYPE_CHECKING:
    from automagik_telemetry.settings import Settings

_NAMES = {number: name for name, number in LEVELS.items()}


class State(NamedTuple):
    """The state of an application: its endpoint, its consent, and what it needs before it sends."""

    name: str
    endpoint: str | None
    """The endpoint, without credentials and its query; None if there is none."""
    consent: Consent
    scope: Scope | None
    command: str = ""
    is_blocked: bool = False
    """True if commands on a terminal send nothing, because the notice can't be marked as shown."""

    @property
    def level(self) -> str:
        """The name of the level."""
        return level_name(self.consent.level)

    @property
    def state(self) -> Literal["on", "local", "off"]:
        """The state in one word."""
        return "off" if not self.consent.given else "local" if self.consent.local else "on"

    def as_dict(self) -> dict[str, Any]:
        """Return the state as JSON holds it."""
        return {
            "application": self.name,
            "on": self.state == "on",
            "state": self.state,
            "reason": self.consent.reason,
            "level": self.level,
            "level_reason": self.consent.limit or None,
            "endpoint": self.endpoint,
            "recipient": None if self.scope is None else self.scope.recipient,
            "command": self.command or None,
        }

    def sentence(self) -> str:
        """Return the state as one line."""
        if not self.consent.given:
            would = f" Would send to {self.endpoint}." if self.endpoint else ""
            return f"{self.name}: off ({self.consent.reason}).{would}"
        if self.consent.local:
            would = f"Records what it would send to {self.endpoint}, and sends nothing"
            return f"{self.name}: local ({self.consent.reason}). {would}; level {self.level.lower()}."
        blocked = " Commands on a terminal send nothing: the notice can't be saved." if self.is_blocked else ""
        return (
            f"{self.name}: on ({self.consent.reason}). Sends to {self.endpoint}; level {self.level.lower()}.{blocked}"
        )


def level_name(level: int) -> str:
    """Return the name of a level."""
    return _NAMES.get(level) or logging.getLevelName(level)


def state_of(sender: Application, settings: Settings, limit: Consent | None = None, command: str = "") -> State:
    """Return the state of an application. `limit` is a level or mistake of its logging configuration."""
    consent = decide_telemetry(settings, sender=sender)
    if consent.given and (obstacle := sender.obstacle(settings)) is not None:
        consent = consent._replace(level=OFF, reason=obstacle)
    if consent.given and limit is not None and limit.level > consent.level:
        reason = limit.reason if not limit.given else consent.reason
        consent = consent._replace(level=limit.level, reason=reason, limit=limit.limit)
    url, scope = sender.url(settings), sender.scope(settings)
    is_blocked = consent.given and scope is not None and _needs_notice(scope, settings)
    return State(
        sender.scope_name(settings), without_credentials(url) if url else None, consent, scope, command, is_blocked
    )


def _needs_notice(scope: Scope, settings: Settings) -> bool:
    """Return whether the notice was not shown, and can't be marked as shown."""
    if settings.telemetry_enabled and not preferences.can_save():
        return preferences.load().of(scope).notice is None
    return False


def scopes(settings: Settings, application: str | None) -> list[Scope]:
    """Return each recipient that an application, or any, has had.

    The environment of this process decides nothing here: it may name another recipient than the data had.
    """
    found = {record.scope for record in records.read(settings)}
    found |= {scope for scope in preferences.load().scopes if scope.recipient != preferences.ANY}
    return sorted(scope for scope in found if application in {None, scope.application})


def others(settings: Settings, current: Application) -> list[State]:
    """Return the states of all other applications that were granted or refused consent, by name.

    Endpoints are those of the records. An application without a record has the recipient of its choice.
    """
    own = current.scope(settings)
    return [
        state_of(sender, settings, command=command)
        for scope, (sender, command) in sorted(_known(settings).items())
        if scope != own
    ]


def senders_named(name: str, settings: Settings) -> list[Application]:
    """Return what is known of an application: one sender for each of its recipients."""
    found = [sender for scope, (sender, _) in _known(settings).items() if scope.application == name]
    if not found and name == DEFAULT_NAME:
        return [Application(Given(service_name=name))]
    return found


def _known(settings: Settings) -> dict[Scope, tuple[Application, str]]:
    """Return each application that was granted or refused consent, with the command that runs it; records first."""
    found: dict[Scope, tuple[Application, str]] = {}
    for record in records.read(settings):
        if (scope := record.sender.scope(settings)) is not None:
            found.setdefault(scope, (record.sender, record.command))
    for scope, choice in preferences.load().scopes.items():
        sender = Application(Given(service_name=scope.application, endpoint=scope.recipient))
        if choice.enabled is not None and scope.recipient != preferences.ANY and (known := sender.scope(settings)):
            found.setdefault(known, (sender, ""))
    return found
