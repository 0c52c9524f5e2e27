"""`configure()` does not change an application's output with structlog, in generated set-ups."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import re
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.guest.differential import CONSENTS, configure_us, observe, taken, track_with_us

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = [
    pytest.mark.fault(61, 62, 65),
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="each application is a forked process"),
]

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d[:.\d]*Z?")


class Application:
    """An application that uses structlog while it runs."""

    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen
        self.loggers: list[Any] = []

    def see(self, _logger: Any, method_name: str, event_dict: Any) -> Any:
        """Keep an event, as a processor."""
        self.seen.append((method_name, {**event_dict}))
        return event_dict


def nothing(_app: Application) -> None:
    """Leave structlog as it is."""


def only_processors(app: Application) -> None:
    """Configure the chain alone."""
    structlog.configure(processors=[app.see, structlog.processors.KeyValueRenderer()])


def chain_of_the_documentation(app: Application) -> None:
    """Configure a chain that emits events."""
    from automagik_telemetry import emit_event

    structlog.configure(processors=[structlog.contextvars.merge_contextvars, emit_event, app.see, str_of])


def str_of(_logger: Any, _method_name: str, event_dict: Any) -> str:
    """Render an event."""
    return repr(sorted(event_dict.items(), key=repr))


def only_wrapper_class(_app: Application) -> None:
    """Configure the wrapper class alone."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def only_logger_factory(_app: Application) -> None:
    """Configure the logger factory alone."""
    structlog.configure(logger_factory=structlog.stdlib.LoggerFactory())


def only_cache(_app: Application) -> None:
    """Configure caching alone."""
    structlog.configure(cache_logger_on_first_use=True)


def only_context_class(_app: Application) -> None:
    """Configure the class of contexts alone."""
    structlog.configure(context_class=dict)


def all_of_stdlib(_app: Application) -> None:
    """Configure structlog in front of the standard library."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.render_to_log_kwargs,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s", level=logging.INFO)


def recreated_defaults(_app: Application) -> None:
    """Configure structlog as `structlog.stdlib` recommends."""
    structlog.stdlib.recreate_defaults(log_level=None)


def extended_defaults(app: Application) -> None:
    """Configure the default chain with one more processor."""
    structlog.configure(processors=[app.see, *structlog.get_config()["processors"]])


def once(app: Application) -> None:
    """Configure the chain unless structlog is configured."""
    structlog.configure_once(processors=[app.see, structlog.processors.KeyValueRenderer()])


def reset(_app: Application) -> None:
    """Return to structlog's defaults."""
    structlog.reset_defaults()


def is_configured(app: Application) -> None:
    """Record whether structlog is configured."""
    app.seen.append(structlog.is_configured())


def get(app: Application) -> None:
    """Make a logger for later."""
    app.loggers.append(structlog.get_logger())


def get_bound(app: Application) -> None:
    """Make a bound logger for later."""
    app.loggers.append(structlog.get_logger().bind(place="shop", agent_name="simple"))


def get_named(app: Application) -> None:
    """Make a logger with a name and initial values for later."""
    app.loggers.append(structlog.get_logger("automagik.agents", shop=3))


def wrap(app: Application) -> None:
    """Wrap a logger with a chain of its own for later."""
    app.loggers.append(structlog.wrap_logger(structlog.PrintLogger(), processors=[app.see, str_of]))


def _pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own


def copy_last(app: Application) -> None:
    """Copy the last logger in each of three ways, as objects that hold one are copied."""
    if app.loggers:
        last = app.loggers[-1]
        for way in (copy.copy, copy.deepcopy, _pickled):
            try:
                app.loggers.append(way(last))
            except Exception as error:
                app.seen.append(type(error).__name__)


def bind_context(_app: Application) -> None:
    """Bind a value to the context."""
    structlog.contextvars.bind_contextvars(framework="agno")


def log(app: Application) -> None:
    """Log by every logger and method, events and other lines, with odd values."""
    for logger in [*app.loggers, structlog.get_logger()]:
        for method in ("debug", "info", "warning", "error", "critical", "exception"):
            getattr(logger, method)("agent.run", agent_name="simple", success=True, duration_ms=12)
        logger.info("a line of the application's own", name="x", card="1234")
        logger.info("agent.run", args=(1,), message="m", duration_ms=object)
        logger.info("%s of %d", "one", 3)
        logger.info({"event": "agent.run"})


def configure(_app: Application) -> None:
    """Call `configure()`, with us."""
    configure_us()


def track(_app: Application) -> None:
    """Track an event, with us."""
    track_with_us()


_SET_UPS = [
    nothing, only_processors, chain_of_the_documentation, only_wrapper_class, only_logger_factory, only_cache,
    only_context_class, all_of_stdlib, recreated_defaults, extended_defaults, once, reset, is_configured,
]  # fmt: skip
_USES = [get, get_bound, get_named, wrap, copy_last, bind_context, log, track]
_steps = st.lists(st.sampled_from(_SET_UPS) | st.sampled_from(_USES), max_size=6)


def _observed(steps: Sequence[Callable[[Application], object]], consent: str | None) -> list[Any]:
    def run(seen: list[Any]) -> None:
        app = Application(seen)
        for step in steps:
            try:
                step(app)
            except Exception as error:
                seen.append(("raised", step.__name__, repr(error)))
        seen[:] = [repr(each) for each in seen]

    seen, *texts, warned = observe(run, consent)
    # The lines of the package's own logger go where others do.
    texts = [
        "".join(line for line in text.splitlines(keepends=True) if " automagik_telemetry " not in line)
        for text in texts
    ]
    return [[_TIME.sub("TIME", each) for each in seen], *(_TIME.sub("TIME", text) for text in texts), warned]


@pytest.mark.parametrize("consent", CONSENTS)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much])
@given(before=_steps, after=_steps)
def test_application_logs_what_it_would_log_without_us(
    consent: str, before: list[Callable[[Application], object]], after: list[Callable[[Application], object]]
) -> None:
    """Every line, value and exception is the same, whatever is set up around `configure()`."""
    steps = [*before, configure, *after, get, log]
    assert _observed(steps, consent) == _observed(steps, None)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((nothing, configure), 6),
        ((only_wrapper_class, configure), 0),  # configured before: it is the application that adds `emit_event`
        ((configure, only_wrapper_class), 4),
        ((configure, only_cache), 6),
        ((configure, only_processors), 0),
        ((chain_of_the_documentation, configure), 6),
        ((configure, chain_of_the_documentation), 6),
        ((configure, extended_defaults), 6),
        ((configure, reset, configure), 6),
    ],
)
def test_events_are_taken_once(steps: Sequence[Callable[[Application], object]], expected: int) -> None:
    """Each event from INFO on is taken once, with the default chain or one that emits events."""

    def run(seen: list[Any]) -> None:
        app = Application(seen)
        for step in (*steps, log):
            step(app)
        seen[:] = [taken()]

    (number,), *_ = observe(run, "on")
    assert number == expected
