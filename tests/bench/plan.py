"""The runs and the goals of the benchmark, one row each."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.bench.clients import CLIENTS, SILENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Run(NamedTuple):
    """One process: a scenario of `one`, its client, its number (of events, unless the scenario says otherwise)."""

    scenario: str
    client: str
    number: int = 20_000
    endpoint: str = "sink"
    """`sink` accepts, `refused` is a closed port, `hang` never answers, `nowhere` is a closed port without a disk."""


GROWTH = {
    "events": [Run("burst", "ours", number) for number in (1_000, 10_000, 100_000, 1_000_000)],
    "distinct agents": [Run("agents", "ours", number) for number in (1, 10, 100, 1_000, 10_000)],
    "attributes": [Run("attributes", "ours", number) for number in (1, 2, 4, 8, 16, 32, 64)],
}

DELIVERS = [Run("delivers", client, 50) for client in CLIENTS if client not in SILENT]
DOWN = [Run("down", "ours", 100_000, endpoint) for endpoint in ("refused", "nowhere")]
ENDING = [Run("ending", "ours", 2_000, endpoint) for endpoint in ("refused", "hang")]

EVERY_TURN = (
    *(Run("burst", client) for client in ("disabled", "ours_off", "ours_below")),
    *(Run("burst", client) for client in ("noop", "ours", "otel_logs", "ours_track_event", "ours_structlog")),
    *(Run("burst", client) for client in ("plain_structlog", "plain_structlog_defaults", "ours_structlog_defaults")),
    *(Run("burst", client, 100_000) for client in ("noop", "ours", "otel_logs")),
    *(Run("importing", "", 0), Run("starting", "", 0), Run("starting", "", 1)),
    *(Run("busy", "ours"), Run("threads", "ours")),
    *(run for what in ("distinct agents", "attributes") for run in GROWTH[what]),
)
"""Runs of each of the three turns of a round: short ones whose figures vary most."""

EVERY_ROUND = (
    *(Run("burst", client) for client in CLIENTS if Run("burst", client) not in EVERY_TURN),
    *(Run("paced", client, 10) for client in ("noop", "ours", "ours_structlog", "otel_logs")),
    *(Run(scenario, client) for scenario in ("busy", "threads") for client in ("noop", "otel_logs")),
    *ENDING,
)
"""Runs that follow in the first turn of a round only."""

ONCE = (
    *DELIVERS,
    *GROWTH["events"],
    *DOWN,
    *(Run("ending", "otel_logs", 2_000, endpoint) for endpoint in ("refused", "hang")),
)
"""Runs after the last round: long ones, and those whose figures do not vary."""

Figures = dict[str, float]
Turn = dict[Run, Figures]
"""Runs that followed each other, with their figures."""


class Goal(NamedTuple):
    """An upper limit for a value. The value is computed per turn, then summarized over turns by `typical`."""

    what: str
    value: Callable[[Turn], Any]
    limit: float
    unit: str = "x"
    typical: Callable[[list[Any]], float] = median

    def measured(self, turns: Sequence[Turn]) -> float | None:
        """Return the value over all turns that have its runs, or None if no turn has them.

        A ratio is taken within a turn, because the machine's speed differs between turns.
        """
        values = []
        for turn in turns:
            try:
                values.append(self.value(turn))
            except KeyError:
                continue
        return self.typical(values) if values else None


def _ratio(client: str, peer: str, figure: str, number: int = 20_000) -> Callable[[Turn], float]:
    return lambda of: of[Run("burst", client, number)][figure] / of[Run("burst", peer, number)][figure]


def _figure(figure: str, *runs: Run) -> Callable[[Turn], float]:
    """Return a run's figure, or the largest of several runs."""
    return lambda of: max(of[run][figure] for run in runs)


def _above_noop(of: Turn) -> float:
    noop, ours, otel = (of[Run("paced", client, 10)]["cpu"] for client in ("noop", "ours", "otel_logs"))
    return (ours - noop) / (otel - noop)


def _growth(what: str) -> Callable[[Turn], list[float]]:
    """Return the CPU per event of each larger run, as multiples of the smallest run's."""

    def value(of: Turn) -> list[float]:
        first, *more = [of[run]["cpu"] for run in GROWTH[what]]
        return [cost / first for cost in more]

    return value


def _largest(growths: list[list[float]]) -> float:
    """Return the largest median, because one turn's largest value comes from its slowest moment."""
    columns: list[tuple[float, ...]] = list(zip(*growths, strict=True))
    return max(median(each) for each in columns)


