"""Recognizes continuous integration and test runs by the variables that they set.

The list is that of the ci-info package's vendors, its generic variables included, and what those services' own
documentation names beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Set by many services, whatever their name.
_GENERIC = (
    *("CI", "CONTINUOUS_INTEGRATION", "BUILD_NUMBER", "RUN_ID", "CI_NAME", "CI_APP_ID", "CI_BUILD_ID"),
    *("CI_BUILD_NUMBER",),
)
_SERVICES = (
    *("AC_APPCIRCLE", "AGOLA_GIT_REF", "APPCENTER_BUILD_ID", "APPVEYOR", "BITBUCKET_COMMIT", "BITRISE_IO"),
    *("BUDDY_WORKSPACE_ID", "BUILDER_OUTPUT", "BUILDKITE", "CF_BUILD_ID", "CF_PAGES", "CIRCLECI", "CIRRUS_CI"),
    *("CI_XCODE_PROJECT", "CM_BUILD_ID", "CODEBUILD_BUILD_ARN", "DRONE", "DSARI", "EARTHLY_CI", "EAS_BUILD"),
    *("GERRIT_PROJECT", "GITEA_ACTIONS", "GITHUB_ACTIONS", "GITLAB_CI", "GO_PIPELINE_LABEL", "HARNESS_BUILD_ID"),
    *("HUDSON_URL", "JENKINS_URL", "LAYERCI", "MAGNUM", "NETLIFY", "NEVERCODE", "NOW_BUILDER", "PROW_JOB_ID"),
    *("RELEASE_BUILD_ID", "RENDER", "SAILCI", "SCREWDRIVER", "SEMAPHORE", "SHIPPABLE", "STRIDER", "TDDIUM"),
    *("TEAMCITY_VERSION", "TF_BUILD", "TRAVIS", "VELA", "VERCEL", "WORKERS_CI", "XCS", "bamboo_planKey"),
)
CI_VARIABLES = (*_GENERIC, *_SERVICES)
# pytest sets the first for a whole session (since 8.2) and the second for each test; child processes inherit both.
TEST_RUN_VARIABLES = ("PYTEST_VERSION", "PYTEST_CURRENT_TEST")

_NO = frozenset({"", "0", "false", "no", "off"})


def recognize(environ: Mapping[str, str]) -> str | None:
    """Return what kind of run this is and the variable that says so, or None for an ordinary one."""
    for variable in CI_VARIABLES:
        if environ.get(variable, "").lower() not in _NO:
            return f"continuous integration: {variable} is set"
    for variable in TEST_RUN_VARIABLES:
        if environ.get(variable):
            return f"a test run: {variable} is set"
    return None
