"""What an OTLP endpoint's answer means: the rules of OTLP/HTTP, and of the network that stands before it.

Source: OpenTelemetry Protocol Specification 1.x, "OTLP/HTTP Response", "Failures" and "Retryable Response Codes".
"""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING

import orjson

from automagik_telemetry._fork_lock import importing
from automagik_telemetry.export._contract import ExportResult, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

_RETRYABLE = frozenset({429, 502, 503, 504})
# Not the endpoint's answers but those of a network that wants a login first (RFC 9110, 15.5.8 and RFC 6585, 6).
_IN_BETWEEN = frozenset({407, 511})
_TOO_LARGE = 413
_MAX_RETRY_AFTER = 86_400.0


def classify(status: int, headers: Mapping[str, str], body: bytes, now: float) -> ExportResult:
    """Return the outcome of a request that was answered; `body` is decompressed, `now` in Unix seconds."""
    if 200 <= status < 300:  # noqa: PLR2004 - the successful class (RFC 9110, 15.3)
        if _is_html(headers, body):
            return ExportResult(Outcome.RETRY, detail=f"HTTP {status} with a web page: not an OTLP endpoint's answer")
        return _partial_success(body)
    detail = f"HTTP {status}"
    if status in _RETRYABLE:
        return ExportResult(Outcome.RETRY, retry_after=retry_after(headers.get("retry-after"), now), detail=detail)
    if 300 <= status < 400 or status in _IN_BETWEEN:  # noqa: PLR2004 - the redirection class (RFC 9110, 15.4)
        return ExportResult(Outcome.RETRY, detail=f"{detail}: something else than the endpoint answered")
    if status == _TOO_LARGE:
        return ExportResult(Outcome.TOO_LARGE, detail=f"{detail}: the batch is too large")
    return ExportResult(Outcome.REJECTED, detail=detail)


def retry_after(value: str | None, now: float) -> float:
    """Return the least number of seconds to wait that a Retry-After header asks for (RFC 9110, 10.2.3).

    It says seconds or a date. What can't be read, or lies in the past, asks for nothing; a day is the longest.
    """
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        seconds = _date(value) - now
    if math.isnan(seconds):
        return 0.0
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER)


def _date(value: str) -> float:
    """Return an HTTP date in Unix seconds, or NaN."""
    with importing:
        from email.utils import parsedate_to_datetime  # noqa: PLC0415 - much to import for what is rarely a date

    try:
        date = parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=dt.UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return math.nan


def _is_html(headers: Mapping[str, str], body: bytes) -> bool:
    return "html" in headers.get("content-type", "").lower() or body.lstrip()[:1] == b"<"


def _partial_success(body: bytes) -> ExportResult:
    """Read the count of rejected events from the answer, if it says one; anything else is full success."""
    try:
        partial = orjson.loads(body)["partialSuccess"]
        rejected = max(int(partial.get("rejectedSpans") or 0), int(partial.get("rejectedLogRecords") or 0), 0)
        message = partial.get("errorMessage")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return ExportResult(Outcome.SUCCESS)
    detail = f"partial success: {message[:200]}" if isinstance(message, str) and message else ""
    return ExportResult(Outcome.SUCCESS, rejected=rejected, detail=detail)
