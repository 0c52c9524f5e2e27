"""Dropped fields are logged once at DEBUG, without their values."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from automagik_telemetry import configure, declare, get_tracing_manager
from automagik_telemetry.events._drop_log import DropLog
from automagik_telemetry.events._registry import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "hunter2-s3cr3t"  # noqa: S105 - it is planted
OURS = logging.getLogger("automagik_telemetry")


class Kept(logging.Handler):
    """Stores the messages of our own logger, and acts on each as an application's handler might."""

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.messages: list[str] = []
        self._act = act

    def emit(self, record: logging.LogRecord) -> None:
        """Keep, then act, but for the note of the recipient."""
        if not record.getMessage().startswith("telemetry of "):
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


def test_each_is_logged_once_with_the_remedy(opted_in: Any, listen: Any) -> None:
    """Event, field and kind are logged with the remedy, and never a value."""
    messages = listen(Kept())
    configure()
    for _ in range(3):
        log(agent_name=SECRET, framework="agno", success=SECRET, password=SECRET, sample_rate=SECRET)
    remedy = 'It is sent as a hash. Call automagik_telemetry.declare("...")'
    fields = ", ".join(CATALOGUE["agent.run"])
    assert messages == [
        f"agent.run: agent_name holds a string that is not on the allowlist. {remedy}",
        "agent.run: success is not a valid flag and is dropped",
        "agent.run: sample_rate does not follow structlog's conventions and is dropped",
        f"agent.run: 'password' is not a field of this event and is dropped. The fields are: {fields}",
    ]
    assert get_tracing_manager().flush(10)
    assert len(opted_in.spans()) == 3


def test_the_remedy_works(opted_in: Any, listen: Any) -> None:
    """A declared name is sent verbatim, and nothing is logged."""
    configure()
    declare("my-agent")
    messages = listen(Kept())
    log(agent_name="my-agent")
    assert get_tracing_manager().flush(10)
    assert "my-agent" in str(opted_in.spans())
    assert messages == []


def test_nothing_is_logged_above_debug(opted_in: Any, listen: Any) -> None:
    """At INFO nothing is logged or remembered, so that a later change to DEBUG logs it."""
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
    """Raise a DropEvent, as structlog's ProcessorFormatter does."""
    raise structlog.DropEvent


def log_again() -> None:
    """Log the same once more, as a handler that counts its records might."""
    log(agent_name=SECRET)


@pytest.mark.parametrize("act", [fail, drop, log_again])
def test_an_applications_handler_changes_nothing(opted_in: Any, listen: Any, act: Any) -> None:
    """The event is sent once, whatever an application's handler does with our record."""
    messages = listen(Kept(act))
    configure()
    log(agent_name=SECRET)
    assert get_tracing_manager().flush(10)
    assert len(opted_in.spans()) == 1
    assert len(messages) == 1


def test_what_is_remembered_is_bounded(listen: Any) -> None:
    """Many fields, long ones and ones with line breaks fill neither memory nor log."""
    messages = listen(Kept())
    drop_log = DropLog(CATALOGUE)
    for number in range(3_000):
        drop_log("system.startup", f"{number}\n{'x' * 10_000}", "unknown_field")
    assert len(messages) == len(drop_log._logged) == 1_000
    assert max(map(len, messages)) < 250
    assert "\n" not in "".join(messages)
    assert messages[0].endswith("The fields are: none")
