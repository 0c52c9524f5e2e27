"""A small application as its maker would freeze it: it logs in every way, and prints one line on each stream."""

from __future__ import annotations

import json
import logging
import os
import sys

import structlog

import automagik_telemetry
from automagik_telemetry.telemetry.cli_events import FeatureUsageEvent
from automagik_telemetry.tracing.spans import open_span

_opened: list[str] = []


def _keep(event: str, arguments: tuple[object, ...]) -> None:
    """Keep the name of each file that is opened as data, but for the queue's own."""
    if event == "open" and str(arguments[0]).endswith((".yaml", ".yml", ".json")):
        _opened.append(str(arguments[0]))


def main() -> None:
    """Log by each way, trace a run, and wait until all is sent."""
    sys.addaudithook(_keep)
    tracing = automagik_telemetry.configure()
    fields = {"agent_name": "simple", "framework": "agno", "success": True, "duration_ms": 1.0}
    logging.getLogger("automagik.agents").info("agent.run", extra=fields)
    structlog.wrap_logger(structlog.ReturnLogger()).info("agent.run", **fields)  # which prints nothing
    if tracing.telemetry is not None:
        tracing.telemetry.track_event(FeatureUsageEvent("workflows"))
    span = open_span("chat", "llm", input="hello", model="gpt-5")
    with span.within():
        span.output = "hi"
    span.end()
    state = os.environ["AUTOMAGIK_STATE_DIR"]
    found = {
        "telemetry": tracing.telemetry is not None,
        "traces": tracing.observability is not None,
        "settled": tracing.flush(20),
        "opened": [name for name in _opened if not name.startswith(state)],
    }
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stderr.write("a line of its own\n")


if __name__ == "__main__":
    main()
