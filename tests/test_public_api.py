"""The public surface: what applications may rely on."""

from __future__ import annotations

import importlib
import sys
from collections import Counter

import pytest

import automagik_telemetry
from automagik_telemetry.events._event import KINDS
from tests import public_api

# Names that applications of earlier versions import, and attributes that they read.
KEPT = {
    "automagik_telemetry": "configure declare emit_event get_tracing_manager instrument uninstrument",
    "automagik_telemetry.telemetry.cli_events": "AgentExecutionEvent CLICommandEvent APIRequestEvent FeatureUsageEvent",
    "automagik_telemetry.integrations.agno": "instrument",
    "automagik_telemetry.integrations.pydantic_ai": "instrument",
    "automagik_telemetry.integrations.agent": "track_agent TrackedAgent",
    "automagik_telemetry.integrations.cli": "track_cli_command instrument_click instrument_typer",
    "automagik_telemetry.integrations.api": "TelemetryMiddleware",
    "automagik_processors": "Anonymize OTLPLogRecord OTLPSpan Sample Scrub",
}


def test_the_surface_is_as_it_was_recorded() -> None:
    """Every public name and signature is that of tests/public_api.txt; after a change on purpose run `make api`."""
    assert public_api.text().splitlines() == public_api.SNAPSHOT.read_text(encoding="utf-8").splitlines()


def test_a_change_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new name, a lost name and a changed argument each change the text."""
    before = public_api.text()
    monkeypatch.setattr(automagik_telemetry, "__all__", [*automagik_telemetry.__all__, "manager"])
    assert public_api.text() != before
    monkeypatch.setattr(automagik_telemetry, "__all__", automagik_telemetry.__all__[1:-1])
    assert public_api.text() != before
    monkeypatch.undo()
    monkeypatch.setattr(automagik_telemetry.TracingManager, "flush", automagik_telemetry.TracingManager.shutdown)
    assert public_api.text() != before


@pytest.mark.parametrize(("module", "names"), KEPT.items())
def test_names_of_earlier_versions_are_kept(module: str, names: str) -> None:
    """Names that applications import exist."""
    assert [name for name in names.split() if not hasattr(importlib.import_module(module), name)] == []


def test_the_manager_keeps_its_attributes() -> None:
    """The manager has the attributes that applications read."""
    manager = automagik_telemetry.get_tracing_manager()
    for name in ("telemetry", "observability", "config", "consent", "flush", "shutdown", "track"):
        assert hasattr(manager, name)


def test_one_name_is_one_thing() -> None:
    """No two public classes or functions have the same name, but for one verb for two frameworks, and kinds of fields.

    A kind and the function that declares a field of it have the same name, but for the first letter.
    """
    things = {id(value): path for path, value in public_api.callables().items() if _is_top(path)}
    counted = Counter(path.rpartition(".")[2].lower() for path in things.values())
    assert {name for name, number in counted.items() if number > 1} <= {"instrument", "uninstrument", *KINDS}


def _is_top(path: str) -> bool:
    """Return whether a path is that of a module's own name, and not of a class's method."""
    return path.rpartition(".")[0] in sys.modules
