"""What stands around the spans or log records of one OTLP/JSON request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from automagik_processors._otlp_attributes import key_values
from automagik_processors._otlp_values import quote, utf8

if TYPE_CHECKING:
    from collections.abc import Mapping

_LISTS: Final = {
    "traces": ("resourceSpans", "scopeSpans", "spans"),
    "logs": ("resourceLogs", "scopeLogs", "logRecords"),
}


def envelope(signal: str, resource: Mapping[str, object], scope_name: str, scope_version: str) -> tuple[bytes, bytes]:
    r"""Return the head and the tail of a request: `head + b",\n".join(fragments) + tail` is its body.

    `signal` is "traces" or "logs", as the class attribute of `OTLPSpan` and `OTLPLogRecord` says; `resource` holds the
    attributes of who sends. The head ends in `[\n`. Raises ValueError for another signal.
    """
    if signal not in _LISTS:
        msg = f"signal: {signal!r}; allowed: {', '.join(_LISTS)}"
        raise ValueError(msg)
    resources, scopes, fragments = _LISTS[signal]
    attributes = ",".join(key_values(resource).values())
    scope = f'{{"name":{quote(scope_name)},"version":{quote(scope_version)}}}'
    head = (
        f'{{"{resources}":[{{"resource":{{"attributes":[{attributes}]}},"{scopes}":[{{"scope":{scope},"{fragments}":[\n'
    )
    return utf8(head), b"]}]}]}"
