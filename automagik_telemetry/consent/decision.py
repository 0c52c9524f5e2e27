"""Decides how much may be sent, and names the reason: the strictest of the environment and the saved choice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from automagik_telemetry.consent import _application as application
from automagik_telemetry.consent import _commands as commands
from automagik_telemetry.consent import _environment as environment
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.settings import DEBUG, LEVELS, OFF, TRACE_SINKS, Settings, is_valid, variable_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Consent"]

OPT_OUT_FILE = "~/.automagik-no-tracing"
_TELEMETRY_OPT_OUT_FILE = "~/.automagik-no-telemetry"
_NAMES = {number: name for name, number in LEVELS.items()}
DEFAULT_LEVEL = LEVELS["INFO"]
"""The level of telemetry, if the user has set none."""


class Consent(NamedTuple):
    """The lowest level of an event that may be sent, and the reason.

    Args:
        level: A level of `logging`, or `OFF` (60).
        reason: The variable, file or command that decided, such as "AUTOMAGIK_TELEMETRY_ENABLED is false".
        refused: "everywhere" if the user refused in a saved choice or file, "here" if a variable of this process
            refuses. None if nothing was refused: consent was given, was never asked for, or can't be determined.
        limit: The variable or file that set the level, such as "AUTOMAGIK_TELEMETRY_LEVEL is ERROR". Empty if the level
            is the default one, or nothing may be sent.
        asked: True if there is a grant to this application, or a refusal of it alone.
        local: True if events are recorded, and none may be sent.
    """

    level: int
    reason: str
    refused: Literal["here", "everywhere"] | None = None
    limit: str = ""
    asked: bool = False
    local: bool = False

    @property
    def given(self) -> bool:
        """True if anything at all may be sent, or recorded if it is `local`."""
        return self.level < OFF

    def strictest(self, other: Consent) -> Consent:
        """Return the stricter of two decisions.

        Args:
            other: The other decision.

        Returns:
            The one with the higher level; this one, if the levels are equal.
        """
        return other if other.level > self.level else self


def decide_telemetry(
    settings: Settings, environ: Mapping[str, str] | None = None, sender: application.Application | None = None
) -> Consent:
    """Return how much anonymous usage telemetry an application may send, by default the current one.

    Telemetry is opt-in, every opt-out turns it off, and of several levels the strictest holds.
    """
    scope = (sender or application.current()).scope(settings)
    return _decide(settings, environ, lambda saved: _chosen(settings, saved, scope))


def decide_any(settings: Settings) -> Consent:
    """Return whether any application may send telemetry, before it is known which one this process is."""

    def chosen(saved: preferences.Choices) -> Consent:
        consents = [_chosen(settings, saved, scope) for scope in (None, *saved.scopes)]
        return min(consents, key=lambda consent: consent.level)

    return _decide(settings, None, chosen)


def _decide(
    settings: Settings, environ: Mapping[str, str] | None, chosen: Callable[[preferences.Choices], Consent]
) -> Consent:
    if consent := _opt_out(settings):
        return consent
    consent = _telemetry_opt_out(settings, environ)
    if consent is None and settings.telemetry_enabled is False:
        consent = Consent(OFF, "AUTOMAGIK_TELEMETRY_ENABLED is false", _by("AUTOMAGIK_TELEMETRY_ENABLED"))
    if consent is None and settings.telemetry_endpoint is None:
        consent = Consent(OFF, "AUTOMAGIK_TELEMETRY_ENDPOINT is not a valid URL")
    if consent is not None and consent.refused:
        return consent
    # A refusal counts also where something else keeps telemetry off, as in CI: what is queued is deleted.
    saved = preferences.load()
    if saved is preferences.UNREADABLE:
        reason = f"{preferences.path()} is malformed or can't be read; `automagik-telemetry enable` replaces it"
        return consent or Consent(OFF, reason)
    choice = chosen(saved)
    is_refusal = choice.refused == "everywhere" and not choice.given
    return choice if consent is None or is_refusal else consent


def _chosen(settings: Settings, saved: preferences.Choices, scope: application.Scope | None) -> Consent:
    """Return the stricter of the environment and the saved choice of a scope, if no opt-out holds."""
    choice = saved.of(scope)
    if refusal := saved.refusal(scope):
        by = _source(refusal, "disabled")
        return Consent(OFF, by, "everywhere", asked=saved.is_about(scope))
    if not settings.telemetry_enabled and not choice.enabled and not saved.everything.enabled:
        on = commands.own("on") or "automagik-telemetry enable"
        return Consent(OFF, f"not opted in, neither by AUTOMAGIK_TELEMETRY_ENABLED nor by `{on}`")
    reason = "AUTOMAGIK_TELEMETRY_ENABLED is true"
    if not settings.telemetry_enabled or choice.local:
        reason = _source(choice, "enabled")
    return _limited(
        Consent(DEFAULT_LEVEL, reason, asked=True, local=choice.local), settings.telemetry_level, saved, scope
    )


def _source(choice: preferences.Choice, state: str) -> str:
    """Return the source of a saved choice."""
    if choice.by == preferences.ASKED:
        return "you answered when it asked"
    return f"you ran `{choice.by}`" if choice.by else f"{state} in {preferences.path()}"


def is_unanswered(settings: Settings, sender: application.Application) -> bool:
    """Return whether nothing but the user's own answer keeps telemetry off."""
    scope, consent = sender.scope(settings), decide_telemetry(settings, sender=sender)

    def granted(saved: preferences.Choices) -> Consent:
        return _limited(Consent(DEFAULT_LEVEL, ""), settings.telemetry_level, saved, scope)

    return not consent.given and consent.refused is None and _decide(settings, None, granted).given


