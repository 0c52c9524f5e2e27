"""How much may leave, and which rule decided: the strictest of all that the user has said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from automagik_telemetry.settings import LEVELS, OFF, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OPT_OUT_FILE = "~/.automagik-no-tracing"

# A variable that a continuous-integration service sets, whatever its value.
CI_VARIABLES = (
    "CI",
    "CONTINUOUS_INTEGRATION",
    "BUILD_NUMBER",
    "RUN_ID",
    "APPVEYOR",
    "BITBUCKET_COMMIT",
    "BUILDKITE",
    "CIRCLECI",
    "CODEBUILD_BUILD_ARN",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "JENKINS_URL",
    "TEAMCITY_VERSION",
    "TF_BUILD",
    "TRAVIS",
)
# pytest sets the first for a whole session (since 8.2) and the second for each test; child processes inherit both.
TEST_RUN_VARIABLES = ("PYTEST_VERSION", "PYTEST_CURRENT_TEST")


class Consent(NamedTuple):
    """The lowest level of event that may leave, and the rule that decided it, in words for `status`."""

    level: int
    rule: str

    @property
    def given(self) -> bool:
        """Whether anything at all may leave."""
        return self.level < OFF


def decide_telemetry(settings: Settings, environ: Mapping[str, str] | None = None) -> Consent:
    """Return how much anonymous usage telemetry may leave: opt-in, and off by any switch."""
    environ = os.environ if environ is None else environ
    for rule in _off_switches(settings, environ):
        return Consent(OFF, rule)
    if not settings.telemetry_enabled:
        return Consent(OFF, "not opted in: AUTOMAGIK_TELEMETRY_ENABLED is not true")
    if settings.telemetry_endpoint is None:
        return Consent(OFF, "AUTOMAGIK_TELEMETRY_ENDPOINT is not a usable URL")
    names = {number: name for name, number in LEVELS.items()}
    return Consent(settings.telemetry_level, f"opted in, up to {names[settings.telemetry_level]}")


def decide_observability(settings: Settings, environ: Mapping[str, str] | None = None) -> Consent:
    """Return how much may go to the user's own LangWatch account: opted into by an API key, off by any switch."""
    environ = os.environ if environ is None else environ
    for rule in _off_switches(settings, environ):
        return Consent(OFF, rule)
    if not environ.get("LANGWATCH_API_KEY"):
        return Consent(OFF, "not opted in: LANGWATCH_API_KEY is not set")
    return Consent(LEVELS["DEBUG"], "opted in by LANGWATCH_API_KEY")


def _opted_out_by_file() -> bool:
    try:
        return Path(OPT_OUT_FILE).expanduser().exists()
    except RuntimeError:  # a home that nobody knows
        return False
    except OSError:  # a home that can't be read may hold the file
        return True


def _off_switches(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    if settings.disable_all_tracing:
        yield "AUTOMAGIK_DISABLE_ALL_TRACING is set"
    if settings.do_not_track:
        yield "DO_NOT_TRACK is set"
    if settings.otel_sdk_disabled:
        yield "OTEL_SDK_DISABLED is set"
    if _opted_out_by_file():
        yield f"the file {OPT_OUT_FILE} exists"
    if not settings.enable_in_ci:
        for variable in CI_VARIABLES:
            if environ.get(variable, "").lower() not in ("", "0", "false"):
                yield f"continuous integration: {variable} is set"
        for variable in TEST_RUN_VARIABLES:
            if environ.get(variable):
                yield f"a test run: {variable} is set"
