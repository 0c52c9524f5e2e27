"""The questions that the collected events answer: one row each, SQL over the view `events`.

Counts and shares weigh each event by how many it stands for, where its sender sampled; percentiles are of what arrived.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Report: TypeAlias = dict[str, list[dict[str, Any]]]
"""Query name to its rows; a row is column name to string, integer, float or None."""


@dataclass(frozen=True)
class Query:
    """A query and how to show its answer.

    Attributes:
        name: its key in the answers.
        title: what stands above the table.
        sql: the query; plain SQL but for `quantile_cont`, which ClickHouse spells `quantileExactInclusive`.
        columns: of the result, in order, to how each is shown: `text`, `count`, `ms` or `share` (0 to 1).
        nothing: what to say when there are no rows.
    """

    name: str
    title: str
    sql: str
    columns: dict[str, str]
    nothing: str


FEATURE_USAGE: Final = Query(
    "feature_usage",
    "Feature usage",
    """
    SELECT
      CASE Event
        WHEN 'feature.used' THEN 'feature'
        WHEN 'agent.run' THEN 'agent'
        WHEN 'cli.command' THEN 'command'
        WHEN 'api.request' THEN 'endpoint'
        WHEN 'tool.executed' THEN 'tool'
        ELSE 'workflow'
      END AS kind,
      coalesce(Name, '') AS name, coalesce(Category, '') AS category, CAST(round(sum(Weight)) AS BIGINT) AS count
    FROM events
    WHERE Event IN ('feature.used', 'agent.run', 'cli.command', 'api.request', 'tool.executed', 'workflow.completed')
    GROUP BY 1, 2, 3
    ORDER BY count DESC, kind, name, category
    """,
    {"kind": "text", "name": "text", "category": "text", "count": "count"},
    "No feature, agent, command or endpoint has been used yet.",
)

PERFORMANCE: Final = Query(
    "performance",
    "Performance",
    """
    SELECT Event AS event, coalesce(Name, '') AS name, CAST(round(sum(Weight)) AS BIGINT) AS count,
      quantile_cont(DurationMs, 0.50) AS p50_ms,
      quantile_cont(DurationMs, 0.95) AS p95_ms,
      quantile_cont(DurationMs, 0.99) AS p99_ms
    FROM events
    WHERE Event IN ('agent.run', 'cli.command', 'api.request', 'tool.executed', 'workflow.completed')
      AND DurationMs IS NOT NULL
    GROUP BY 1, 2
    ORDER BY event, count DESC, name
    """,
    {"event": "text", "name": "text", "count": "count", "p50_ms": "ms", "p95_ms": "ms", "p99_ms": "ms"},
    "Nothing that takes time has been recorded yet.",
)

ERRORS: Final = Query(
    "errors",
    "Error patterns: errors",
    """
    SELECT coalesce(ErrorType, '') AS error_type, coalesce(Component, '') AS component,
      CAST(round(sum(Weight)) AS BIGINT) AS count
    FROM events
    WHERE Event = 'agent.error'
    GROUP BY 1, 2
    ORDER BY count DESC, error_type, component
    """,
    {"error_type": "text", "component": "text", "count": "count"},
    "No error has been recorded.",
)

FAILURES: Final = Query(
    "failures",
    "Error patterns: failed runs",
    """
    SELECT Event AS event, coalesce(Name, '') AS name,
      CAST(round(sum(Weight * (1 - Succeeded))) AS BIGINT) AS failures,
      CAST(round(sum(Weight)) AS BIGINT) AS total, sum(Weight * (1 - Succeeded)) / sum(Weight) AS rate
    FROM events
    WHERE Event IN ('agent.run', 'cli.command', 'api.request', 'tool.executed', 'workflow.completed')
      AND Succeeded IS NOT NULL
    GROUP BY 1, 2
    HAVING count(*) > sum(Succeeded)
    ORDER BY failures DESC, rate DESC, event, name
    """,
    {"event": "text", "name": "text", "failures": "count", "total": "count", "rate": "share"},
    "No run has failed.",
)

FRAMEWORK_PREFERENCE: Final = Query(
    "framework_preference",
    "Framework preference",
    """
    SELECT coalesce(Framework, '') AS framework, CAST(round(sum(Weight)) AS BIGINT) AS count,
      sum(Weight) / sum(sum(Weight)) OVER () AS share,
      sum(Weight * Succeeded) / sum(CASE WHEN Succeeded IS NOT NULL THEN Weight END) AS success_rate
    FROM events
    WHERE Event = 'agent.run'
    GROUP BY 1
    ORDER BY count DESC, framework
    """,
    {"framework": "text", "count": "count", "share": "share", "success_rate": "share"},
    "No agent has run yet.",
)

QUERIES: Final = (FEATURE_USAGE, PERFORMANCE, ERRORS, FAILURES, FRAMEWORK_PREFERENCE)
