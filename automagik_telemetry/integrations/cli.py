"""Another name for `automagik_telemetry.integrations.click`."""

from __future__ import annotations

from automagik_telemetry.integrations.click import instrument_click, instrument_typer, track_cli_command

__all__ = ["instrument_click", "instrument_typer", "track_cli_command"]
