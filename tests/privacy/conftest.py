"""The real pipeline towards a receiver that keeps every byte, and the count of cases tried."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from automagik_telemetry import configure
from automagik_telemetry.events import _names as declared_names
from tests.automagik_telemetry.conftest import fresh_process, opted_in, receiver
from tests.privacy.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["fresh_process", "opted_in", "receiver"]

DEFAULT_CONFIG = Path(__file__).parent.parent.parent / "logging.yaml"


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A running receiver."""
    server = Wire()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def environment(wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Opt in to the receiver at every level, and send nothing before a flush."""
    variables = {
        "AUTOMAGIK_TELEMETRY_ENABLED": "true",
        "AUTOMAGIK_ENABLE_TRACING_IN_CI": "true",
        "AUTOMAGIK_TELEMETRY_ENDPOINT": wire.url,
        "AUTOMAGIK_TRACE_SCHEDULE_DELAY": "3600",
        "AUTOMAGIK_STATE_DIR": str(tmp_path / "state"),
        "AUTOMAGIK_TELEMETRY_LEVEL": "DEBUG",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def configured(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Configure by logging.yaml with DEBUG and without some lines; remove new loggers at the end."""

    def configure_without(*omitted: str) -> None:
        lines = (
            DEFAULT_CONFIG.read_text(encoding="utf-8").replace("level: INFO", "level: DEBUG").splitlines(keepends=True)
        )
        path = tmp_path / "logging.yaml"
        declared_names.close()  # as after the first request, so that names of agents may be anything
        text = "".join(line for line in lines if not any(part in line for part in omitted))
        path.write_text(text.replace(", console]", "]"), encoding="utf-8")
        configure(path)

    loggers = logging.Logger.manager.loggerDict
    levels = logging._levelToName, logging._nameToLevel
    kept = {*loggers, "automagik", "automagik.agents", "automagik_telemetry.events"}
    levels_before = [dict(names) for names in levels]
    yield configure_without
    for name in set(loggers) - kept:
        del loggers[name]
    for names, before in zip(levels, levels_before, strict=True):
        names.clear()  # type: ignore[attr-defined]
        names.update(before)  # type: ignore[attr-defined]


@pytest.fixture
def count_cases(request: pytest.FixtureRequest) -> Callable[[int], None]:
    """Count cases tried, for the last lines of the run."""

    def count(number: int) -> None:
        request.node.user_properties.append(("privacy cases", number))

    return count
