"""Other names for the same: the addresses that applications import from, and where each leads."""