def _per_attribute(of: Turn) -> float:
    """Return the cost of an attribute between 8 and 64, as a multiple of that between 1 and 8."""
    cost = {run.number: of[run]["cpu"] for run in GROWTH["attributes"]}
    return (cost[64] - cost[8]) / 56 / ((cost[8] - cost[1]) / 7)


GOALS = (
    Goal("CPU per event, stdlib logger, 20,000 events, vs OTel logs", _ratio("ours", "otel_logs", "cpu"), 1 / 4.5),
    Goal(
        "CPU per event, stdlib logger, 100,000 events, vs OTel logs",
        _ratio("ours", "otel_logs", "cpu", 100_000),
        1 / 4.5,
    ),
    Goal("CPU per event, stdlib logger, 20,000 events, vs a no-op handler", _ratio("ours", "noop", "cpu"), 2.6),
    Goal(
        "CPU per event, stdlib logger, 100,000 events, vs a no-op handler", _ratio("ours", "noop", "cpu", 100_000), 2.6
    ),
    Goal("CPU per event, structlog with emit_event, vs OTel logs", _ratio("ours_structlog", "otel_logs", "cpu"), 1 / 4),
    Goal("CPU per event, track_event, vs OTel logs", _ratio("ours_track_event", "otel_logs", "cpu"), 1 / 7.5),
    Goal("events lost of 20,100, defaults", _figure("lost", Run("burst", "ours")), 0, "events", max),
    Goal("events lost of 100,100, defaults", _figure("lost", Run("burst", "ours", 100_000)), 0, "events", max),
    Goal("one call, median, vs a no-op handler", _ratio("ours", "noop", "p50"), 1.8),
    Goal("one call, p99.9, vs OTel logs", _ratio("ours", "otel_logs", "p99.9"), 1 / 20),
    Goal("one call beside a CPU-bound thread, p99", _figure("p99", Run("busy", "ours")), 100, "us"),
    Goal("elapsed time, four threads at once, vs one thread", _figure("elapsed", Run("threads", "ours")), 1.5),
    Goal("events lost, four threads", _figure("lost", Run("threads", "ours")), 0, "events", max),
    Goal("one call, telemetry off, vs a disabled logger", _ratio("ours_off", "disabled", "p50"), 1.2),
    Goal("one call, event below the level, vs a disabled logger", _ratio("ours_below", "disabled", "p50"), 1.2),
    Goal("CPU beyond a no-op handler, 1,000 events a second, vs OTel logs", _above_noop, 1 / 6),
    Goal("100,000 events pending, on disk", _figure("disk", Run("down", "ours", 100_000, "refused")), 16, "MiB"),
    Goal("100,000 events pending, in memory", _figure("queue", Run("down", "ours", 100_000, "nowhere")), 8, "MiB"),
    Goal("events missing from the delivery stats", _figure("unaccounted", *DOWN), 0, "events", max),
    Goal("exit, 2,000 events, connection refused", _figure("exit", Run("ending", "ours", 2_000, "refused")), 0.2, "s"),
    Goal("exit, 2,000 events, no answer", _figure("exit", Run("ending", "ours", 2_000, "hang")), 0.2, "s"),
    Goal("events lost at exit", _figure("lost", *ENDING), 0, "events", max),
    Goal("import, after structlog and logging.config", _figure("ms", Run("importing", "", 0)), 20, "ms"),
    Goal("import and configure, not opted in", _figure("ms", Run("starting", "", 0)), 30, "ms"),
    Goal("import, configure and first event, opted in", _figure("ms", Run("starting", "", 1)), 75, "ms"),
    Goal("bytes on the wire, vs OTel spans with gzip", _ratio("ours", "otel_spans", "bytes"), 1.2),
    Goal("CPU per LangWatch span, vs LangWatch's SDK", _ratio("ours_langwatch", "langwatch", "cpu"), 1 / 8),
    Goal("LangWatch spans lost", _figure("lost", Run("burst", "ours_langwatch")), 0, "events", max),
    Goal("CPU per event, 10,000 to 1,000,000 events, vs 1,000", _growth("events"), 1.5, typical=_largest),
    Goal("CPU per event, 10 to 10,000 agents, vs 1", _growth("distinct agents"), 1.5, typical=_largest),
    Goal("CPU per attribute, 8 to 64, vs 1 to 8", _per_attribute, 1.5),
    Goal("events lost of 50, any client", _figure("lost", *DELIVERS), 0, "events", max),
)
