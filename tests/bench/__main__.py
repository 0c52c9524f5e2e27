"""Runs everything in turn, several times, prints medians and goals, and exits with 1 if one is missed: `make bench`.

`--rounds 5` says how many times; `--only burst` runs one scenario alone, and then nothing is written; a whole run
writes the tables and plots of docs/speed.md.
"""

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

from tests.bench.plan import CLOSE, CLOSEST, GOALS, ONCE, OTHERS, Figures, Run, Turn
from tests.bench.sink import counted, sink
from tests.bench.tables import clients_table, goals_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PATIENCE = 600


def measure(run: Run, url: str) -> Figures:
    """Run one process, and add what the sink saw: events lost, bytes for each; and the seconds to the process's end."""
    target = {"sink": url, "hang": f"{url}/hang"}.get(run.endpoint, "http://127.0.0.1:9")
    with tempfile.TemporaryDirectory() as home:
        state = "/dev/null/none" if run.endpoint == "nowhere" else f"{home}/state"
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("AUTOMAGIK_", "OTEL_"))}
        environ |= {"HOME": home, "AUTOMAGIK_STATE_DIR": state, "AUTOMAGIK_TELEMETRY_ENDPOINT": target}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what pip installs has its bytecode, ours and all others'
        counted(url)
        done = _process(run, target, environ)
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


def _process(run: Run, url: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.bench.one"]
    command += [run.scenario, run.client, url, str(run.number)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=_PATIENCE)


def turn(runs: Iterable[Run], name: str, url: str) -> Turn:
    """Run these one after the other."""
    found = {}
    for run in runs:
        sys.stderr.write(f"\r{name}: {run.scenario} {run.client} {run.number} {run.endpoint}".ljust(79))
        found[run] = measure(run, url)
    sys.stderr.write("\r".ljust(80) + "\r")
    return found


def medians(turns: Sequence[Turn]) -> Turn:
    """Return each figure's median."""
    found: dict[Run, list[Figures]] = {}
    for each in turns:
        for run, figures in each.items():
            found.setdefault(run, []).append(figures)
    return {
        run: {name: statistics.median(each[name] for each in all_) for name in all_[0]} for run, all_ in found.items()
    }


def main() -> int:
    """Measure, print, write; return 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only")
    options = parser.parse_args()
    wanted = [(*CLOSE, *OTHERS), CLOSE, CLOSE, *8 * [CLOSEST]] * options.rounds + [ONCE]
    with sink() as url:
        turns = [
            turn([run for run in runs if options.only in (None, run.scenario)], f"{number} of {len(wanted)}", url)
            for number, runs in enumerate(wanted, 1)
        ]
    found = medians(turns)
    goals, missed = goals_table(GOALS, turns)
    tables = f"{clients_table(found)}\n{goals}"
    sys.stdout.write(tables)
    if options.only is None:
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
