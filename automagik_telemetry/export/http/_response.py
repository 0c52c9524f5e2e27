"""Classifies the response of an OTLP endpoint, or of a network in front of it.

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
# Responses of a network that requires a login, not of the endpoint (RFC 9110, 15.5.8 and RFC 6585, 6).
_IN_BETWEEN = frozenset({407, 511})
_TOO_LARGE = 413
_STATUS = {"code": int, "message": str, "details": list}
"""The fields of a Status message, google.rpc.Status, each of which may be left out."""
_MAX_RETRY_AFTER = 86_400.0


def classify(status: int, headers: Mapping[str, str], body: bytes, now: float) -> ExportResult:
    """Return the outcome of a request by its response; `body` is decompressed, `now` is in Unix seconds."""
    if 200 <= status < 300:  # noqa: PLR2004 - the successful class (RFC 9110, 15.3)
        if _is_html(headers, body):
            return ExportResult(
                Outcome.RETRY, detail=f"HTTP {status} with a web page: not the response of an OTLP endpoint"
            )
        return _partial_success(body)
    detail = f"HTTP {status}"
    if status in _RETRYABLE:
        return ExportResult(Outcome.RETRY, retry_after=retry_after(headers.get("retry-after"), now), detail=detail)
    if 300 <= status < 400 or status in _IN_BETWEEN:  # noqa: PLR2004 - the redirection class (RFC 9110, 15.4)
        return ExportResult(Outcome.RETRY, detail=f"{detail}: not the response of an OTLP endpoint")
    if status == _TOO_LARGE:
        return ExportResult(Outcome.TOO_LARGE, detail=f"{detail}: the batch is too large")
    by_endpoint = _is_status(headers, body)
    detail = detail if by_endpoint else f"{detail}, perhaps from a proxy: its body is not an OTLP status"
    return ExportResult(Outcome.REJECTED, detail=detail, by_endpoint=by_endpoint)


def retry_after(value: str | None, now: float) -> float:
    """Return the minimum delay in seconds of a Retry-After header (RFC 9110, 10.2.3), at most a day.

    The header has seconds or a date. The delay is 0 if it is malformed or in the past.
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
        from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=dt.UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return math.nan


def _is_html(headers: Mapping[str, str], body: bytes) -> bool:
    return "html" in headers.get("content-type", "").lower() or body.lstrip()[:1] == b"<"


def _is_status(headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether a refusal is the endpoint's: OTLP has it say a Status message, in JSON like the request."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return False
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(status, dict) or not status.keys() <= _STATUS.keys():
        return False
    return all(type(value) is _STATUS[key] for key, value in status.items())


def _partial_success(body: bytes) -> ExportResult:
    """Return a success with the number of rejected events in the response, 0 if it has none."""
    try:
        partial = orjson.loads(body)["partialSuccess"]
        rejected = max(int(partial.get("rejectedSpans") or 0), int(partial.get("rejectedLogRecords") or 0), 0)
        message = partial.get("errorMessage")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return ExportResult(Outcome.SUCCESS)
    detail = f"partial success: {message[:200]}" if isinstance(message, str) and message else ""
    return ExportResult(Outcome.SUCCESS, rejected=rejected, detail=detail)
