"""`configure()` does not change the output of an application's handlers and streams, in generated logging set-ups."""

from __future__ import annotations

import logging
import logging.config
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.faults.server import Endpoint, closed_port
from tests.guest.differential import CONSENTS, configure_us, flush_us, observe, track_with_us

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = [
    pytest.mark.fault(63),
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="each application is a forked process"),
]

_NAMES = ("", "automagik", "automagik.agents", "automagik.agents.deep", "automagik.api", "bookshop")
_LEVELS = (logging.NOTSET, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)


class Seeing(logging.Handler):
    """Keeps its records under its own name."""

    def __init__(self, name: str, seen: list[Any], level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.set_name(name)
        self._seen = seen

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record."""
        if record.name.partition(".")[0] != "automagik_telemetry":  # the package's own lines go where others do
            self._seen.append((self.name, record.name, record.levelno, record.getMessage()))


class Step(NamedTuple):
    """One thing that an application does: a function below, and its arguments."""

    does: Callable[..., object]
    arguments: tuple[Any, ...]


def set_level(_seen: list[Any], name: str, level: int) -> None:
    """Set a logger's level."""
    logging.getLogger(name).setLevel(level)


def add_handler(seen: list[Any], name: str, level: int, number: int) -> None:
    """Add a handler."""
    logging.getLogger(name).addHandler(Seeing(f"{number} of {name}", seen, level))


def remove_handlers(_seen: list[Any], name: str) -> None:
    """Remove the application's handlers."""
    logger = logging.getLogger(name)
    logger.setLevel(logger.level or logging.NOTSET)  # that it was only asked for can't be seen
    for handler in [each for each in logger.handlers if isinstance(each, Seeing)]:
        logger.removeHandler(handler)


def set_propagate(_seen: list[Any], name: str, value: bool) -> None:
    """Set a logger's propagation."""
    logging.getLogger(name).propagate = value


def set_attribute(_seen: list[Any], name: str, attribute: str, value: Any) -> None:
    """Set an attribute of a logger without its method."""
    setattr(logging.getLogger(name), attribute, list(value) if isinstance(value, tuple) else value)


def set_disabled(_seen: list[Any], name: str, value: bool) -> None:
    """Set whether a logger is disabled."""
    logging.getLogger(name).disabled = value


def add_filter(seen: list[Any], name: str, passes: bool) -> None:
    """Add a filter that keeps its records."""

    def filter_(record: logging.LogRecord) -> bool:
        seen.append(("filter of " + name, record.name, record.levelno, record.getMessage()))
        return passes

    logging.getLogger(name).addFilter(filter_)


def basic_config(_seen: list[Any], level: int) -> None:
    """Call `basicConfig`."""
    logging.basicConfig(level=level, format="%(levelname)s %(name)s %(message)s")


def disable_up_to(_seen: list[Any], level: int) -> None:
    """Disable all logging up to a level."""
    logging.disable(level)


def no_last_resort(_seen: list[Any]) -> None:
    """Remove the handler of last resort."""
    logging.lastResort = None


def dict_config(
    seen: list[Any], names: Sequence[str], level: int | None, propagate: bool | None, disable: bool
) -> None:
    """Call `dictConfig`."""
    given = {key: value for key, value in (("level", level), ("propagate", propagate)) if value is not None}
    loggers = {name: {"handlers": ["see"], **given} for name in names if name != ""}
    root = {"root": {"handlers": ["see"], **given}} if "" in names else {}
    handler = {"()": Seeing, "name": "dictConfig", "seen": seen}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": disable,
            "handlers": {"see": {**handler, "name": "of dictConfig"}},
            "loggers": loggers,
            **root,
        }
    )


def log(_seen: list[Any], name: str, level: int, event: str) -> None:
    """Log."""
    logging.getLogger(name).log(level, event)


def configure(_seen: list[Any]) -> None:
    """Call `configure()`, with us."""
    configure_us()


def track(_seen: list[Any]) -> None:
    """Track an event, with us."""
    track_with_us()


