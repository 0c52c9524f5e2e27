"""Other names of the public API: modules that applications import from."""
