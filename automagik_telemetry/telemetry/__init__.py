"""A package that applications import `cli_events` from."""
