"""Undeclared events and those of another resource, left on disk by an older version or a program, are not sent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from automagik_telemetry.consent._application import Scope
from automagik_telemetry.settings import origin_of
from tests.faults.process import PRELUDE, run, sent
from tests.faults.server import Endpoint, closed_port

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

FLUSHED = "emit(tracing.flush(20)); emit(tracing.telemetry.get_metrics()['tracer']['recovered'])"
TRACE = """
from automagik_telemetry.tracing.spans import open_span
for name in ("first", "second"):
    root = open_span(name, "agent")
    with root.within():
        open_span("chat", "llm").end()
    root.end()
"""


def left(port: int, code: str = "log(0); log(1)", **variables: str) -> Path:
    """Return the segment that a process has left."""
    run(f"http://127.0.0.1:{port}", code, **variables)
    (path,) = Path(os.environ["AUTOMAGIK_STATE_DIR"]).rglob("queue/*/*.json")
    return path


def change(path: Path, edit: Callable[[Any], None]) -> None:
    """Change the resource of a segment."""
    head, rest = path.read_text(encoding="utf-8").rstrip("\0").split("\n", 1)
    request = json.loads(head + "]}]}]}")
    edit(request["resourceSpans"][0]["resource"]["attributes"])
    path.write_text(json.dumps(request, separators=(",", ":")).removesuffix("]}]}]}") + "\n" + rest, encoding="utf-8")


def value(attributes: list[dict[str, Any]], key: str, text: str) -> None:
    """Set an attribute."""
    (found,) = [attribute for attribute in attributes if attribute["key"] == key]
    found["value"] = {"stringValue": text}


@pytest.mark.fault(89)
def test_an_undeclared_event_is_not_sent() -> None:
    """An undeclared event is dropped, and the others of its segment are sent."""
    port = closed_port()
    path = left(port)
    first, second = sent(0, 1)
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[1] = lines[1].replace('"name":"agent.run"', '"name":"agent.secret"')
    path.write_text("\n".join(lines), encoding="utf-8")
    with Endpoint(port=port) as endpoint:
        settled, counts = run(endpoint.url, FLUSHED).lines
    assert settled == "True"
    assert "'processed': 1, 'dropped': 1, 'dropped_by_reason': {'undeclared': 1}, 'pending': 0" in counts
    assert endpoint.accepted == [second]
    assert first not in str(endpoint.requests)


@pytest.mark.fault(89)
@pytest.mark.parametrize(
    "edit",
    [
        lambda attributes: value(attributes, "service.name", "another"),
        lambda attributes: value(attributes, "user.id", "6a0ffe66-2c5d-4c3a-9d0c-0d5a4b8e3f10"),
        lambda attributes: attributes.append({"key": "host.name", "value": {"stringValue": "laptop"}}),
        lambda attributes: attributes.pop(0),
    ],
)
def test_another_resource_is_not_sent(edit: Callable[[Any], None]) -> None:
    """The segment of another application or user, or with one different attribute, is dropped and counted."""
    port = closed_port()
    change(left(port), edit)
    with Endpoint(port=port) as endpoint:
        settled, counts = run(endpoint.url, FLUSHED).lines
        assert endpoint.requests == []
    assert settled == "True"
    assert "'dropped_by_reason': {'foreign': 2}, 'pending': 0" in counts
    assert list(Path(os.environ["AUTOMAGIK_STATE_DIR"]).rglob("queue/*/*.json")) == []


@pytest.mark.fault(89)
def test_another_process_of_the_application_is_not_another_resource() -> None:
    """Sessions of processes differ, and versions differ after an upgrade."""

    def edit(attributes: list[dict[str, Any]]) -> None:
        value(attributes, "service.version", "0.0.1")
        value(attributes, "telemetry.sdk.version", "0.0.1")

    port = closed_port()
    change(left(port), edit)
    with Endpoint(port=port) as endpoint:
        run(endpoint.url, FLUSHED)
    assert endpoint.accepted == sent(0, 1)


@pytest.mark.fault(89)
def test_another_application_sends_its_own() -> None:
    """Two applications of one user and one endpoint have separate folders, and neither touches the other's events."""
    prelude = PRELUDE.replace("tracing = automagik_telemetry.configure()", "tracing = None") + (
        "sink = automagik_telemetry.telemetry_handler(service_name=os.environ['NAME'])\n"
        "sink.setFormatter(automagik_telemetry.ChainFormatter([automagik_telemetry.Anonymize(), "
        "automagik_telemetry.OTLP()]))\n"
        "events.setLevel('INFO'); events.addHandler(sink)\n"
    )
    port = closed_port()
    for name in ("shop", "bank"):
        run(f"http://127.0.0.1:{port}", f"log({len(name)}); log({name!r} == 'bank')", prelude, NAME=name)
    with Endpoint(port=port) as endpoint:
        shop, bank = (Scope(name, origin_of(endpoint.url)) for name in ("shop", "bank"))
        ended = run(endpoint.url, "log(7); emit(sink.force_flush(20))", prelude, NAME="shop")
        assert ended.lines == ["True"]
        of_shop = sent(4, 0, 7, scope=shop)
        assert set(endpoint.accepted) == set(of_shop)
        run(endpoint.url, "log(8); emit(sink.force_flush(20))", prelude, NAME="bank")
    assert set(endpoint.accepted) == {*of_shop, *sent(4, 1, 8, scope=bank)}


FAILED_TRACE = """
import contextlib

with contextlib.suppress(ValueError), tracing.observability.trace_agent_run("simple"):
    try:
        raise KeyError("first")
    except KeyError as error:
        raise ValueError("second") from error
"""


def traced(port: int) -> tuple[str, dict[str, str]]:
    """Return a URL, and the variables with which traces alone go there."""
    url = f"http://127.0.0.1:{port}"
    return url, {"AUTOMAGIK_TELEMETRY_ENABLED": "false", "LANGWATCH_API_KEY": "sk-lw-test", "LANGWATCH_ENDPOINT": url}


def recovered(port: int) -> tuple[str, int]:
    """Send the traces that are left; return the stats of recovered ones, and the number of spans that arrived."""
    url, variables = traced(port)
    metrics = "tracing.observability.get_metrics()['providers']['langwatch']['tracer']['recovered']"
    with Endpoint(port=port) as endpoint:
        settled, counts = run(url, f"emit(tracing.flush(20)); emit({metrics})", **variables).lines
    assert settled == "True"
    return counts, len(endpoint.accepted)


@pytest.mark.fault(84, 89)
def test_a_trace_with_an_exception_is_whole() -> None:
    """An exception is an event inside of a span, and begins as a log record does."""
    port = closed_port()
    url, variables = traced(port)
    run(url, FAILED_TRACE, **variables)
    counts, spans = recovered(port)
    assert "'processed': 1, 'dropped': 0" in counts
    assert spans == 1


@pytest.mark.fault(84, 89)
def test_a_trace_is_one_event_however_many_spans_it_has() -> None:
    """A trace is whole when read from a file; a damaged span drops its own trace, and no other."""
    port = closed_port()
    url, variables = traced(port)
    run(url, TRACE, **variables)
    run(url, TRACE, **variables)
    paths = sorted(Path(os.environ["AUTOMAGIK_STATE_DIR"]).rglob("queue/*-traces/*.json"))
    content = paths[0].read_bytes()
    paths[0].write_bytes(content.replace(b'"name":"chat"', b'"name"?"chat"', 1))
    counts, spans = recovered(port)
    assert "'processed': 3, 'dropped': 1, 'dropped_by_reason': {'corrupt': 1}, 'pending': 0" in counts
    assert spans == 6
