"""How much may leave, and which rule decided: the strictest of all that the user has said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from automagik_telemetry.consent import _environment as environment
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.settings import LEVELS, OFF, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

OPT_OUT_FILE = "~/.automagik-no-tracing"
_NAMES = {number: name for name, number in LEVELS.items()}


class Consent(NamedTuple):
    """The lowest level of event that may leave, and the rule that decided it, with where it was set."""

    level: int
    rule: str

    @property
    def given(self) -> bool:
        """Whether anything at all may leave."""
        return self.level < OFF


def decide_telemetry(settings: Settings, environ: Mapping[str, str] | None = None) -> Consent:
    """Return how much anonymous usage telemetry may leave: opt-in, off by any switch, and the strictest level."""
    if rule := _off_switch(settings, os.environ if environ is None else environ):
        return Consent(OFF, rule)
    if settings.telemetry_enabled is False:
        return Consent(OFF, "AUTOMAGIK_TELEMETRY_ENABLED is false")
    if settings.telemetry_endpoint is None:
        return Consent(OFF, "AUTOMAGIK_TELEMETRY_ENDPOINT is no usable URL")
    return _chosen(settings, preferences.load())


def _chosen(settings: Settings, saved: preferences.Choice) -> Consent:
    """Return what the environment's word and the saved one come to, once no switch is off."""
    if saved is preferences.UNREADABLE:
        return Consent(OFF, f"{preferences.path()} can't be understood; `automagik-telemetry enable` writes it anew")
    if saved.enabled is False:
        return Consent(OFF, f"disabled in {preferences.path()}")
    if not settings.telemetry_enabled and not saved.enabled:
        return Consent(OFF, "not opted in, neither by AUTOMAGIK_TELEMETRY_ENABLED nor by `automagik-telemetry enable`")
    by = "AUTOMAGIK_TELEMETRY_ENABLED is true" if settings.telemetry_enabled else f"enabled in {preferences.path()}"
    consent = Consent(LEVELS["DEBUG"], by)
    limits = (
        (settings.telemetry_level, "AUTOMAGIK_TELEMETRY_LEVEL is"),
        (saved.level, f"{preferences.path()} says"),
    )
    for level, rule in limits:
        if level is not None and level > consent.level:
            consent = Consent(level, f"{rule} {_NAMES[level]}")
    return consent


def decide_observability(settings: Settings, environ: Mapping[str, str] | None = None) -> Consent:
    """Return whether full traces may go to the user's own accounts: opted into by an API key, off by any switch."""
    if rule := _off_switch(settings, os.environ if environ is None else environ):
        return Consent(OFF, rule)
    if settings.observability_enabled is False:
        return Consent(OFF, "AUTOMAGIK_OBSERVABILITY_ENABLED is false")
    if settings.langwatch_api_key is not None:
        return Consent(LEVELS["DEBUG"], "LANGWATCH_API_KEY is set")
    if settings.observability_enabled:
        return Consent(LEVELS["DEBUG"], "AUTOMAGIK_OBSERVABILITY_ENABLED is true")
    return Consent(OFF, "not opted in: LANGWATCH_API_KEY is not set")


def decide_langwatch(settings: Settings, environ: Mapping[str, str] | None = None) -> Consent:
    """Return whether full traces may go to the user's own LangWatch project, which takes its key."""
    decision = decide_observability(settings, environ)
    if decision.given and settings.langwatch_api_key is None:
        return Consent(OFF, "LANGWATCH_API_KEY is not set")
    if decision.given and settings.langwatch_endpoint is None:
        return Consent(OFF, "LANGWATCH_ENDPOINT is no usable URL")
    return decision


def _off_switch(settings: Settings, environ: Mapping[str, str]) -> str | None:
    """Return the switch that turns everything off, if one does."""
    if settings.disable_all_tracing:
        return "AUTOMAGIK_DISABLE_ALL_TRACING is set"
    if settings.do_not_track:
        return "DO_NOT_TRACK is set"
    if settings.otel_sdk_disabled:
        return "OTEL_SDK_DISABLED is set"
    if _opted_out_by_file():
        return f"the file {OPT_OUT_FILE} exists"
    return None if settings.enable_in_ci else environment.recognize(environ)


def _opted_out_by_file() -> bool:
    try:
        return Path(OPT_OUT_FILE).expanduser().exists()
    except RuntimeError:  # a home that nobody knows
        return False
    except OSError:  # a home that can't be read may hold the file
        return True
