"""Where the collector keeps its store."""

from __future__ import annotations

from pathlib import Path

import platformdirs


def default_store() -> Path:
    """The DuckDB file that is used unless another is named, in the user's data folder."""
    return Path(platformdirs.user_data_dir("automagik-telemetry", appauthor=False)) / "collector.duckdb"
