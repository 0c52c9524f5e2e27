"""Where the files of this package lie: at the platform's places for a user's configuration and state."""

from __future__ import annotations

import os
import sys
from typing import Literal

_NAME = "automagik-telemetry"
_XDG = {"config": ("XDG_CONFIG_HOME", ".config"), "state": ("XDG_STATE_HOME", ".local/state")}


def user_directory(kind: Literal["config", "state"]) -> str:
    """Return the directory; it need not exist."""
    # What platformdirs says of an ordinary Linux, without importing it, which costs as much as all of this package.
    if sys.platform == "linux" and not hasattr(sys, "getandroidapilevel") and "ANDROID_DATA" not in os.environ:
        variable, usual = _XDG[kind]
        base, home = os.environ.get(variable), os.environ.get("HOME", "")
        if base is None and home.startswith("/"):
            base = os.path.join(home, usual)
        if base is not None and base.startswith("/"):
            return os.path.join(base, _NAME)
    import platformdirs  # noqa: PLC0415 - see above

    find = platformdirs.user_config_dir if kind == "config" else platformdirs.user_state_dir
    return find(_NAME, appauthor=False)
