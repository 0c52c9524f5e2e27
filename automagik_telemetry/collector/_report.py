"""Renders the report as tables in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich import box
from rich.table import Table
from rich.text import Text

from automagik_telemetry._log import printable
from automagik_telemetry.collector._queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from automagik_telemetry.collector._queries import Query, Report

_EMPTY: Final = "No events are stored yet."


def render(report: Report, console: Console) -> None:
    """Print the result of each query as a table, or as a sentence if it has no rows."""
    if not any(report.get(query.name) for query in QUERIES):
        console.print(_EMPTY)
        return
    for query in QUERIES:
        rows = report.get(query.name)
        if not rows and not query.empty:
            continue
        console.print()
        console.print(Text(query.title, style="bold"))
        console.print(_table(query, rows) if rows else Text(query.empty))


def _table(query: Query, rows: list[dict[str, object]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for column, kind in query.columns.items():
        is_text = kind == "text"
        table.add_column(
            column.removesuffix("_ms").replace("_", " ") + (" ms" if kind == "ms" else ""),
            justify="left" if is_text else "right",
            no_wrap=not is_text,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(_SHOWN[kind](row.get(column))) for column, kind in query.columns.items()))
    return table


def _count(value: object) -> str:
    return f"{value:,}"


def _ms(value: object) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _share(value: object) -> str:
    return "-" if value is None else f"{value:.1%}"


_SHOWN: Final[dict[str, Callable[[object], str]]] = {
    "text": lambda value: printable(str(value)),
    "count": _count,
    "ms": _ms,
    "share": _share,
}
