"""The langwatch sink without LangWatch's SDK: its URL, its headers, and the secrecy of its key."""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from automagik_telemetry import ConfigurationError, configure, get_tracing_manager, langwatch_handler
from automagik_telemetry.handlers import _loggers as loggers
from automagik_telemetry.sinks.langwatch._http import auth_headers
from automagik_telemetry.sinks.langwatch.handler import traces_url
from automagik_telemetry.tracing.spans import open_span
from tests.faults.process import run as run_process
from tests.faults.server import Endpoint, black_hole, closed_port, reply
from tests.processors.conftest import parse_body

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automagik_telemetry.manager import TracingManager

pytestmark = pytest.mark.slow

DEFAULT_CONFIG = Path(__file__).parents[4] / "logging.yaml"
KEY = "sk-lw-" + "k" * 48
CLOUD = "https://app.langwatch.ai/api/otel/v1/traces"


@pytest.fixture
def langwatch() -> Iterator[Endpoint]:
    """An endpoint in place of LangWatch that accepts everything."""
    with Endpoint() as endpoint:
        yield endpoint


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch, langwatch: Endpoint) -> TracingManager:
    """Opt in to full traces alone, of every run."""
    monkeypatch.setenv("LANGWATCH_API_KEY", KEY)
    monkeypatch.setenv("LANGWATCH_ENDPOINT", langwatch.url)
    monkeypatch.setenv("AUTOMAGIK_ENABLE_TRACING_IN_CI", "true")
    monkeypatch.setenv("AUTOMAGIK_SAMPLING_RATE", "1")
    return get_tracing_manager()


def metrics(manager: TracingManager) -> dict[str, Any]:
    """Return the metrics of the logged traces."""
    assert manager.observability is not None
    metrics: dict[str, Any] = manager.observability.get_metrics()["providers"]["langwatch"]
    return metrics


def test_request_is_what_langwatch_takes(
    traced: TracingManager, langwatch: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trace is one POST, with its path, type and headers, and is valid for the official protobuf classes."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-host-secret=1")
    root = open_span("agent.simple", "agent", input="hi")
    with root.within():
        open_span("chat", "llm", model="m", usage={"input_tokens": 1}).end(TimeoutError("slow"))
    root.end()
    assert traced.flush(20)
    (request,) = langwatch.requests
    assert request.path == "/api/otel/v1/traces"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["X-Auth-Token"] == KEY
    assert request.headers["Content-Type"] == "application/json"
    assert "x-host-secret" not in {name.lower() for name in request.headers}
    (resource,) = parse_body("traces", request.body).resource_spans
    assert [span.name for span in resource.scope_spans[0].spans] == ["agent.simple", "chat"]
    assert metrics(traced)["tracer"]["processed"] == 1


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("https://app.langwatch.ai", CLOUD),
        ("https://app.langwatch.ai/", CLOUD),
        ("https://app.langwatch.ai/api/v1/traces", CLOUD),
        ("https://app.langwatch.ai/api/collector", CLOUD),
        ("https://app.langwatch.ai/api/otel/v1/traces/", CLOUD),
        ("https://app.langwatch.ai/api/otel", CLOUD),
        ("http://localhost:5560", "http://localhost:5560/api/otel/v1/traces"),
        ("http://here/langwatch/api/v1/traces?x=1", "http://here/langwatch/api/otel/v1/traces?x=1"),
    ],
)
def test_endpoint_may_be_a_base_or_a_url_of_traces(endpoint: str, url: str) -> None:
    """LANGWATCH_ENDPOINT in the forms of the integration guide, of the SDK and of older applications."""
    assert traces_url(endpoint) == url


def test_keys_name_their_project_or_need_it() -> None:
    """The headers of each kind of key, which a test of the SDK compares with its own."""
    assert auth_headers(KEY, "p") == {"Authorization": f"Bearer {KEY}", "X-Auth-Token": KEY}
    scoped = "sk-lw-" + "a" * 16 + "_" + "b" * 48
    assert auth_headers(scoped, "p")["X-Project-Id"] == "p"
    assert auth_headers("pat-lw-x", "p") == {"Authorization": "Basic cDpwYXQtbHcteA=="}


@pytest.mark.parametrize("status", [401, 402, 403, 500])
def test_refusal_is_final_and_reported(traced: TracingManager, langwatch: Endpoint, status: int) -> None:
    """Traces are counted as rejected once, with the reason, for a wrong key or an exhausted plan."""
    langwatch.answers[:] = [reply(status)]
    open_span("run").end()
    assert traced.flush(20)
    found = metrics(traced)
    assert found["tracer"]["dropped_by_reason"] == {"rejected": 1}
    assert f"HTTP {status}" in found["last_error"]
    assert len(langwatch.requests) == 1


