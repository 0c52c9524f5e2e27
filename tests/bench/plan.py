"""What is measured, and what of it must hold: every run and every goal, one row each."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.bench.clients import CLIENTS, SILENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Run(NamedTuple):
    """One process: a scenario of `one`, a client, how many events (or what the scenario counts), which endpoint."""

    scenario: str
    client: str
    number: int = 20_000
    endpoint: str = "sink"
    """`sink` accepts, `refused` is a closed port, `hang` never answers, `nowhere` refuses and there is no disk."""


GROWTH = {
    "events": [Run("burst", "ours", number) for number in (1_000, 10_000, 100_000, 1_000_000)],
    "distinct agents": [Run("agents", "ours", number) for number in (1, 10, 100, 1_000, 10_000)],
    "attributes": [Run("attributes", "ours", number) for number in (1, 2, 4, 8, 16, 32, 64)],
}

DELIVERS = [Run("delivers", client, 50) for client in CLIENTS if client not in SILENT]
DOWN = [Run("down", "ours", 100_000, endpoint) for endpoint in ("refused", "nowhere")]
ENDING = [Run("ending", "ours", 2_000, endpoint) for endpoint in ("refused", "hang")]

CLOSE = (
    *(Run("burst", client) for client in ("disabled", "ours_off", "ours_below")),
    *(Run("burst", client) for client in ("noop", "ours", "otel_logs", "ours_track_event", "ours_structlog")),
    *(Run("burst", client, 100_000) for client in ("noop", "ours", "otel_logs")),
    *(Run("importing", "", 0), Run("starting", "", 0), Run("starting", "", 1)),
    *(Run("busy", "ours"), Run("threads", "ours")),
    *(run for what in ("distinct agents", "attributes") for run in GROWTH[what]),
)
"""What is run in turn, thrice in each round."""

CLOSEST = tuple(Run("burst", client, number) for number in (20_000, 100_000) for client in ("noop", "ours"))
"""What is nearest to its goal: eight times more, for it takes little time, and a core has two speeds."""

OTHERS = (
    *(Run("burst", client) for client in CLIENTS if Run("burst", client) not in CLOSE),
    *(Run("paced", client, 10) for client in ("noop", "ours", "ours_structlog", "otel_logs")),
    *(Run(scenario, client) for scenario in ("busy", "threads") for client in ("noop", "otel_logs")),
    *ENDING,
)
"""What follows once in each round."""

ONCE = (
    *DELIVERS,
    *GROWTH["events"],
    *DOWN,
    *(Run("ending", "otel_logs", 2_000, endpoint) for endpoint in ("refused", "hang")),
)
"""What takes long, or has no moods."""

Figures = dict[str, float]
Turn = dict[Run, Figures]
"""What was run one after the other, and what it found."""


class Goal(NamedTuple):
    """What must hold: `value` of a turn is at most `limit`, for the `typical` of all turns that have what it needs."""

    what: str
    value: Callable[[Turn], Any]
    limit: float
    unit: str = "x"
    typical: Callable[[list[Any]], float] = median

    def measured(self, turns: Sequence[Turn]) -> float | None:
        """Return what holds, or None if no turn has what it needs.

        A ratio is one of neighbours in time: taken of medians it would be one of whatever speeds the machine had then.
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
    """Return a run's figure, or the largest of several."""
    return lambda of: max(of[run][figure] for run in runs)


def _above_noop(of: Turn) -> float:
    noop, ours, otel = (of[Run("paced", client, 10)]["cpu"] for client in ("noop", "ours", "otel_logs"))
    return (ours - noop) / (otel - noop)


def _growth(what: str) -> Callable[[Turn], list[float]]:
    """Return what an event costs with more and more work, as multiples of what it costs with the least."""

    def value(of: Turn) -> list[float]:
        first, *more = [of[run]["cpu"] for run in GROWTH[what]]
        return [cost / first for cost in more]

    return value


def _largest(growths: list[list[float]]) -> float:
    """Return the largest of the medians: the largest of each turn would be of whatever came at a slow moment."""
    columns: list[tuple[float, ...]] = list(zip(*growths, strict=True))
    return max(median(each) for each in columns)


