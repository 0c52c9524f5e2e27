"""LangWatch's real SDK and ours: the same headers, URL and keys for the same work, in one trace, without its set-up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from automagik_telemetry.sinks.langwatch import _keys as langwatch_keys
from tests.faults.server import Endpoint, Exchange, Request
from tests.processors.conftest import parse_body, read_attributes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.version_info >= (3, 14), reason="the SDK is not for this Python"),
]
PROGRAM = Path(__file__).with_name("langwatch_program.py")
ROOT = PROGRAM.parents[4]
KEY = "sk-lw-" + "k" * 48


class Done(NamedTuple):
    """The output of the program, and our requests and the SDK's, each with its parsed body."""

    output: dict[str, Any]
    ours: list[tuple[Request, Any]]
    sdks: list[tuple[Request, Any]]

    def spans(self) -> dict[str, tuple[Any, dict[str, Any]]]:
        """Return every span and its attributes by name."""
        return {
            span.name: (span, read_attributes(span))
            for _, body in (*self.ours, *self.sdks)
            for resource in body.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }


def header(request: Request, name: str) -> str | None:
    """Return a header by its name in lower case."""
    return {key.lower(): value for key, value in request.headers.items()}.get(name)


def take(exchange: Exchange) -> None:
    """Accept a body of any form."""
    exchange.reply(200, b"{}", content_type="application/json")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The program, run once: importing the SDK takes seconds."""
    assert find_spec("langwatch"), "the SDK is among the pinned dependencies"
    folder = tmp_path_factory.mktemp("home")
    text = (ROOT / "logging.yaml").read_text(encoding="utf-8")
    (folder / "mine.yaml").write_text(text.replace("durable: true", "sdk: true"), encoding="utf-8")
    with Endpoint(take) as endpoint:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "ASKS_FOR_THE_SDK": str(folder / "mine.yaml"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "LANGWATCH_API_KEY": KEY,
            "LANGWATCH_ENDPOINT": endpoint.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-host-secret=1",
            "AUTOMAGIK_ENABLE_TRACING_IN_CI": "true",
            "AUTOMAGIK_SAMPLING_RATE": "1",
            "NO_PROXY": "127.0.0.1",
        }
        program = subprocess.run(
            [sys.executable, str(PROGRAM)], env=environment, capture_output=True, text=True, check=False, timeout=110
        )
        assert program.returncode == 0, program.stderr
        ours, sdks = [], []
        for request in endpoint.requests:
            if header(request, "content-type") == "application/json":
                ours.append((request, parse_body("traces", request.body)))
            else:
                body = ExportTraceServiceRequest()
                body.ParseFromString(request.body)
                sdks.append((request, body))
    return Done(json.loads(program.stdout.splitlines()[-1]), ours, sdks)


def test_headers_and_url_are_the_sdks(done: Done) -> None:
    """The SDK's headers and URL are ours for every kind of key, with and without a project."""
    for ours, sdks in done.output["headers"]:
        assert ours == sdks
    paths = {request.path for request, _ in (*done.ours, *done.sdks)}
    assert paths == {"/api/otel/v1/traces"}
    for name in ("authorization", "x-auth-token"):
        assert len({header(request, name) for request, _ in (*done.ours, *done.sdks)}) == 1


def test_our_keys_are_the_sdks(done: Done) -> None:
    """Each LangWatch key that we use is defined by the SDK."""
    taken = {row.key for row in langwatch_keys.KEYS if row.source == langwatch_keys.LANGWATCH} - {"metadata"}
    assert taken <= {*done.output["keys"], "langwatch.user.id"}


def test_the_same_call_sends_the_same(done: Done) -> None:
    """Every attribute of the SDK's span for a call of a model is one of ours, with the same value."""
    spans = done.spans()
    ours, sdks = spans["ours.chat.7"][1], spans["sdk.chat.7"][1]
    shared = {"langwatch.span.type", "langwatch.input", "langwatch.output", "langwatch.metrics", "gen_ai.request.model"}
    assert shared <= sdks.keys()
    for key in shared:
        if key in ("langwatch.input", "langwatch.output", "langwatch.metrics"):
            assert json.loads(ours[key]) == json.loads(sdks[key]), key
        else:
            assert ours[key] == sdks[key]


def test_spans_of_both_are_one_trace_and_runs_do_not_mix(done: Done) -> None:
    """Each of twenty overlapping runs is one trace of the SDK's spans and ours, ours below the SDK's."""
    spans = done.spans()
    assert done.output["settled"] is True
    runs: defaultdict[bytes, set[str]] = defaultdict(set)
    for name, (span, _) in spans.items():
        if not name.endswith("the SDK"):
            runs[span.trace_id].add(name)
    parts = ("sdk", "sdk.agent", "sdk.chat", "ours.agent", "ours.chat")
    assert sorted(map(sorted, runs.values())) == sorted(
        sorted(f"{part}.{number}" for part in parts) for number in range(20)
    )
    for number in range(20):
        assert spans[f"ours.agent.{number}"][0].parent_span_id == spans[f"sdk.agent.{number}"][0].span_id
        assert spans[f"ours.chat.{number}"][0].parent_span_id == spans[f"ours.agent.{number}"][0].span_id


def test_nothing_of_the_sdk_is_imported_or_taken_over(done: Done) -> None:
    """The SDK is imported only by the application or by logging.yaml. Then its client is used, and never set up."""
    assert done.output["imported_before"] == []
    assert done.output["imported_on_its_thread"] is True
    assert done.output["set_up_by_us"] is False
    assert done.output["clients_made"] >= 1
    assert done.output["provider_is_the_sdks"] is True
    for request, _ in done.ours:
        assert header(request, "x-host-secret") is None
