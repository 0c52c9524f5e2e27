"""A developer who logs what does not leave learns so once, and never from a value."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from automagik_telemetry import configure, declare, get_tracing_manager
from automagik_telemetry.events._drop_log import DropLog
from automagik_telemetry.events.catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "hunter2-s3cr3t"  # noqa: S105 - it is planted
OURS = logging.getLogger("automagik_telemetry")


class Kept(logging.Handler):
    """Keeps the messages of our own logger, and does with each what a host's handler might."""

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.messages: list[str] = []
        self._act = act

    def emit(self, record: logging.LogRecord) -> None:
        """Keep, then act."""
        self.messages.append(record.getMessage())
        self._act()


@pytest.fixture
def listen(request: pytest.FixtureRequest) -> Callable[[Kept], list[str]]:
    """Listen to our own logger at DEBUG, as a developer would."""

    def attach(kept: Kept) -> list[str]:
        before = OURS.level
        OURS.addHandler(kept)
        OURS.setLevel(logging.DEBUG)
        request.addfinalizer(lambda: OURS.removeHandler(kept))
        request.addfinalizer(lambda: OURS.setLevel(before))
        return kept.messages

    return attach


def log(**fields: Any) -> None:
    """Log one event."""
    logging.getLogger("automagik.agents").info("agent.run", extra=fields)


def test_each_is_told_once_with_what_to_do(opted_in: Any, listen: Any) -> None:
    """Name, field and kind are told with the line to add or the rule that was broken; values never."""
    messages = listen(Kept())
    configure()
    for _ in range(3):
        log(agent_name=SECRET, framework="agno", success=SECRET, password=SECRET, sample_rate=SECRET)
    what = "agent.run: agent_name is a name that was not declared and leaves as a hash; "
    has = ", ".join(CATALOGUE["agent.run"])
    assert messages == [
        f'{what}declare it: automagik_telemetry.declare("...")',
        "agent.run: success holds what is no flag and does not leave; log a flag",
        "agent.run: sample_rate is not as structlog's conventions have it and does not leave",
        f"agent.run: 'password' is no field of this event and does not leave; it has {has}",
    ]
    assert get_tracing_manager().flush(10)
    assert len(opted_in.spans()) == 3


def test_what_was_advised_helps(opted_in: Any, listen: Any) -> None:
    """Once the name is declared it leaves as it is, and nothing more is told."""
    configure()
    declare("my-agent")
    messages = listen(Kept())
    log(agent_name="my-agent")
    assert get_tracing_manager().flush(10)
    assert "my-agent" in str(opted_in.spans())
    assert messages == []


def test_nobody_is_told_above_debug(opted_in: Any, listen: Any) -> None:
    """At INFO nothing is told nor remembered, so that who turns to DEBUG later still learns it."""
    messages = listen(Kept())
    OURS.setLevel(logging.INFO)
    configure()
    log(agent_name=SECRET)
    assert messages == []
    OURS.setLevel(logging.DEBUG)
    log(agent_name=SECRET)
    assert len(messages) == 1


def fail() -> None:
    """Raise, as a broken handler does."""
    raise RuntimeError


def drop() -> None:
    """Raise what structlog's ProcessorFormatter lets out."""
    raise structlog.DropEvent


def log_again() -> None:
    """Log the same once more, as a handler that counts its records might."""
    log(agent_name=SECRET)


@pytest.mark.parametrize("act", [fail, drop, log_again])
def test_a_hosts_handler_changes_nothing(opted_in: Any, listen: Any, act: Any) -> None:
    """Whatever the handler that hears of it does, the event leaves, once."""
    messages = listen(Kept(act))
    configure()
    log(agent_name=SECRET)
    assert get_tracing_manager().flush(10)
    assert len(opted_in.spans()) == 1
    assert len(messages) == 1


def test_what_is_remembered_is_bounded(listen: Any) -> None:
    """Many fields, long ones and ones with line breaks fill neither memory nor log."""
    messages = listen(Kept())
    withheld = DropLog(CATALOGUE)
    for number in range(3_000):
        withheld("system.startup", f"{number}\n{'x' * 10_000}", "unknown_field")
    assert len(messages) == len(withheld._logged) == 1_000
    assert max(map(len, messages)) < 250
    assert "\n" not in "".join(messages)
    assert messages[0].endswith("it has none")