def _per_attribute(of: Turn) -> float:
    """Return what an attribute costs between 8 and 64, as a multiple of what one costs between 1 and 8."""
    cost = {run.number: of[run]["cpu"] for run in GROWTH["attributes"]}
    return (cost[64] - cost[8]) / 56 / ((cost[8] - cost[1]) / 7)


GOALS = (
    Goal("CPU for an event, stdlib logger, burst of 20,000, of OTel logs'", _ratio("ours", "otel_logs", "cpu"), 1 / 6),
    Goal("the same of 100,000", _ratio("ours", "otel_logs", "cpu", 100_000), 1 / 6),
    Goal("the same of 20,000, of a no-op handler's", _ratio("ours", "noop", "cpu"), 2.0),
    Goal("the same of 100,000", _ratio("ours", "noop", "cpu", 100_000), 2.0),
    Goal("CPU for an event, structlog, of OTel logs'", _ratio("ours_structlog", "otel_logs", "cpu"), 1 / 5),
    Goal("CPU for an event, track_event, of OTel logs'", _ratio("ours_track_event", "otel_logs", "cpu"), 1 / 9),
    Goal("lost of 20,100, at defaults", _figure("lost", Run("burst", "ours")), 0, "events", max),
    Goal("lost of 100,100, at defaults", _figure("lost", Run("burst", "ours", 100_000)), 0, "events", max),
    Goal("one call, median, of a no-op handler's", _ratio("ours", "noop", "p50"), 1.8),
    Goal("one call, p99.9, of OTel logs'", _ratio("ours", "otel_logs", "p99.9"), 1 / 20),
    Goal("one call beside a busy thread, p99", _figure("p99", Run("busy", "ours")), 100, "us"),
    Goal("four threads at once, of one", _figure("elapsed", Run("threads", "ours")), 1.5),
    Goal("four threads at once, lost", _figure("lost", Run("threads", "ours")), 0, "events", max),
    Goal("one call, off, of a disabled logger's", _ratio("ours_off", "disabled", "p50"), 1.2),
    Goal("one call, below the level, of a disabled logger's", _ratio("ours_below", "disabled", "p50"), 1.2),
    Goal("CPU above a no-op handler's, 1,000 events a second, of OTel logs'", _above_noop, 1 / 6),
    Goal("100,000 undelivered, on disk", _figure("disk", Run("down", "ours", 100_000, "refused")), 16, "MiB"),
    Goal("100,000 undelivered, in memory", _figure("queue", Run("down", "ours", 100_000, "nowhere")), 8, "MiB"),
    Goal("the same, unaccounted for", _figure("unaccounted", *DOWN), 0, "events", max),
    Goal("exit with 2,000 events, refused", _figure("exit", Run("ending", "ours", 2_000, "refused")), 0.2, "s"),
    Goal("exit with 2,000 events, no answer", _figure("exit", Run("ending", "ours", 2_000, "hang")), 0.2, "s"),
    Goal("the same, lost", _figure("lost", *ENDING), 0, "events", max),
    Goal("import, on top of structlog and logging.config", _figure("ms", Run("importing", "", 0)), 20, "ms"),
    Goal("the same, configured, of a user who did not opt in", _figure("ms", Run("starting", "", 0)), 30, "ms"),
    Goal("the same, of one who did, with the first event", _figure("ms", Run("starting", "", 1)), 75, "ms"),
    Goal("bytes on the wire, of OTel spans' with gzip", _ratio("ours", "otel_spans", "bytes"), 1.2),
    Goal("CPU for a LangWatch span, of LangWatch's SDK's", _ratio("ours_langwatch", "langwatch", "cpu"), 1 / 15),
    Goal("the same, lost", _figure("lost", Run("burst", "ours_langwatch")), 0, "events", max),
    Goal("CPU for an event, 1,000 to 1,000,000 events, of the first", _growth("events"), 1.5, typical=_largest),
    Goal("CPU for an event, 1 to 10,000 agents, of the first", _growth("distinct agents"), 1.5, typical=_largest),
    Goal("CPU for an attribute, 8 to 64, of 1 to 8", _per_attribute, 1.5),
    Goal("lost of 50, of whichever client", _figure("lost", *DELIVERS), 0, "events", max),
)