def test_no_request_is_larger_than_langwatch_takes(traced: TracingManager, langwatch: Endpoint) -> None:
    """Traces of megabytes are spread over requests of less than 10 MiB, and none is lost."""
    for _ in range(6):
        root = open_span("agent", "agent")
        with root.within():
            for number in range(40):
                open_span(f"s{number}", input="\u20ac" * 60_000).end()
        root.end()
    assert traced.flush(30)
    assert len(langwatch.requests) > 1
    assert max(len(request.body) for request in langwatch.requests) < 10 * 2**20
    assert metrics(traced)["tracer"]["processed"] == 6


def test_key_is_never_written_down(
    traced: TracingManager, langwatch: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """No log of ours, httpx and httpcore at DEBUG, no repr and no error holds the key."""
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "automagik_telemetry"):
        caplog.set_level(logging.DEBUG, logger=name)
    langwatch.answers[:] = [reply(503), reply(401)]
    open_span("run").end()
    traced.flush(5)
    assert langwatch.requests
    assert traced.observability is not None
    provider = traced.observability.providers["langwatch"]
    pipeline = provider.handler._pipeline  # type: ignore[attr-defined] # where it would be
    written = caplog.text + repr([vars(item) for item in (traced, provider, pipeline.worker)]) + str(metrics(traced))
    assert KEY not in written
    assert KEY not in repr(traced.config)


