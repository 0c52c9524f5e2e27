"""The results as Markdown tables: clients and goals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.clients import CLIENTS, SILENT
from tests.bench.plan import Goal, Run, Turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def clients_table(found: Turn) -> str:
    """Return a row per client: the cost, loss and size of a burst of 20,000 events."""
    rows = []
    for name, client in CLIENTS.items():
        figures = found.get(Run("burst", name))
        if figures is None:
            continue
        what = (client.__doc__ or "").split("\n")[0].removeprefix("Return ").rstrip(".")
        times = [_short(figures[figure]) for figure in ("cpu", "p50", "p99", "p99.9")]
        share = f"{100 * figures['lost'] / figures['events']:.0f} %" if figures["lost"] >= 0 else "0 %, sent twice"
        sent = ["-", "-"] if name in SILENT else [share, _short(figures["bytes"])]
        rows.append([f"`{name}`: {what}", *times, *sent])
    return _table(["client", "CPU", "call p50", "p99", "p99.9", "lost", "wire bytes"], rows)


def goals_table(goals: Sequence[Goal], turns: Sequence[Turn]) -> tuple[str, list[Goal]]:
    """Return a row per goal that was measured, and the goals that were missed."""
    rows, missed = [], []
    for goal in goals:
        value = goal.measured(turns)
        if value is None:
            continue
        if value > goal.limit:
            missed.append(goal)
        met = "missed" if goal in missed else "met"
        rows.append([goal.what, f"{_short(goal.limit)} {goal.unit}", f"{_short(value)} {goal.unit}", met])
    return _table(["goal", "at most", "measured", ""], rows), missed


def _short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 or number == int(number) else f"{number:.3g}"


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
