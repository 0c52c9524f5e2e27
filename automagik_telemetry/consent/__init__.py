"""Consent: the decision whether events may be sent, its sources, the notice, and the anonymous id.

An application shows it with `status()`, asks for it with `ask()`, and saves its user's choice with `grant()` and
`withdraw()`. All of these are about this application and the recipient of its data.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from automagik_telemetry._fork_lock import importing

if TYPE_CHECKING:
    from automagik_telemetry.consent._public import ConsentStatus, ask, grant, status, withdraw

__all__ = ["ConsentStatus", "ask", "grant", "status", "withdraw"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with importing:
        value = globals()[name] = getattr(import_module("automagik_telemetry.consent._public"), name)
    return value
