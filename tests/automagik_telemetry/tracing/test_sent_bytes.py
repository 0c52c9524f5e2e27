"""A trace from its first span to the queue: the bytes of a varied corpus are those of a reviewed file.

After an intended change, write the file anew: `python -m tests.automagik_telemetry.tracing.test_sent_bytes`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from automagik_processors import Scrub
from automagik_processors._ids import FreshIds
from automagik_telemetry import ChainFormatter, LangWatchTrace
from automagik_telemetry.consent.decision import Consent
from automagik_telemetry.handlers._dictconfig import Builder, load
from automagik_telemetry.handlers._loggers import TRACE_LOGGER, own
from automagik_telemetry.sinks.langwatch.handler import TraceHandler
from automagik_telemetry.tracing import _propagation as propagation
from automagik_telemetry.tracing import _recorder as recorder
from automagik_telemetry.tracing import spans
from automagik_telemetry.tracing._recorder import Recorder, TraceLimits
from automagik_telemetry.tracing.sampler import AdaptiveSampler
from automagik_telemetry.tracing.spans import open_span, record_with

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, WrappedLogger

LOGGING_YAML = Path(__file__).parents[3] / "logging.yaml"
EXPECTED = Path(__file__).with_name("sent_bytes.txt")
NOW = 1_700_000_000.5


class Clock:
    """Both clocks of the recorder; a span that ends has taken 0.25 s."""

    now = NOW

    def time(self) -> float:
        """Return Unix seconds."""
        return self.now

    def perf_counter(self) -> float:
        """Return seconds since some moment, later at each call."""
        self.now += 0.25
        return self.now


class Color(Enum):
    """An Enum."""

    RED = "red"


@dataclasses.dataclass
class Ticket:
    """A dataclass."""

    title: str
    api_key: str


class Connection:
    """An object that is not plain data."""


class Hostile:
    """An object whose methods raise."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def alone() -> None:
    """One span with attributes."""
    attributes = {"agent_name": "simple", "success": True, "duration_ms": 12.5, "token_count": 7, "none": None}
    open_span("agent.run", "agent", attributes=attributes).end()


def nested() -> None:
    """An agent, its model and its tools, with usage and cost."""
    root = open_span("agent.simple", "agent", input="hi", user_id="u-1", thread_id="t-1", metadata={"team": ["x"]})
    root.trace.metadata["session"] = 3
    with root.within():
        messages = [{"role": "user", "content": "what is new?"}, {"role": "assistant", "tool_calls": [{"id": 1}]}]
        model = open_span("chat gpt-5", "llm", input=messages, model="gpt-5", provider="openai", temperature=0.5)
        model.usage = {"input_tokens": 12, "output_tokens": 3, "cache_read_tokens": 4, "reasoning_tokens": 1, "x": 9}
        model.cost, model.cost_estimated, model.first_token_at = 0.0125, True, NOW + 0.1
        with model.within():
            tool = open_span("search", "tool", input={"q": "news", "n": [1, 2.5, None, True]})
            tool.output = ["a", {"b": ("c", 1)}]
            tool.end()
        model.output = {"type": "text", "value": "not much"}
        model.end()
    root.output = "not much"
    root.end()


def failed() -> None:
    """An error in a child, and one in the root without an exception."""
    root = open_span("agent.simple", "workflow")
    with root.within():
        child = open_span("call", "client")
        child.error = {"type": "ValueError", "message": "password=hunter2 is wrong", "stacktrace": "line 1\nline 2"}
        child.end()
    root.error = {"message": "it failed", "type": ""}
    root.end()


def secrets() -> None:
    """Secrets by key, by shape, in JSON, in pairs and after flags."""
    token = "ghp_" + "a1B2" * 9
    root = open_span(f"run {token}", "agent", input={"password": "x", "headers": [["Authorization", "abc"]]})
    root.output = '{"api_key": "abc", "n": 1}'
    root.attributes = {"api_key": "abc", "url": "https://u:p@example.com/?sig=1", token: 1, "note": f"it is {token}"}
    root.metadata = {"name": "password", "value": "x", "argv": ["run", "--token", "abc"]}
    root.model, root.user_id = token, "Bearer abcdefgh12345678"
    root.trace.metadata["cookie"] = "a=b"
    root.error = {"type": "KeyError", "message": token, "secret": "x"}
    root.end()


def unicode() -> None:
    """Characters outside of ASCII, control characters and lone surrogates."""
    root = open_span("größe \u20ac \U0001f600", "agent", input='\u0000\u001f\u007f\u2028"\\', ключ="знач")
    root.output = {"\ud800": "\udfff", "é": ["ü" * 250]}
    root.attributes = {"long": "é" * 300, "bad \ud800": "\ud800 x"}
    root.end()


