"""Run the benchmark, print its results and exit with 1 if a goal is missed: `make bench`."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.plan import EVERY_ROUND, EVERY_TURN, GOALS, ONCE, Figures, Run, Turn
from tests.bench.sink import counted, sink
from tests.bench.tables import clients_table, goals_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_TIMEOUT = 600
"""Seconds that one process may take."""


def measure(run: Run, url: str, *, constant: bool = False) -> Figures:
    """Run one process, and add what the sink received: events lost, bytes per event; or the seconds that exit took."""
    target = {"sink": url, "hang": f"{url}/hang"}.get(run.endpoint, "http://127.0.0.1:9")
    with tempfile.TemporaryDirectory() as home:
        state = "/dev/null/none" if run.endpoint == "nowhere" else f"{home}/state"
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("AUTOMAGIK_", "OTEL_"))}
        environ |= {"HOME": home, "AUTOMAGIK_STATE_DIR": state, "AUTOMAGIK_TELEMETRY_ENDPOINT": target}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)  # installed packages have bytecode
        counted(url)
        done = _process([*run[:2], target, str(run.number), *(["--constant"] if constant else [])], environ)
        figures: Figures = json.loads(done.stdout.splitlines()[-1])
        if "ends" in figures:
            figures["exit"] = time.monotonic() - figures.pop("ends")
            kept = sum(file.read_bytes().count(b'"spanId"') for file in Path(home).rglob("*.json"))
            figures["lost"] = run.number - kept
        elif "events" in figures:
            sent = counted(url)
            figures["lost"] = figures["events"] - sent.events
            figures["bytes"] = sent.bytes / max(1, sent.events)
    return figures


def _process(arguments: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.bench.one", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=_TIMEOUT)


def measure_all(runs: Iterable[Run], title: str, url: str, *, constant: bool = False) -> Turn:
    """Run the processes one after the other, and show the current one."""
    found = {}
    for run in runs:
        sys.stderr.write(f"\r{title}: {run.scenario} {run.client} {run.number} {run.endpoint}".ljust(79))
        found[run] = measure(run, url, constant=constant)
    sys.stderr.write("\r".ljust(80) + "\r")
    return found


def medians(turns: Sequence[Turn]) -> Turn:
    """Return the median of each figure of each run."""
    found: dict[Run, list[Figures]] = {}
    for each in turns:
        for run, figures in each.items():
            found.setdefault(run, []).append(figures)
    return {
        run: {name: statistics.median(each[name] for each in all_) for name in all_[0]} for run, all_ in found.items()
    }


def main() -> int:
    """Measure and print. Write docs/speed.md and its plots after a whole run. Return 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured (default: 3)")
    parser.add_argument("--only", metavar="SCENARIO", help="run one scenario of tests/bench/one.py; write nothing")
    parser.add_argument("--constant", action="store_true", help="log events that hardly vary; write nothing")
    options = parser.parse_args()
    planned = [(*EVERY_TURN, *EVERY_ROUND), EVERY_TURN, EVERY_TURN] * options.rounds + [ONCE]
    with sink() as url:
        turns = [
            measure_all(
                [run for run in runs if options.only in (None, run.scenario)],
                f"{number} of {len(planned)}",
                url,
                constant=options.constant,
            )
            for number, runs in enumerate(planned, 1)
        ]
    found = medians(turns)
    goals, missed = goals_table(GOALS, turns)
    tables = f"{clients_table(found)}\n{goals}"
    sys.stdout.write(tables)
    if options.only is None and not options.constant:
        from tests.bench.plot import draw

        docs = Path(__file__).parents[2] / "docs"
        draw(found, docs / "speed.svg")
        page = docs / "speed.md"
        head, begin, rest = page.read_text(encoding="utf-8").partition("<!-- measured -->\n")
        _, end, tail = rest.partition("<!-- end -->")
        page.write_text(f"{head}{begin}\n{tables}\n{end}{tail}", encoding="utf-8")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
