"""The arguments of processors that an application defines once, for all of its chains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from automagik_processors.kinds import Kind


class Application(NamedTuple):
    """The arguments of an `Anonymize` that has no catalogue of its own."""

    catalogue: Mapping[str, Mapping[str, Kind]]
    """The events that it declares. It grows when more are declared."""
    expires: Mapping[str, float]
    """The Unix time from which each event that expires is dropped."""
    declare: Callable[[Any], None]
    """Declares the events of a mapping, such as one from YAML."""
    allow: Callable[[Any], Container[str]]
    """Adds words to its allowlist, and returns the allowlist."""
    key: Callable[[], bytes]
    """Returns its hash key."""
    drop_log: Callable[[], tuple[Callable[[str, str, str], None], Callable[[], bool]]]
    """Returns a new `on_dropped`, and its `is_reporting`."""


application: Application | None = globals().get("application")  # a reload keeps it
"""The arguments that `automagik_telemetry` brings; None while it is not imported."""
