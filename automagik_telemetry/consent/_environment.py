"""Recognizes continuous integration, test runs and coding agents' sandboxes, and interpreters that can't send.

The variables are those of ci-info 4.5, std-env 4.3, detect-agent 1.2 and am-i-vibing 0.5, and of the tools'
documentation.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automagik_telemetry._log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# The services of the ci-info package, and its generic variables. Those that a hosting platform also sets for running
# services (NETLIFY, RENDER, VERCEL) are omitted: the builds of these platforms set CI.
_GENERIC = (
    *("CI", "CONTINUOUS_INTEGRATION", "BUILD_ID", "BUILD_NUMBER", "RUN_ID", "CI_NAME", "CI_APP_ID", "CI_BUILD_ID"),
    *("CI_BUILD_NUMBER",),
)
_SERVICES = (
    *("AC_APPCIRCLE", "AGOLA_GIT_REF", "ALPIC_HOST", "APPCENTER_BUILD_ID", "APPVEYOR", "BITBUCKET_COMMIT"),
    *("BITRISE_IO", "BUDDY_WORKSPACE_ID", "BUILDER_OUTPUT", "BUILDKITE", "CAPAWESOME_CLOUD", "CF_BUILD_ID"),
    *("CF_PAGES", "CIRCLECI", "CIRRUS_CI", "CI_XCODE_PROJECT", "CM_BUILD_ID", "CODEBUILD_BUILD_ARN", "DRONE"),
    *("DSARI", "EARTHLY_CI", "EAS_BUILD", "GERRIT_PROJECT", "GITEA_ACTIONS", "GITHUB_ACTIONS", "GITLAB_CI"),
    *("GO_PIPELINE_LABEL", "HARNESS_BUILD_ID", "HUDSON_URL", "JENKINS_URL", "LAYERCI", "MAGNUM", "NEVERCODE"),
    *("NOW_BUILDER", "PROW_JOB_ID", "RELEASE_BUILD_ID", "RWX", "SAILCI", "SCREWDRIVER", "SEMAPHORE"),
    *("SHIPPABLE", "STRIDER", "TASKCLUSTER_ROOT_URL", "TDDIUM", "TEAMCITY_VERSION", "TF_BUILD", "TRAVIS"),
    *("VELA", "WORKERS_CI", "XCS", "bamboo_planKey"),
)
CI_VARIABLES = (*_GENERIC, *_SERVICES)
CAPTURING = "AUTOMAGIK_TELEMETRY_TESTING"
"""The variable that `automagik_telemetry.testing` sets, so that child processes of a test send nothing."""
# pytest sets the first for a whole session (since 8.2) and the second for each test; tox and nox set theirs for all
# that they start. Child processes inherit them.
TEST_RUN_VARIABLES = (
    "PYTEST_VERSION",
    "PYTEST_CURRENT_TEST",
    "PYTEST_XDIST_WORKER",
    "TOX_ENV_NAME",
    "NOX_CURRENT_SESSION",
    CAPTURING,
)
# Set for the commands that a coding agent runs. Variables of an editor, whose terminals people use, are omitted.
AGENT_VARIABLES = (
    *("AI_AGENT", "AMP_CURRENT_THREAD_ID", "ANTIGRAVITY_AGENT", "AUGMENT_AGENT", "CLAUDECODE", "CLAUDE_CODE"),
    *("CLAUDE_CODE_IS_COWORK", "CLAUDE_CODE_REMOTE", "CLINE_ACTIVE", "CODEX_CI", "CODEX_SANDBOX"),
    *("CODEX_SANDBOX_NETWORK_DISABLED", "CODEX_THREAD_ID", "CURSOR_AGENT", "GEMINI_CLI", "GOOSE_TERMINAL"),
    *("OPENCODE", "OPENCODE_CLIENT", "PI_CODING_AGENT", "QWEN_CODE"),
)
_KINDS = (
    ("continuous integration", CI_VARIABLES),
    ("a test run", TEST_RUN_VARIABLES),
    ("a coding agent's sandbox", AGENT_VARIABLES),
)
DEVELOPMENT = frozenset({"ci", "dev", "development", "test", "testing"})
"""The values of ENVIRONMENT in which only AUTOMAGIK_TELEMETRY_ENABLED turns telemetry on."""
_TEST_RUNNERS = frozenset(
    {
        *("pytest", "py.test", "unittest", "nose2", "behave", "stestr", "zope-testrunner"),
        *("_jb_pytest_runner", "_jb_unittest_runner", "vscode_pytest", "unittestadapter"),
    }
)
"""The modules, packages and scripts that run tests."""
_UNITTEST_MODULES = frozenset(
    {"unittest.case", "unittest.loader", "unittest.main", "unittest.runner", "unittest.suite"}
)

_OPT_OUTS = (
    *("DO_NOT_TRACK", "OTEL_SDK_DISABLED", "AUTOMAGIK_DISABLE_ALL_TRACING", "AUTOMAGIK_TRACING_ENABLED"),
    *("AUTOMAGIK_TELEMETRY_ENABLED", "AUTOMAGIK_TELEMETRY_LEVEL", "AUTOMAGIK_OBSERVABILITY_ENABLED"),
)

_NO = frozenset({"", "0", "false", "no", "off"})


def unsupported() -> str | None:
    """Return the reason why this interpreter can send nothing, or None.

    The queue relies on the GIL. Our encoder's extension module can't be loaded into a second interpreter, and switches
    the GIL on where it is off, with a warning.
    """
    reason = None
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        reason = "free-threaded Python is not supported; PYTHON_GIL=1 turns its lock on"
    elif _is_subinterpreter():
        reason = "a subinterpreter is not supported; only the main one sends"
    if reason is not None:
        _log_once(reason)
    return reason


@cache
def _log_once(reason: str) -> None:
    logger.debug("nothing is recorded: %s", reason)


def _is_subinterpreter() -> bool:
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    try:
        interpreters: Any = importlib.import_module(name)
        return bool(interpreters.get_current() != interpreters.get_main())
    except Exception:  # another implementation of Python has none
        return False


def _reader() -> Callable[[], tuple[object, ...]]:
    """Return a function that returns the values of the variables that opt out, in any form that can be compared."""
    # os.environ encodes and decodes at each access: seven variables would cost as much as half an event.
    stored: Any = getattr(os.environ, "_data", None)
    if not isinstance(stored, dict):  # another implementation of Python
        return lambda: tuple(map(os.environ.get, _OPT_OUTS))
    encode: Any = getattr(os.environ, "encodekey", str)
    get = stored.get
    one, two, three, four, five, six, seven = map(encode, _OPT_OUTS)
    # Without a loop, because each event pays for it.
    return lambda: (get(one), get(two), get(three), get(four), get(five), get(six), get(seven))


opt_outs = _reader()
"""Returns the values of the variables that opt out, which every event compares with those of the last decision."""


def recognize(environ: Mapping[str, str]) -> str | None:
    """Return the kind of run and the variable that identifies it, or None for an ordinary run."""
    for kind, variables in _KINDS:
        for variable in variables:
            if environ.get(variable, "").lower() not in _NO:
                return f"{kind}: {variable} is set"
    return None


def test_runner() -> str | None:
    """Return the test runner of this process, as a reason, or None.

    Variables do not reveal unittest, or pytest before 8.2 while it collects tests.
    """
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    names = {spec.name.partition(".")[0]} if spec is not None else set()
    script, argument = ([str(each) for each in getattr(sys, "argv", [])] + ["", ""])[:2]
    # python folder/__main__.py has the folder's name.
    names.update(Path(script).parts[-2:] if script.endswith("__main__.py") else [Path(script).stem, Path(script).name])
    if found := names & _TEST_RUNNERS:
        return f"a test run: {min(found)} runs it"
    if names & {"manage", "django-admin"} and argument == "test":
        return "a test run: Django runs it"
    # pytest.main() in a script of any name.
    if any(type(finder).__module__ == "_pytest.assertion.rewrite" for finder in sys.meta_path):
        return "a test run: pytest runs it"
    if _is_below_unittest():
        return "a test run: unittest runs it"
    return None


def _is_below_unittest() -> bool:
    """Return whether unittest is running in this thread or in the main one."""
    if "unittest.case" not in sys.modules:
        return False
    frames = sys._current_frames()  # noqa: SLF001 - documented
    for thread in {threading.get_ident(), threading.main_thread().ident}:
        frame = frames.get(thread or 0)
        while frame is not None:
            if frame.f_globals.get("__name__") in _UNITTEST_MODULES:
                return True
            frame = frame.f_back
    return False
