"""Track the commands of a command line: click's, Typer's, or any function."""

from __future__ import annotations

from automagik_telemetry.integrations.click._decorator import track_cli_command
from automagik_telemetry.integrations.click._tree import instrument_click
from automagik_telemetry.integrations.click._typer import instrument_typer

__all__ = ["instrument_click", "instrument_typer", "track_cli_command"]
