"""A key is sent only to its endpoint: no log, error, `repr`, stats or file has it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from automagik_telemetry.settings import Secret
from automagik_telemetry.sinks.langwatch._http import LangWatchExporter
from tests.faults.sending import checked_metrics, line, running
from tests.faults.server import Endpoint, Exchange, closed_port, hang_up, reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.server import Answer

pytestmark = pytest.mark.slow

KEY = "sk-lw-planted-0123456789"


def gossip(status: int) -> Answer:
    """Answer with the key that was sent, in the body and in a header."""

    def answer(exchange: Exchange) -> None:
        key = exchange.received.headers["X-Auth-Token"]
        body = f'{{"partialSuccess":{{"rejectedSpans":1,"errorMessage":"{key} is no good"}}}}'.encode()
        exchange.reply(status, body, content_type="application/json", x_key=key)

    return answer


@pytest.mark.parametrize(
    "answer",
    [gossip(200), gossip(401), gossip(503), reply(302, b"", location=f"https://x.test/?key={KEY}"), hang_up],
    ids=["partial success", "refused", "unavailable", "redirect", "hang up"],
)
def test_a_key_is_nowhere(answer: Answer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The key is in no log at DEBUG, for any response."""
    with Endpoint(answer) as endpoint:
        search(endpoint.url, tmp_path, caplog)
        assert endpoint.requests[0].headers["X-Auth-Token"] == KEY


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}", "https://127.0.0.1:{port}", "http://nowhere.invalid"])
def test_a_key_is_nowhere_when_the_endpoint_is_down(
    address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The key is in no error of the network."""
    search(address.format(port=closed_port()), tmp_path, caplog)


def search(url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Send an event with the key, and look for the key everywhere."""
    exporter = LangWatchExporter(url, Secret(KEY), None)
    with caplog.at_level(logging.DEBUG), running(tmp_path / "state", exporter) as made:
        made.append(line(0))
        made.flush(2.0)
        metrics = made.metrics()
        checked_metrics(made)
    # httpcore logs the headers of responses, which repeat the key.
    written = [record.getMessage() for record in caplog.records if not record.name.startswith("httpcore")]
    written += [str(record.exc_info) for record in caplog.records]
    written += [repr(exporter), str(vars(made)), repr(metrics), repr(made.worker.last_error)]
    written += [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert [text for text in written if "planted" in text] == []
    assert metrics["last_error"]


@pytest.mark.parametrize("make", [Secret, lambda key: LangWatchExporter("http://x", Secret(key), None)])
def test_a_key_that_is_no_header_is_not_shown(make: Callable[[str], object]) -> None:
    """A key with a line break would be two headers: it is rejected, without the key in the message."""
    try:
        shown = repr(make(f"{KEY}\r\nX-Evil: 1"))
    except ValueError as error:
        shown = str(error)
    assert "planted" not in shown
    assert "Evil" not in shown
