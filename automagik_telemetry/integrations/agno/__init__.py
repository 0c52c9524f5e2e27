"""Track the runs, requests and tools of an agno agent, team or workflow: `instrument(agent)`."""

from __future__ import annotations

import importlib
from typing import Any, TypeVar

from automagik_telemetry.integrations.agno import _agent

__all__ = ["instrument", "uninstrument"]

Target = TypeVar("Target")


def instrument(target: Target) -> Target:
    """Track every run of an agent, a team or a workflow, with its members, steps, requests and tools.

    It gets a subclass of its own class, of the same name, and so do its members and steps; no class changes. A second
    call changes nothing. Names are declared if this precedes the first event or request; later ones are sent as hashes,
    unless they are declared otherwise.

    Args:
        target: An `agno.agent.Agent`, `agno.team.Team` or `agno.workflow.Workflow`.

    Returns:
        The same object.

    Raises:
        TypeError: The object is none of these.
    """
    return _of(target).instrument(target)  # type: ignore[no-any-return]


def uninstrument(target: Target) -> Target:
    """Undo `instrument`, if it was done, for members and steps too.

    Args:
        target: An `agno.agent.Agent`, `agno.team.Team` or `agno.workflow.Workflow`.

    Returns:
        The same object.

    Raises:
        TypeError: The object is none of these.
    """
    return _of(target).uninstrument(target)  # type: ignore[no-any-return]


def _of(target: object) -> Any:
    """Return the module for an object. That of workflows takes long to import, so it is imported only if needed."""
    if any(kind.__name__ == "Workflow" and kind.__module__.startswith("agno.") for kind in type(target).__mro__):
        return importlib.import_module("automagik_telemetry.integrations.agno._workflow")
    return _agent