def test_traces_reach_no_other_handler(
    traced: TracingManager, langwatch: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """The application's handlers, on the root and on `automagik`, get no trace; ours accepts only traces."""
    seen: list[logging.LogRecord] = []
    listening = logging.Handler()
    listening.emit = seen.append  # type: ignore[method-assign,assignment]
    loggers = [logging.getLogger(), logging.getLogger("automagik")]
    for logger in loggers:
        logger.addHandler(listening)
    try:
        open_span("run", input="private").end()
        logging.getLogger("automagik_telemetry.traces").info("not a trace")
    finally:
        for logger in loggers:
            logger.removeHandler(listening)
    assert traced.flush(20)
    assert seen == []
    assert metrics(traced)["tracer"]["queued"] == 1


def test_file_that_moves_the_sink_shows_traces_to_no_other_handler(
    tmp_path: Path, traced: TracingManager, langwatch: Endpoint
) -> None:
    """With a configuration without the logger of traces, they reach LangWatch, and no other handler of `automagik`."""
    text = DEFAULT_CONFIG.read_text(encoding="utf-8").replace("[telemetry]", "[telemetry, langwatch, file]", 1)
    text = text.replace("automagik-events.jsonl", str(tmp_path / "local.jsonl")).replace(
        "automagik_telemetry.traces:", "other:"
    )
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    manager = configure(tmp_path / "mine.yaml")
    open_span("run", input="private").end()
    assert manager.flush(20)
    assert len(langwatch.requests) == 1
    assert not (tmp_path / "local.jsonl").exists()


@pytest.mark.fault(84)
def test_what_waits_is_private_and_redacted(
    tmp_path: Path, traced: TracingManager, langwatch: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queued traces are in private files, without secrets; with `durable: false` they are only in memory."""
    langwatch.answers[:] = [reply(503)]
    open_span("run", input="planted, password=hunter2").end()
    assert not traced.shutdown()
    state = tmp_path / "state"
    (segment,) = state.rglob("queue/*/*.json")
    text = segment.read_text(encoding="utf-8")
    assert "planted" in text
    assert "hunter2" not in text
    assert (segment.stat().st_mode & 0o777, segment.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    segment.unlink()
    path = tmp_path / "mine.yaml"
    path.write_text(
        DEFAULT_CONFIG.read_text(encoding="utf-8").replace("durable: true", "durable: false"), encoding="utf-8"
    )
    manager = configure(path)
    open_span("run", input="planted").end()
    assert not manager.flush(0.5)
    assert not list(state.rglob("*.json"))


@pytest.mark.fault(84)
def test_without_a_key_traces_are_held(
    tmp_path: Path, traced: TracingManager, langwatch: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key nothing is sent and nothing deleted; when the key is back, everything is sent."""
    open_span("run").end()
    assert traced.flush(20)
    monkeypatch.delenv("LANGWATCH_API_KEY")
    open_span("run").end()
    assert not traced.flush(0.5)
    assert len(langwatch.requests) == 1
    assert len(list((tmp_path / "state").rglob("*.json"))) == 1
    monkeypatch.setenv("LANGWATCH_API_KEY", KEY)
    assert traced.flush(20)
    assert len(langwatch.accepted) == 2


def test_limits_of_what_waits(traced: TracingManager) -> None:
    """The limits are 16 MiB and a day; a trace of 4 MiB fits into one segment."""
    made = loggers.sinks()["langwatch"].build()
    limits = made.limits
    assert (limits.max_disk_bytes, limits.max_memory_bytes, limits.max_age) == (16 * 2**20, 16 * 2**20, 86_400.0)
    assert made.spool is not None
    assert made.spool.max_age == limits.max_age
    for _ in range(5):
        made.append(b"x" * (limits.max_event_bytes - 1) + b"\n")
    full = made.metrics()["tracer"]["dropped_by_reason"]["queue_full"]
    assert full in {2, 3}, "each takes more than 4 MiB of 16, and one that is being sent can't make room"
    made.append(b"x" * (limits.max_event_bytes + 3))
    assert made.metrics()["tracer"]["dropped_by_reason"] == {"queue_full": full, "too_large": 1}
    made.queue.purge("test")


def test_mistakes_in_the_file_are_one_clear_error(tmp_path: Path) -> None:
    """A bad endpoint, and a chain without traces, are named with their place."""
    with pytest.raises(ValueError, match=r"endpoint must be a valid .*, got 'nowhere'"):
        langwatch_handler(endpoint="nowhere")
    path = tmp_path / "mine.yaml"
    text = DEFAULT_CONFIG.read_text(encoding="utf-8")
    path.write_text(text.replace("automagik_telemetry.LangWatchTrace", "automagik_processors.OTLPLogRecord"))
    with pytest.raises(ConfigurationError, match="LangWatch takes traces"):
        configure(path)


def test_bad_key_is_off_and_warned_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A key that is not a valid header opens nothing, and the warning does not repeat it."""
    monkeypatch.setenv("LANGWATCH_API_KEY", "sk-lw-hidden\r\nX-Evil: 1")
    monkeypatch.setenv("AUTOMAGIK_ENABLE_TRACING_IN_CI", "true")
    assert get_tracing_manager().observability is None
    assert "LANGWATCH_API_KEY" in caplog.text
    assert "hidden" not in caplog.text


def test_withdrawal_drops_what_waits(
    traced: TracingManager, langwatch: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once an opt-out is set, no queued trace is sent."""
    langwatch.answers[:] = [reply(503)]
    open_span("run").end()
    langwatch.wait_for(lambda: langwatch.requests)
    monkeypatch.setenv("AUTOMAGIK_DISABLE_ALL_TRACING", "1")
    traced.flush(20)
    assert len(langwatch.requests) == 1
    assert langwatch.accepted == []
    assert metrics(traced)["tracer"]["dropped_by_reason"] == {"consent_withdrawn": 1}


def test_hanging_langwatch_delays_neither_application_nor_telemetry(
    traced: TracingManager, langwatch: Endpoint, monkeypatch: pytest.MonkeyPatch, receiver: Any
) -> None:
    """While LangWatch hangs, traces are queued at once and the telemetry sink sends."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENABLED", "true")
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENDPOINT", receiver.url)
    langwatch.answers[:] = [black_hole]
    manager = configure()
    open_span("first").end()
    threading.Thread(target=manager.observability.flush, args=(20,), daemon=True).start()  # type: ignore[union-attr]
    langwatch.wait_for(lambda: langwatch.requests)
    started = time.monotonic()
    open_span("second").end()
    assert manager.telemetry is not None
    manager.telemetry.track_feature_usage("agents")
    assert manager.telemetry.flush(10)
    assert [span["name"] for span in receiver.spans()] == ["feature.used"]
    assert time.monotonic() - started < 8  # well below the 10 s that the request to LangWatch may take
    langwatch.closing.set()


ONE_RUN = """
from automagik_telemetry.tracing.spans import open_span
run = open_span("agent.simple", "agent", input="hi")
time.sleep(float(os.environ["RUN_TAKES"]))
run.end()
emit("done")
"""


@pytest.mark.parametrize("kind", ["answers", "refuses", "hangs"])
def test_end_of_the_process(langwatch: Endpoint, kind: str) -> None:
    """A process that ends right after its run has sent it if LangWatch responds, and never waits for long."""
    langwatch.answers[:] = [black_hole] if kind == "hangs" else [reply()]
    url = f"http://127.0.0.1:{closed_port()}" if kind == "refuses" else langwatch.url
    variables = {"LANGWATCH_API_KEY": KEY, "LANGWATCH_ENDPOINT": url, "AUTOMAGIK_TELEMETRY_ENABLED": "false"}
    ended = run_process(url, ONE_RUN, RUN_TAKES="1.0", **variables)
    assert (ended.status, ended.lines) == (0, ["done"])
    assert ended.seconds < 5  # measured beside the tests: see docs/observability.md
    if kind == "answers":
        assert len(langwatch.requests) == 1
        assert json.loads(langwatch.requests[0].body)["resourceSpans"]
