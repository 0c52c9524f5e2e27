"""Each processor in real structlog configurations, and the package as a whole."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from structlog.contextvars import bound_contextvars
from structlog.testing import CapturingLogger, ReturnLogger

import automagik_processors
from automagik_processors import (
    Anonymize,
    Dropped,
    Flag,
    OTLPLogRecord,
    OTLPSpan,
    Sample,
    Word,
    merge_context,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CATALOGUE = {"agent.run": {"agent_name": Word(), "success": Flag()}}


@pytest.fixture(autouse=True)
def _own_structlog() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def logger_with(*processors: Any) -> Any:  # structlog's loggers have no static type
    """Return a structlog logger whose methods return what its processors made of an event."""
    return structlog.wrap_logger(ReturnLogger(), processors=list(processors), wrapper_class=structlog.BoundLogger)


def fields(_logger: object, _method_name: str, event_dict: Any) -> Any:
    """Hand the event dict to the logger as keyword arguments."""
    return (), dict(event_dict)


def test_merge_context_alone() -> None:
    """A bound value joins the fields of the call and of the logger."""
    log = logger_with(merge_context, fields)
    with bound_contextvars(request="r1"):
        assert log.bind(a=1).info("e", b=2) == ((), {"event": "e", "a": 1, "b": 2, "request": "r1"})


def test_anonymize_alone() -> None:
    """An undeclared event is dropped as structlog does it; a declared one has only its allowed fields."""
    log = logger_with(Anonymize(CATALOGUE, {"simple"}), fields)
    assert log.info("other", password="hunter2") is None  # noqa: S106 - a planted one
    assert log.info("agent.run", agent_name="simple", password="hunter2") == (  # noqa: S106 - not a real password
        (),
        {"event": "agent.run", "agent_name": "simple"},
    )


def test_sample_alone() -> None:
    """Errors get through, the rest doesn't, with the level that structlog's own processor adds."""
    log = logger_with(structlog.processors.add_log_level, Sample(rate=0, error_rate=1), fields)
    assert log.info("e") is None
    assert log.error("e") == ((), {"event": "e", "level": "error"})


@pytest.mark.parametrize("processor", [OTLPSpan, OTLPLogRecord])
def test_otlp_alone(
    processor: type[OTLPSpan | OTLPLogRecord],
    fragment: Callable[[str, bytes], Any],
    attributes: Callable[[Any], dict[str, Any]],
) -> None:
    """As the last processor it hands bytes to the logger, after structlog's usual ones, exceptions included."""
    logger = CapturingLogger()
    log = structlog.wrap_logger(
        logger,
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.dict_tracebacks,
            processor(),
        ],
    )
    try:
        int("no")
    except ValueError:
        log.exception("it failed", where={"file": "f", "line": 3})
    (call,) = logger.calls
    item = fragment(processor.signal, call.args[0])
    read = attributes(item)
    assert read["where"] == {"file": "f", "line": 3}
    assert read["exception"][0]["exc_type"] == "ValueError"
    if processor is OTLPLogRecord:
        assert item.severity_number == 17
    else:
        assert item.status.code == 2


def test_the_whole_chain_configured(
    fragment: Callable[[str, bytes], Any], attributes: Callable[[Any], dict[str, Any]]
) -> None:
    """`structlog.configure` with all of them: context in, anonymous bytes out, spans joined by their hashed ids."""
    structlog.configure(
        processors=[
            merge_context,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(),
            Anonymize(CATALOGUE, {"simple"}, key=b"k"),
            Sample(),
            OTLPSpan("event."),
        ],
        logger_factory=ReturnLogger,
    )
    log = structlog.get_logger()
    with bound_contextvars(trace_id="a" * 32, span_id="b" * 16, agent_name="simple", user="ann"):
        child = fragment("traces", log.info("agent.run", success=True))
        second = fragment("traces", log.info("agent.run", success=False))
    parent = fragment("traces", log.info("agent.run", trace_id="a" * 32, span_id="b" * 16))
    assert attributes(child) == {"event.agent_name": "simple", "event.success": True}
    assert (child.trace_id, child.parent_span_id) == (parent.trace_id, parent.span_id)
    assert child.span_id != second.span_id
    assert parent.span_id.hex() != "b" * 16
    assert log.info("other") is None


def test_order_of_the_callers_keys_gives_the_same_bytes() -> None:
    """Except for IDs and time, an event gives the same bytes with any order of its keys."""
    chain: list[Any] = [Anonymize(CATALOGUE, key=b"k"), Sample(), OTLPSpan(ids=lambda: 7, clock=lambda: 1.0)]
    event = {"event": "agent.run", "agent_name": "simple", "success": True, "level": "info"}
    assert logger_with(*chain).info(**event) == logger_with(*chain).info(**dict(reversed(event.items())))


def test_dropped_is_structlogs_drop_event() -> None:
    """For structlog it is an ordinary DropEvent."""
    assert issubclass(Dropped, structlog.DropEvent)
    assert Dropped("sampled").reason == "sampled"


def test_the_example_in_the_docstring() -> None:
    """The package's docstring shows what really happens."""
    results = doctest.testmod(automagik_processors)
    assert results.attempted > 5
    assert results.failed == 0


def test_everything_public_is_exported() -> None:
    """`__all__` is sorted and holds each public class and function of the processors' own modules."""
    assert automagik_processors.__all__ == sorted(automagik_processors.__all__)
    for name in ("exceptions", "kinds", "context", "anonymize", "sample", "otlp"):
        module = importlib.import_module(f"automagik_processors.{name}")
        own = {key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
        public = {key for key in own if not key.startswith("_")} - {"three_digits", "valid_ids"}
        assert public <= set(automagik_processors.__all__)


def test_every_module_has_a_docstring() -> None:
    """Each module has a docstring whose first line is a sentence."""
    for module in pkgutil.iter_modules(automagik_processors.__path__):
        lines = (importlib.import_module(f"automagik_processors.{module.name}").__doc__ or "").splitlines()
        assert lines[0].endswith(".")
        assert json.dumps(lines[0]).isascii()
