"""`python -m automagik_telemetry` is the same as `automagik-telemetry`."""

from __future__ import annotations

from automagik_telemetry.cli import main

if __name__ == "__main__":
    main(prog_name="automagik-telemetry")
