"""The application that sends: its name, version and organization, its endpoint, and the arguments of `configure()`.

The first source that has a value is used: an argument of `configure()`, a handler's parameter in logging.yaml, a
variable AUTOMAGIK_*, OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES, the default. AUTOMAGIK_TELEMETRY_ENDPOINT comes
before all other endpoints. The default endpoint and organization belong to one application, and no other has them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from automagik_telemetry._process import kept
from automagik_telemetry.settings import (
    DEBUG,
    DEFAULT_ENDPOINT,
    NO_ID,
    VERBOSE,
    Settings,
    check_endpoint,
    check_identity,
    check_name,
    defaults,
    origin_of,
    variable_of,
    without_credentials,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFAULT_NAME: Final = "automagik-agents"
"""The application that the default endpoint and organization belong to."""
_DEFAULT_ORGANIZATION: Final = "namastex"
UNKNOWN_VERSION: Final = "unknown"
_MAX_SHOWN_CHARACTERS = 80
_CHECKS: Final = {"endpoint": check_endpoint, "privacy_url": check_endpoint, "identity": check_identity}


class Given(NamedTuple):
    """The arguments of `configure()`; None, or an empty `debug`, if one was not given."""

    service_name: str | None = None
    service_version: str | None = None
    organization: str | None = None
    endpoint: str | None = None
    sample_rate: float | None = None
    debug: str = ""
    package: str | None = None
    """The top-level package of the module that called it."""
    privacy_url: str | None = None
    """The page about its telemetry."""


_kept: Final[dict[str, Given]] = kept("arguments of configure", dict[str, Given])
on_withdrawal: Final[dict[str, Callable[[str], object]]] = kept("on withdrawal", dict[str, Any])
"""Called with the name of an application whose user has withdrawn consent: they delete what is queued."""
_kept_sender: Final[dict[str, tuple[Application, int]]] = kept("application", dict[str, Any])


def given() -> Given:
    """Return the arguments of the latest call of `configure()`."""
    return _kept.get("given", Given())


def give(arguments: Given) -> Given:
    """Replace the arguments, and return those before."""
    before = given()
    _kept["given"] = arguments
    _kept_sender.clear()
    return before


def checked(arguments: dict[str, Any], sample_rate: object, debug: object, package: str | None) -> Given:
    """Return the arguments of `configure()`, checked.

    Raises TypeError or ValueError, with the name of the argument and what is allowed.
    """
    check(arguments)
    if sample_rate is not None:
        if isinstance(sample_rate, bool) or not isinstance(sample_rate, int | float):
            raise TypeError(f"sample_rate must be a number, got {type(sample_rate).__name__}")
        if not 0 <= sample_rate <= 1:
            raise ValueError(f"sample_rate must be between 0 and 1, got {sample_rate}")
    if debug is not True and debug is not False and debug != VERBOSE:
        raise ValueError(f"debug must be True, False or {VERBOSE!r}, got {_shown(debug)}")
    mode = VERBOSE if debug == VERBOSE else DEBUG if debug else ""
    return Given(**arguments, sample_rate=sample_rate, debug=mode, package=package)


def check(arguments: dict[str, Any]) -> None:
    """Check names, URLs and the identity. Raises TypeError or ValueError, as `checked` does."""
    for name, value in arguments.items():
        if value is None:
            continue
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a str, got {type(value).__name__}")
        try:
            _CHECKS.get(name, check_name)(value)
        except ValueError as error:
            raise ValueError(f"{name} must be {error}, got {_shown(value)}") from None


def _shown(value: object) -> str:
    text = without_credentials(value) if isinstance(value, str) else type(value).__name__
    shown = ascii(text[:_MAX_SHOWN_CHARACTERS])
    return shown if len(text) <= _MAX_SHOWN_CHARACTERS else f"{shown}... ({len(text)} characters)"


def package_of(module: dict[str, Any]) -> str | None:
    """Return the top-level package of a module, by its variables; None for a script."""
    spec = module.get("__spec__")
    name = getattr(spec, "name", None) or module.get("__name__")
    return name.partition(".")[0] if isinstance(name, str) and name != "__main__" else None


def debug_mode(settings: Settings) -> str:
    """Return the development mode: `DEBUG`, `VERBOSE`, or an empty string. The variable comes before the argument."""
    return given().debug if settings.debug is None else settings.debug


class Scope(NamedTuple):
    """Everything that one consent covers: an application, and the recipient, which is the origin of its endpoint.

    The saved choice, the notice, the anonymous ID, the hash key and the session ID each belong to one scope.
    """

    application: str
    recipient: str


class Application(NamedTuple):
    """The application, as one handler has it: the parameters of the handler are the second source."""

    given: Given
    service_name: str | None = None
    service_version: str | None = None
    organization: str | None = None
    endpoint: str | None = None
    identity: str | None = None
    """`NO_ID` if no ID is sent, whatever the environment allows."""
    service: str | None = None
    """The `service.name` of a process that has left something, whatever the scope of its consent is."""

    def name(self, settings: Settings) -> str:
        """Return the name of the application."""
        return next(filter(None, self._names(settings)))

    def _names(self, settings: Settings) -> Iterator[str | None]:
        yield self.service
        yield from self._own_names(settings)
        yield settings.otel_service_name
        yield (settings.otel_resource or {}).get("service.name")
        yield DEFAULT_NAME

    def _own_names(self, settings: Settings) -> Iterator[str | None]:
        yield from (self.given.service_name, self.service_name, settings.service_name)

    def scope(self, settings: Settings) -> Scope | None:
        """Return the scope of consent; None if the application has no endpoint.

        A name that only a variable of OpenTelemetry sets does not count, because a deployment may set any.
        """
        url = self.url(settings)
        if not url:
            return None
        return Scope(next(filter(None, (*self._own_names(settings), DEFAULT_NAME))), origin_of(url))

    def scope_name(self, settings: Settings) -> str:
        """Return the name in the scope of consent; without an endpoint, the name that is sent."""
        scope = self.scope(settings)
        return self.name(settings) if scope is None else scope.application

    def stating(self, **arguments: str | None) -> Application:
        """Return the application with these arguments of `configure()`. One that is None stays as it is."""
        stated: dict[str, Any] = {name: value for name, value in arguments.items() if value is not None}
        return self._replace(given=self.given._replace(**stated))

    def version(self, settings: Settings) -> str:
        """Return the version of the application. It may read the metadata of distributions."""
        stated = (
            *(self.given.service_version, self.service_version, settings.service_version),
            (settings.otel_resource or {}).get("service.version"),
        )
        if found := next(filter(None, stated), None):
            return found
        # A process that sends nothing, or states its version, must not import this.
        from automagik_telemetry.consent._distribution import version_of

        return version_of(self.given.package) or UNKNOWN_VERSION

    def has_id(self, settings: Settings) -> bool:
        """Return whether IDs of the installation and the process are sent."""
        return NO_ID not in {self.identity, settings.telemetry_identity}

    def organization_of(self, settings: Settings) -> str | None:
        """Return the organization, if there is one."""
        default = _DEFAULT_ORGANIZATION if self.name(settings) == DEFAULT_NAME else None
        return self.given.organization or self.organization or default

    def url(self, settings: Settings) -> str | None:
        """Return the endpoint of telemetry; None if the application has none. It is "" if the variable is not valid."""
        variable = variable_of("telemetry_endpoint")
        if os.environ.get(variable, "").strip() or variable in defaults:
            return settings.telemetry_endpoint or ""
        default = DEFAULT_ENDPOINT if self.name(settings) == DEFAULT_NAME else None
        return self.given.endpoint or self.endpoint or default

    def obstacle(self, settings: Settings) -> str | None:
        """Return the reason why there is no telemetry sink, and the remedy; None if there is an endpoint."""
        if self.url(settings) is not None:
            return None
        return (
            f"{self.name(settings)} has no telemetry endpoint, because the default one belongs to {DEFAULT_NAME}; "
            f"pass one to configure(endpoint=...) or set {variable_of('telemetry_endpoint')}"
        )

    def resource(self, settings: Settings) -> dict[str, str]:
        """Return the attributes of the application in a request's resource."""
        organization = self.organization_of(settings)
        return {
            "service.name": self.name(settings),
            "service.version": self.version(settings),
            **({} if organization is None else {"service.organization": organization}),
        }


def current() -> Application:
    """Return the application without the parameters of any handler."""
    return Application(given())


def use(sender: Application, level: int) -> None:
    """Record the application of this process, as its telemetry sink has it, and the configured level of that."""
    _kept_sender["used"] = sender, level


def used() -> Application:
    """Return the application of this process, as its sink has it if one was made."""
    return _kept_sender["used"][0] if "used" in _kept_sender else current()


def configured_level(scope: Scope | None, settings: Settings) -> int:
    """Return the level that is configured for a scope, whatever the user allows; 0 if it is not known."""
    sender, level = _kept_sender.get("used", (current(), 0))
    return level if scope == sender.scope(settings) else 0


def of_handler(**parameters: str | None) -> Application:
    """Return the application of a handler with these parameters. Raises TypeError or ValueError, as `checked` does."""
    check(parameters)
    return Application(given(), **parameters)
