"""Where our files lie: where platformdirs says, also where it is not asked."""

from __future__ import annotations

import sys
from typing import Literal

import platformdirs
import pytest

from automagik_telemetry.places import user_directory

ENVIRONMENTS: dict[str, dict[str, str]] = {
    "home": {"HOME": "/home/somebody"},
    "home with a slash": {"HOME": "/home/somebody/"},
    "the root": {"HOME": "/"},
    "moved": {"HOME": "/home/somebody", "XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s/"},
    "moved to nowhere": {"HOME": "/home/somebody", "XDG_CONFIG_HOME": "", "XDG_STATE_HOME": " "},
    "moved relatively": {"HOME": "/home/somebody", "XDG_CONFIG_HOME": "c", "XDG_STATE_HOME": "~/s"},
    "no home": {"XDG_CONFIG_HOME": "/c"},
    "an odd home": {"HOME": "relative"},
    "a phone": {"HOME": "/home/somebody", "ANDROID_DATA": "/data", "ANDROID_ROOT": "/system"},
}


@pytest.mark.parametrize("kind", ["config", "state"])
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_places_are_the_platforms(monkeypatch: pytest.MonkeyPatch, name: str, kind: Literal["config", "state"]) -> None:
    """In every environment the directory is the one that platformdirs says."""
    for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in ENVIRONMENTS[name].items():
        monkeypatch.setenv(variable, value)
    find = platformdirs.user_config_dir if kind == "config" else platformdirs.user_state_dir
    assert user_directory(kind) == find("automagik-telemetry", appauthor=False)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere platformdirs is asked")
def test_an_ordinary_linux_needs_no_platformdirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is nothing to find out, nothing is imported for it."""
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert user_directory("state") == "/home/somebody/.local/state/automagik-telemetry"