def _limited(
    consent: Consent, by_variable: int | None, saved: preferences.Choices, scope: application.Scope | None
) -> Consent:
    """Return the consent with the stricter of the variable's and the saved level, if any is set."""
    variable, by_choice = "AUTOMAGIK_TELEMETRY_LEVEL", saved.level(scope)
    refused: Literal["here", "everywhere"] | None = "everywhere"
    level = max((level for level in (by_variable, by_choice) if level is not None), default=None)
    if level is None:
        return consent
    if level == by_choice:
        limit = f"the level in {preferences.path()} is {_NAMES[level]}"
    else:
        limit, refused = f"{variable} is {_NAMES[level]}", _by(variable)
    if level < OFF:
        return consent._replace(level=level, refused=refused, limit=limit)
    return Consent(OFF, limit, refused, asked=level == by_choice and saved.is_about(scope))


def prints_only(settings: Settings, sender: application.Application | None = None) -> bool:
    """Return whether this process prints its events and sends nothing, in development mode."""
    mode = application.debug_mode(settings)
    if not mode or environment.unsupported() is not None:
        return False
    return not decide_telemetry(settings, sender=sender).given


def decide_observability(settings: Settings) -> Consent:
    """Return whether full traces may be sent to any destination of the user's own.

    The key of a destination opts in, also in continuous integration and test runs; every opt-out turns traces off.
    """
    if consent := _opt_out(settings):
        return consent
    if settings.observability_enabled is False:
        return Consent(OFF, "AUTOMAGIK_OBSERVABILITY_ENABLED is false", _by("AUTOMAGIK_OBSERVABILITY_ENABLED"))
    for sink in TRACE_SINKS.values():
        if getattr(settings, sink.key) is not None:
            return Consent(LEVELS["DEBUG"], f"{variable_of(sink.key)} is set")
    if settings.observability_enabled:
        return Consent(LEVELS["DEBUG"], "AUTOMAGIK_OBSERVABILITY_ENABLED is true")
    keys = " or ".join(variable_of(sink.key) for sink in TRACE_SINKS.values())
    return Consent(OFF, f"not opted in: {keys} is not set")


def decide_sink(name: str, settings: Settings, sender: application.Application | None = None) -> Consent:
    """Return how much may be sent by the sink of this name. A sink of traces needs its key and its endpoint."""
    if name not in TRACE_SINKS:
        return decide_telemetry(settings, sender=sender)
    sink = TRACE_SINKS[name]
    consent = decide_observability(settings)
    if consent.given and getattr(settings, sink.key) is None:
        return Consent(OFF, f"{variable_of(sink.key)} is not set")
    if consent.given and getattr(settings, sink.endpoint) is None:
        return Consent(OFF, f"{variable_of(sink.endpoint)} is not a valid URL")
    return consent


def _opt_out(settings: Settings) -> Consent | None:
    """Return the opt-out that turns every sink off, or None."""
    if application.debug_mode(settings) == DEBUG:
        return Consent(OFF, "development mode, which prints events and sends none")
    variables = (
        (settings.disable_all_tracing, "AUTOMAGIK_DISABLE_ALL_TRACING", "is set"),
        (not settings.tracing_enabled, "AUTOMAGIK_TRACING_ENABLED", "is false"),
        (settings.do_not_track, "DO_NOT_TRACK", "is set"),
        (settings.otel_sdk_disabled, "OTEL_SDK_DISABLED", "is set"),
    )
    for is_off, variable, state in variables:
        if is_off:
            return Consent(OFF, f"{variable} {state}", _by(variable))
    if _exists(OPT_OUT_FILE):
        return Consent(OFF, f"the file {OPT_OUT_FILE} exists", "everywhere")
    reason = environment.unsupported()
    return None if reason is None else Consent(OFF, reason)


def _by(variable: str) -> Literal["here"] | None:
    """Return the scope of a refusal by a variable. An invalid value turns telemetry off, but refuses nothing."""
    return "here" if is_valid(variable) else None


def _telemetry_opt_out(settings: Settings, environ: Mapping[str, str] | None) -> Consent | None:
    """Return the opt-out or the kind of run that turns telemetry off, but not the user's own traces, or None."""
    if _exists(_TELEMETRY_OPT_OUT_FILE):
        return Consent(OFF, f"the file {_TELEMETRY_OPT_OUT_FILE} exists", "everywhere")
    variables = os.environ if environ is None else environ
    named = variables.get("ENVIRONMENT", "").strip().lower()
    if named in environment.DEVELOPMENT and not settings.telemetry_enabled:
        return Consent(OFF, f"ENVIRONMENT is {named}")
    if settings.enable_in_ci:
        return None
    reason = environment.recognize(variables) or (environment.test_runner() if environ is None else None)
    return None if reason is None else Consent(OFF, reason)


def _exists(file: str) -> bool:
    """Return whether a file of the home directory exists, or may exist."""
    if preferences.simulated is not None:
        return False
    try:
        Path(file).expanduser().lstat()
    except (FileNotFoundError, NotADirectoryError, RuntimeError):  # RuntimeError: there is no home directory
        return False
    except OSError:  # a home directory that can't be read may hold the file
        return True
    return True
