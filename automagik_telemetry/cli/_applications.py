"""The applications that a command is about: the one of this environment, or those with a given name."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, NamedTuple

import click

from automagik_telemetry.cli._failure import Failure
from automagik_telemetry.cli._output import printable, width
from automagik_telemetry.consent import _application as application
from automagik_telemetry.consent import _states as states
from automagik_telemetry.consent._application import Application, Given
from automagik_telemetry.consent.decision import Consent
from automagik_telemetry.handlers import _dictconfig as dictconfig
from automagik_telemetry.handlers._configuration import ConfigurationError
from automagik_telemetry.settings import DEFAULT_ENDPOINT, OFF, Settings, check_endpoint, check_name, variable_of

if TYPE_CHECKING:
    from automagik_telemetry.consent._states import State
    from automagik_telemetry.handlers.handler import BatchQueueHandler


class Configured(NamedTuple):
    """The sinks of the logging configuration of this environment, the strictest of each name, and its mistake."""

    sinks: dict[str, BatchQueueHandler]
    error: ConfigurationError | None
    source: str

    @property
    def sender(self) -> Application:
        """The application that the telemetry sink sends for."""
        sink = self.sinks.get("telemetry")
        return (sink.sender if sink is not None else None) or application.current()

    def limit(self, name: str, settings: Settings) -> Consent:
        """Return how much the configuration lets a sink send."""
        if self.error is not None:
            return Consent(OFF, dictconfig.reason_for_off(self.error, settings))
        if name not in self.sinks:
            return Consent(OFF, f"{self.source} has no {name} sink")
        level = self.sinks[name].configured_level
        reason = f"the level in {self.source} is {states.level_name(level)}"
        return Consent(level, reason, limit=reason)

    def state(self, settings: Settings) -> State:
        """Return the state of the application of this environment."""
        return self.state_of(self.sender, settings)

    def state_of(self, sender: Application, settings: Settings) -> State:
        """Return the state of an application, with the level of the configuration if it is that of this environment."""
        is_own = sender.scope(settings) == self.sender.scope(settings)
        return states.state_of(sender, settings, self.limit("telemetry", settings) if is_own else None)


def configured(settings: Settings) -> Configured:
    """Read the logging configuration of this environment."""
    source = dictconfig.source_of(settings)
    try:
        built = dictconfig.builder_of(None, settings).sinks()
    except ConfigurationError as error:
        return Configured({}, error, source)
    return Configured({sink.sink: sink for sink in sorted(built, key=lambda each: each.configured_level)}, None, source)


def listed(settings: Settings, found: Configured | None = None) -> list[State]:
    """Return the states of all applications that were granted or refused consent, by name.

    That of this environment is listed if it was, if a variable names it or its endpoint, or if there is no other.
    """
    found = found or configured(settings)
    own = found.state(settings)
    rest = states.others(settings, found.sender)
    is_named = own.consent.asked or own.name != application.DEFAULT_NAME or own.endpoint != DEFAULT_ENDPOINT
    is_named = is_named or settings.telemetry_enabled is not None
    return sorted([own, *rest] if is_named or not rest else rest, key=lambda state: (state.name, state.endpoint or ""))


def chosen(name: str | None, endpoint: str | None, settings: Settings) -> list[Application]:
    """Return the application with a name, once for each recipient; by default that of this environment.

    Raises:
        Failure: The name or the endpoint is not valid, or the application has no endpoint that is known.
    """
    check_application(name)
    try:
        if endpoint is not None:
            check_endpoint(endpoint)
    except ValueError as error:
        raise Failure(f"--endpoint must be {error}.") from None
    own = configured(settings).sender
    scope = own.scope(settings)
    own_name = own.name(settings) if scope is None else scope.application
    if endpoint is not None:
        given = Application(Given(service_name=name or own_name, endpoint=endpoint))
        if given.url(settings) != endpoint:
            variable = variable_of("telemetry_endpoint")
            raise Failure(f"{variable} is set and comes before --endpoint. Unset it, or leave --endpoint out.")
        return [given]
    if name is None or name == own_name:
        if obstacle := own.obstacle(settings):
            raise Failure(f"{obstacle}. Or name the endpoint here: --endpoint URL")
        return [own]
    found = states.senders_named(name, settings)
    if not found:
        raise Failure(
            f"{printable(name)} is not known here, because it was never granted or refused consent. "
            "Name its endpoint: --endpoint URL"
        )
    return found


def check_application(name: str | None) -> None:
    """Check the argument APPLICATION. Raises Failure if it is not a name."""
    try:
        if name is not None:
            check_name(name)
    except ValueError as error:
        raise Failure(f"APPLICATION must be {error}.") from None


def show(state: State) -> None:
    """Print a state as one line, or wrapped to the terminal."""
    echo(state.sentence())


def echo(text: str) -> None:
    """Print a paragraph. It is wrapped on a terminal, and a word is never broken."""
    text, columns = printable(text), width()
    if columns:
        indent = " " * (len(text) - len(text.lstrip()) + 2)
        text = textwrap.fill(text, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    click.echo(text)