_name, _level = st.sampled_from(_NAMES), st.sampled_from(_LEVELS)
_numbers = st.integers(0, 999)
_SET_UP = (
    st.builds(Step, st.just(set_level), st.tuples(_name, _level)),
    st.builds(Step, st.just(add_handler), st.tuples(_name, _level, _numbers)),
    st.builds(Step, st.just(remove_handlers), st.tuples(_name)),
    st.builds(Step, st.just(set_propagate), st.tuples(_name, st.booleans())),
    st.builds(
        Step,
        st.just(set_attribute),
        st.tuples(st.sampled_from(("bookshop", "automagik", "automagik.agents")), st.just("level"), _level),
    ),
    st.builds(Step, st.just(set_disabled), st.tuples(_name, st.booleans())),
    st.builds(Step, st.just(add_filter), st.tuples(_name, st.booleans())),
    st.builds(Step, st.just(basic_config), st.tuples(_level)),
    st.builds(Step, st.just(disable_up_to), st.tuples(_level)),
    st.builds(Step, st.just(no_last_resort), st.just(())),
    st.builds(
        Step,
        st.just(dict_config),
        st.tuples(
            st.lists(_name, max_size=3, unique=True), st.none() | _level, st.none() | st.booleans(), st.booleans()
        ),
    ),
    st.builds(Step, st.just(track), st.just(())),
)
_LOG = st.builds(
    Step,
    st.just(log),
    st.tuples(
        _name.filter(bool),
        st.sampled_from((logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)),
        st.sampled_from(("agent.run", "a line of the application's own")),
    ),
)
_STEPS = st.lists(st.one_of(*_SET_UP, _LOG, _LOG, _LOG), max_size=8)


def _has_no_handler_where_the_events_are(steps: list[Step]) -> bool:
    """Return False if a handler is added to `automagik` itself after `configure()`: the documented exception."""
    return all(step.does is not add_handler or step.arguments[0] != "automagik" for step in steps)


_LATER_STEPS = _STEPS.filter(_has_no_handler_where_the_events_are)


def _observed(steps: Sequence[Step], consent: str | None) -> list[Any]:
    def run(seen: list[Any]) -> None:
        for step in steps:
            try:
                step.does(seen, *step.arguments)
            except Exception as error:
                seen.append(("raised", repr(error)))

    seen, printed, errors, *warned = observe(run, consent)
    # Each handler's own records in their order.
    by_handler = {who: [line for line in seen if line[0] == who] for who, *_ in seen}
    return [by_handler, printed, [line for line in errors.splitlines() if " automagik_telemetry" not in line], *warned]


def _all_lines(name: str) -> list[Step]:
    levels = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
    return [Step(log, (name, level, "agent.run")) for level in levels]


@pytest.mark.parametrize("consent", CONSENTS)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much])
@given(before=_STEPS, after=_LATER_STEPS)
@example(
    before=[],
    after=[Step(set_propagate, ("automagik", True)), Step(no_last_resort, ()), Step(dict_config, ([], 0, None, True))],
)
@example(before=[], after=[Step(add_filter, ("automagik", True)), Step(dict_config, ([""], 0, None, True))])
@example(
    before=[],
    after=[Step(set_attribute, ("automagik", "mine", 1)), Step(dict_config, ([""], 0, None, True))],
)
@example(before=[], after=[Step(set_level, ("automagik", 0)), Step(basic_config, (0,))])
def test_application_gets_what_it_would_get_without_us(consent: str, before: list[Step], after: list[Step]) -> None:
    """Every handler, filter and stream gets the same, whatever is set up around `configure()`."""
    steps = [*before, Step(configure, ()), *after]
    steps += [line for name in _NAMES if name for line in _all_lines(name)]
    assert _observed(steps, consent) == _observed(steps, None)


@pytest.mark.parametrize("fails", [False, True])
def test_application_at_debug_gets_no_line_about_our_requests(fails: bool) -> None:
    """Neither the HTTP client nor its dependencies log a line, when a batch is sent or refused."""

    def run(seen: list[Any]) -> None:
        logging.basicConfig(level=logging.DEBUG, format="%(name)s %(message)s")
        track_with_us()
        flush_us()
        seen.append("done")

    with Endpoint() as endpoint:
        url = f"http://127.0.0.1:{closed_port()}" if fails else endpoint.url
        with_us, without = observe(run, "on", url), observe(run, None)
        assert endpoint.accepted == [] if fails else len(endpoint.accepted) == 1
    lines = [line for line in with_us[2].splitlines() if not line.startswith("automagik_telemetry")]
    assert lines == without[2].splitlines()
