"""The applications that a command is about: the one of this environment, or those with a given name."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, NamedTuple

import click

from automagik_telemetry.cli._failure import Failure
from automagik_telemetry.cli._output import printable, width
from automagik_telemetry.consent import _application as application
from automagik_telemetry.consent import _commands as commands
from automagik_telemetry.consent import _states as states
from automagik_telemetry.consent._application import Application, Given
from automagik_telemetry.consent.decision import Consent
from automagik_telemetry.handlers import _dictconfig as dictconfig
from automagik_telemetry.handlers._configuration import ConfigurationError
from automagik_telemetry.manager import current as current_manager
from automagik_telemetry.settings import DEFAULT_ENDPOINT, OFF, Settings, check_endpoint, check_name, variable_of

if TYPE_CHECKING:
    from automagik_telemetry.consent._states import State
    from automagik_telemetry.handlers.handler import BatchQueueHandler


class Mounted(NamedTuple):
    """The application that has mounted our commands. They are about this one alone.

    `service_name` and `endpoint` are None if they are those that it is configured with.
    """

    service_name: str | None = None
    endpoint: str | None = None


def mounted() -> Mounted | None:
    """Return the application in whose command line this command runs; None if it is our own."""
    context = click.get_current_context(silent=True)
    return None if context is None else context.find_object(Mounted)


class Configured(NamedTuple):
    """The sinks of a logging configuration, the strictest of each name; its mistake, if it has one; its source."""

    sinks: dict[str, BatchQueueHandler]
    error: ConfigurationError | None
    source: str

    @property
    def sender(self) -> Application:
        """The application that the telemetry sink sends for."""
        sink = self.sinks.get("telemetry")
        sender = (sink.sender if sink is not None else None) or application.used()
        return sender.stating(**(mounted() or Mounted())._asdict())

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
    """Read the logging configuration of this process, if it has one, else of this environment."""
    source, manager = dictconfig.source_of(settings), current_manager()
    try:
        builder = manager.builder if manager is not None else None
        built = (builder or dictconfig.builder_of(None, settings)).sinks()
    except ConfigurationError as error:
        return Configured({}, error, source)
    return Configured({sink.sink: sink for sink in sorted(built, key=lambda each: each.configured_level)}, None, source)


def listed(settings: Settings, found: Configured | None = None) -> list[State]:
    """Return the states of all applications that were granted or refused consent, by name.

    That of this environment is listed if it was, if a variable names it or its endpoint, or if there is no other.
    """
    found = found or configured(settings)
    own = found.state(settings)
    if mounted() is not None:
        return [own]
    rest = states.others(settings, found.sender)
    is_named = own.consent.asked or own.name != application.DEFAULT_NAME or own.endpoint != DEFAULT_ENDPOINT
    is_named = is_named or settings.telemetry_enabled is not None
    return sorted([own, *rest] if is_named or not rest else rest, key=lambda state: (state.name, state.endpoint or ""))


def own_name(settings: Settings) -> str:
    """Return the name of the application of this process or environment, as in its scope."""
    return configured(settings).sender.scope_name(settings)


def names(settings: Settings) -> set[str] | None:
    """Return the names under which the mounted application has queued events; None for those of all applications."""
    if mounted() is None:
        return None
    from automagik_telemetry.export._purge import names_of

    return names_of(own_name(settings), settings)


def by(*words: str, name: str | None = None) -> str:
    """Return a command about an application, or about all, as the user can run it here."""
    return commands.command(*words, application=None if mounted() else name)


def chosen(name: str | None, endpoint: str | None, found: Configured, settings: Settings) -> list[Application]:
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
    own = found.sender
    named = own.scope_name(settings)
    if endpoint is not None:
        given = Application(Given(service_name=name or named, endpoint=endpoint))
        if given.url(settings) != endpoint:
            variable = variable_of("telemetry_endpoint")
            raise Failure(f"{variable} is set and comes before --endpoint. Unset it, or leave --endpoint out.")
        return [given]
    if name is None or name == named:
        if obstacle := own.obstacle(settings):
            raise Failure(f"{obstacle}. Or name the endpoint here: --endpoint URL")
        return [own]
    known = states.senders_named(name, settings)
    if not known:
        raise Failure(
            f"{printable(name)} is not known here, because it was never granted or refused consent. "
            "Name its endpoint: --endpoint URL"
        )
    return known


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
