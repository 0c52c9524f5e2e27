"""An address that applications import from: see `cli_events`."""
