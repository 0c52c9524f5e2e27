"""The classification of responses, by OTLP/HTTP and for networks in front of an endpoint."""

from __future__ import annotations

import datetime as dt
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automagik_telemetry.export._contract import ExportResult, Outcome
from automagik_telemetry.export.http._response import classify, retry_after

NOW = 1_800_000_000.0
DAY = 86_400.0
JSON = {"content-type": "application/json"}
HTML = {"content-type": "text/html; charset=utf-8"}


@pytest.mark.fault(4, 5, 6, 15)
@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((status, Outcome.RETRY) for status in (429, 502, 503, 504)),
        *((status, Outcome.REJECTED) for status in (400, 401, 402, 403, 404, 405, 408, 415, 422, 500, 501, 505)),
        *((status, Outcome.RETRY) for status in (301, 302, 303, 304, 307, 308)),
        *((status, Outcome.RETRY) for status in (407, 511)),
        *((status, Outcome.SUCCESS) for status in (200, 201, 202, 204)),
        (413, Outcome.TOO_LARGE),
    ],
)
def test_status(status: int, outcome: Outcome) -> None:
    """Each status has one meaning."""
    result = classify(status, JSON, b"", NOW)
    assert (result.outcome, result.rejected, result.retry_after) == (outcome, 0, 0.0)
    assert (str(status) in result.detail) == (outcome is not Outcome.SUCCESS)


STATUS = b'{"code":3,"message":"no such field"}'


@pytest.mark.fault(5, 6, 87)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 500, 501])
@pytest.mark.parametrize(
    ("content_type", "body", "by_endpoint"),
    [
        ("application/json", STATUS, True),
        ("application/json; charset=utf-8", STATUS, True),
        ("application/json", b"{}", True),
        ("application/json", b'{"message":"without a code"}', True),
        ("application/json", b'{"code":3,"message":"m","details":[{"@type":"t"}]}', True),
        ("text/plain", STATUS, False),
        ("application/x-protobuf", b"\x08\x03", False),
        ("", STATUS, False),
        ("text/html", b"<html>Bad Gateway</html>", False),
        ("application/json", b"", False),
        ("application/json", b"\xff", False),
        ("application/json", b'"no"', False),
        ("application/json", b"[]", False),
        ("application/json", b"null", False),
        ("application/json", b'{"error":"no route"}', False),
        ("application/json", b'{"code":"ENOROUTE","message":"no route"}', False),
        ("application/json", b'{"code":true}', False),
        ("application/problem+json", b'{"title":"Bad Request"}', False),
    ],
)
def test_only_an_otlp_status_is_the_endpoints_refusal(
    status: int, content_type: str, body: bytes, *, by_endpoint: bool
) -> None:
    """In JSON, like the request; anything else may be a proxy's."""
    result = classify(status, {"content-type": content_type}, body, NOW)
    assert (result.outcome, result.by_endpoint) == (Outcome.REJECTED, by_endpoint)


@pytest.mark.fault(16)
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (HTML, b""),
        (HTML, b"{}"),
        ({}, b"<!DOCTYPE html>"),
        (JSON, b"\r\n <html>"),
        ({"content-type": "TEXT/HTML"}, b"x"),
    ],
)
def test_a_web_page_is_no_success(headers: dict[str, str], body: bytes) -> None:
    """A captive portal may respond with 200."""
    assert classify(200, headers, body, NOW).outcome is Outcome.RETRY


@pytest.mark.fault(17)
@pytest.mark.parametrize("headers", [{}, {"content-type": "text/plain"}, {"content-type": "application/x-protobuf"}])
@pytest.mark.parametrize("body", [b"", b"{}", b"ok", b"null", b"[]", b"\xff", b'{"partialSuccess":{}}', b"[" * 10_000])
def test_an_odd_success_is_a_success(headers: dict[str, str], body: bytes) -> None:
    """A 200 is a success with any body and content type that is not HTML."""
    assert classify(200, headers, body, NOW) == ExportResult(Outcome.SUCCESS)


@pytest.mark.fault(13, 14)
@pytest.mark.parametrize(
    ("partial", "rejected"),
    [
        ('{"rejectedSpans":"3"}', 3),
        ('{"rejectedSpans":3,"errorMessage":"no"}', 3),
        ('{"rejectedLogRecords":"4"}', 4),
        ('{"rejectedSpans":"0","errorMessage":"slow down"}', 0),
        *((partial, 0) for partial in ("null", "[]", "3", '{"rejectedSpans":-1}', '{"rejectedSpans":"many"}')),
        *((f'{{"rejectedSpans":{number}}}', 0) for number in ("1e999", "null", "[]", "{}", '"1e400"')),
    ],
)
def test_partial_success_is_never_tried_again(partial: str, rejected: int) -> None:
    """Rejected events are counted, if the response is valid."""
    result = classify(200, JSON, f'{{"partialSuccess":{partial}}}'.encode(), NOW)
    assert (result.outcome, result.rejected) == (Outcome.SUCCESS, rejected)


def date(seconds: float) -> str:
    """Return an HTTP date so many seconds from now."""
    return format_datetime(dt.datetime.fromtimestamp(NOW + seconds, dt.UTC), usegmt=True)


@pytest.mark.fault(7, 8)
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("-5", 0.0),
        ("NaN", 0.0),
        ("inf", DAY),
        ("-inf", 0.0),
        ("31536000", DAY),
        ("9" * 400, DAY),
        (date(90), 90.0),
        (date(-90), 0.0),
        (date(366 * DAY), DAY),
        (date(90).replace("GMT", "-0000"), 90.0),
        *(
            (garbage, 0.0)
            for garbage in ("", "soon", "Mon", "Wed, 99 Foo 2026 99:99:99 GMT", "\x00", ", , ,", "٣x", "1 2")
        ),
        (None, 0.0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    """Seconds or a date, as a minimum between nothing and a day."""
    assert retry_after(value, NOW) == pytest.approx(seconds)


@pytest.mark.fault(8)
@given(st.text())
def test_retry_after_never_fails(value: str) -> None:
    """Any Retry-After header gives a delay from 0 to a day."""
    assert 0.0 <= retry_after(value, NOW) <= DAY


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retry_after_counts_for_what_is_tried_again(status: int) -> None:
    """With each status that may be."""
    assert classify(status, {"retry-after": "5"}, b"", NOW).retry_after == 5.0