def odd() -> None:
    """Objects that are not plain data."""
    ring: list[Any] = []
    ring.append(ring)
    held = {"when": dt.datetime(2024, 1, 2, 3, tzinfo=dt.UTC), "price": Decimal("1.5"), "color": Color.RED, 3: b"abc"}
    root = open_span("odd", "odd", input=held, output=Ticket("t", "k"), model=Connection(), user_id=7, cost=-1)
    root.attributes = {
        "nan": float("nan"),
        "large": 2**70,
        "set": {1},
        "ring": ring,
        "deep": [[[[[[[[[[[[[[1]]]]]]]]]]]]]],
        "hostile": Hostile(),
        "langwatch.input": "mine",
        "error": ValueError("no"),
        "i": -(2**63),
        "f": 1e300,
    }
    root.metadata = {"ticket": Ticket("t", "k"), "path": PurePosixPath("/srv"), "empty": {}, "list": []}
    root.usage = {"input_tokens": 2.5, "output_tokens": True, "total_tokens": "3"}
    root.end()


def too_much() -> None:
    """More text, more values and more spans than one trace may hold."""
    root = open_span("n" * 300, "agent", input="x y " * 30_000, output=list(range(12_000)))
    root.attributes = {f"key {number}": number for number in range(130)} | {"k" * 1_100: "long", "text": "y z " * 9_000}
    with root.within():
        for number in range(6):
            open_span(f"child {number}", input="word " * 6_000, model="m" * 1_100).end()
    root.end()


def unfinished() -> None:
    """A child that goes on, and one whose metadata is not a dict."""
    root = open_span("run", "server")
    with root.within():
        open_span("goes on", "task")
        child = open_span("too", "task")
        child.metadata = ["not", "a dict"]  # type: ignore[assignment] # which an application may set
    root.end()


def joined() -> None:
    """A trace that another process began."""
    part = propagation.SpanContext.part_of("ab" * 16, "cd" * 8)
    open_span("joined", "consumer", span=part).end()


def expired() -> None:
    """A span that is too old, in a trace whose root is backdated too."""
    root = open_span("late", "agent")
    with root.within():
        old = open_span("old")
        old.backdate(30 * 86_400.0)
        old.end()
    root.backdate(3.0)
    root.end()


CASES: list[Callable[[], None]] = [
    *(alone, nested, failed, secrets, unicode, odd, too_much, unfinished, joined, expired),
]


def fragments(case: Callable[[], None], monkeypatch: pytest.MonkeyPatch, chain: ChainFormatter) -> list[str]:
    """Return the bytes appended to the queue by a case, with fixed IDs and times."""
    appended: list[bytes] = []
    pipeline: Any = SimpleNamespace(append=appended.append, close=lambda: None, spool=None)
    handler = TraceHandler(
        "langwatch",
        consent=lambda: Consent(logging.NOTSET, "a test"),
        verify=lambda _: None,
        pipeline=lambda *_: pipeline,
    )
    handler.setFormatter(chain)
    numbers = iter(range(1, 1_000))
    ids = FreshIds(lambda: next(numbers))
    clock = Clock()
    for module in (spans, recorder):
        monkeypatch.setattr(module, "time", clock)
    for module in (spans, propagation):
        monkeypatch.setattr(module, "new_span_id", ids.new_span)
        monkeypatch.setattr(module, "new_ids", ids.new)
    logger = own(TRACE_LOGGER)
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.addHandler(handler)
    record_with(Recorder(AdaptiveSampler(base_rate=1.0), TraceLimits(max_spans=5)))
    try:
        case()
        case()  # nothing that is remembered of the first changes the second
    finally:
        record_with(None)
        logger.removeHandler(handler)
    return [_shortened(line.decode().rstrip(",\n")) for line in appended]


def _shortened(line: str) -> str:
    """Return the beginning of a long line and its hash."""
    return line if len(line) < 5_000 else f"{line[:500]} ... {len(line)} {sha256(line.encode()).hexdigest()}"


def default_chain() -> ChainFormatter:
    """Return the chain in logging.yaml."""
    chain = Builder(load(LOGGING_YAML)).handler("langwatch").formatter
    assert isinstance(chain, ChainFormatter)
    return chain


def expected(case: Callable[[], None]) -> list[str]:
    """Return the reviewed lines of a case."""
    lines = EXPECTED.read_text(encoding="utf-8").split("\n")  # U+2028 is no end of a line here
    return [line.partition(" ")[2] for line in lines if line.partition(" ")[0] == case.__name__]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_bytes_of_a_trace_are_those_that_were_reviewed(
    case: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trace is encoded as the reviewed file has it, the first time and the second."""
    sent = fragments(case, monkeypatch, default_chain())
    assert len(sent) == 2
    assert sent == expected(case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_own_processor_in_between_changes_no_byte(case: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain with an application's own processor in it sends the same."""
    seen: list[EventDict] = []

    def own(_logger: WrappedLogger, _method_name: str, event_dict: EventDict) -> EventDict:
        seen.append(event_dict)
        return dict(event_dict)

    chain = ChainFormatter([Scrub(), own, LangWatchTrace()])
    assert fragments(case, monkeypatch, chain) == expected(case)
    assert [type(event["spans"]) for event in seen] == [list, list]


def _write() -> None:
    """Rewrite the file."""
    with pytest.MonkeyPatch.context() as patch:
        lines = [f"{case.__name__} {line}\n" for case in CASES for line in fragments(case, patch, default_chain())]
    EXPECTED.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    _write()
