"""The queries of the report, in SQL over the table `events`.

Counts and shares are weighted by the sampling rate of each event. Percentiles are of the stored events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from automagik_telemetry.events.catalogue import EVENTS

Report: TypeAlias = dict[str, list[dict[str, Any]]]
"""Query name to its rows; a row is column name to string, integer, float or None."""


@dataclass(frozen=True)
class Query:
    """A query and the format of its result.

    Attributes:
        name: Key of the result in the report.
        title: Title of the table.
        sql: Plain SQL but for `quantile_cont`, which ClickHouse spells `quantileExactInclusive`.
        columns: Names of the result's columns, in order, with their formats: `text`, `count`, `ms` or `share` (0 to 1).
        empty: Sentence to print if there are no rows. If it is empty, nothing is printed then.
    """

    name: str
    title: str
    sql: str
    columns: dict[str, str]
    empty: str


_MEASURED: Final = "'agent.run', 'cli.command', 'api.request', 'tool.executed', 'workflow.completed'"
_BUILT_IN: Final = ", ".join(f"'{event.name}'" for event in EVENTS)
_MEASURED_OR_OWN: Final = f"declared AND (event NOT IN ({_BUILT_IN}) OR event IN ({_MEASURED}))"
"""The condition of the events that have a duration and a success: the built-in ones of runs, and an application's."""

FEATURE_USAGE: Final = Query(
    "feature_usage",
    "Feature usage",
    f"""
    SELECT
      CASE event
        WHEN 'feature.used' THEN 'feature'
        WHEN 'agent.run' THEN 'agent'
        WHEN 'cli.command' THEN 'command'
        WHEN 'api.request' THEN 'endpoint'
        WHEN 'tool.executed' THEN 'tool'
        WHEN 'workflow.completed' THEN 'workflow'
        ELSE 'event'
      END AS kind,
      CASE WHEN event IN ({_BUILT_IN}) THEN coalesce(name, '') ELSE event END AS name,
      coalesce(category, '') AS category,
      CAST(round(sum(weight)) AS BIGINT) AS count
    FROM events
    WHERE declared AND (event NOT IN ({_BUILT_IN}) OR event = 'feature.used' OR event IN ({_MEASURED}))
    GROUP BY 1, 2, 3
    ORDER BY count DESC, kind, name, category
    """,
    {"kind": "text", "name": "text", "category": "text", "count": "count"},
    "No feature, agent, command or endpoint has been used yet.",
)

PERFORMANCE: Final = Query(
    "performance",
    "Performance",
    f"""
    SELECT event, coalesce(name, '') AS name, CAST(round(sum(weight)) AS BIGINT) AS count,
      quantile_cont(duration_ms, 0.50) AS p50_ms,
      quantile_cont(duration_ms, 0.95) AS p95_ms,
      quantile_cont(duration_ms, 0.99) AS p99_ms
    FROM events
    WHERE {_MEASURED_OR_OWN} AND duration_ms IS NOT NULL
      AND NOT coalesce(abandoned, false)
    GROUP BY 1, 2
    ORDER BY event, count DESC, name
    """,
    {"event": "text", "name": "text", "count": "count", "p50_ms": "ms", "p95_ms": "ms", "p99_ms": "ms"},
    "No duration has been recorded yet.",
)

ERRORS: Final = Query(
    "errors",
    "Error patterns: errors",
    """
    SELECT coalesce(error_type, '') AS error_type, coalesce(component, '') AS component,
      CAST(round(sum(weight)) AS BIGINT) AS count
    FROM events
    WHERE event = 'agent.error'
    GROUP BY 1, 2
    ORDER BY count DESC, error_type, component
    """,
    {"error_type": "text", "component": "text", "count": "count"},
    "No error has been recorded.",
)

FAILURES: Final = Query(
    "failures",
    "Error patterns: failed runs",
    f"""
    SELECT event, coalesce(name, '') AS name,
      CAST(round(sum(CASE WHEN success THEN 0 ELSE weight END)) AS BIGINT) AS failures,
      CAST(round(sum(weight)) AS BIGINT) AS total,
      sum(CASE WHEN success THEN 0 ELSE weight END) / sum(weight) AS rate
    FROM events
    WHERE {_MEASURED_OR_OWN} AND success IS NOT NULL
    GROUP BY 1, 2
    HAVING count(*) > sum(CASE WHEN success THEN 1 ELSE 0 END)
    ORDER BY failures DESC, rate DESC, event, name
    """,
    {"event": "text", "name": "text", "failures": "count", "total": "count", "rate": "share"},
    "No run has failed.",
)

FRAMEWORK_PREFERENCE: Final = Query(
    "framework_preference",
    "Framework preference",
    """
    SELECT coalesce(framework, '') AS framework, CAST(round(sum(weight)) AS BIGINT) AS count,
      sum(weight) / sum(sum(weight)) OVER () AS share,
      sum(CASE WHEN success THEN weight WHEN NOT success THEN 0 END)
        / sum(CASE WHEN success IS NOT NULL THEN weight END) AS success_rate
    FROM events
    WHERE event = 'agent.run'
    GROUP BY 1
    ORDER BY count DESC, framework
    """,
    {"framework": "text", "count": "count", "share": "share", "success_rate": "share"},
    "No agent has run yet.",
)

UNDECLARED: Final = Query(
    "undeclared",
    "Undeclared events: declare them with --events",
    """
    SELECT event, coalesce(service, '') AS service, CAST(round(sum(weight)) AS BIGINT) AS count,
      CAST(round(sum(CASE WHEN success THEN 0 WHEN NOT success THEN weight ELSE 0 END)) AS BIGINT) AS failures,
      quantile_cont(duration_ms, 0.50) AS p50_ms
    FROM events
    WHERE NOT declared
    GROUP BY 1, 2
    ORDER BY count DESC, event, service
    LIMIT 100
    """,
    {"event": "text", "service": "text", "count": "count", "failures": "count", "p50_ms": "ms"},
    "",
)

QUERIES: Final = (FEATURE_USAGE, PERFORMANCE, ERRORS, FAILURES, FRAMEWORK_PREFERENCE, UNDECLARED)
