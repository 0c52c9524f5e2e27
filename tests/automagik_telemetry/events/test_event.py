"""An application's own event class: its constructor, its fields, and the errors of a wrong declaration."""

from __future__ import annotations

import datetime as dt
import logging
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from automagik_processors import Count, Duration, Flag, Measure, Word
from automagik_telemetry.events import Event, count, duration, flag, measure, word

if TYPE_CHECKING:
    from collections.abc import Callable


class Plan(StrEnum):
    """The plans of a shop."""

    FREE = "free"
    PRO = "pro"


class CheckoutFinished(Event):
    """A checkout was finished."""

    name = "checkout.finished"
    items: int = count("Number of items.")
    plan: str = word("The customer's plan.", allowed=("free", "pro"))
    duration_ms: float = duration("Time to finish.")
    success: bool = flag("Whether it was paid.", default=True)
    score: float | None = measure("The score.", minimum=0, maximum=1, default=None)
    country: str | None = word("The country.", default=None, kw_only=True)


def test_an_event_is_made_as_a_dataclass_is() -> None:
    """By position or by name, with defaults, `repr` and `==`; missing and unknown arguments are TypeErrors."""
    event = CheckoutFinished(3, "pro", 12.5, country="BR")
    assert event == CheckoutFinished(items=3, plan="pro", duration_ms=12.5, country="BR")
    assert event != CheckoutFinished(3, "pro", 12.5)
    assert event != "something else"
    assert repr(event) == (
        "CheckoutFinished(items=3, plan='pro', duration_ms=12.5, success=True, score=None, country='BR')"
    )
    assert event.as_fields() == {"items": 3, "plan": "pro", "duration_ms": 12.5, "success": True, "country": "BR"}
    anything: Any = CheckoutFinished
    for arguments in ((), (1, "pro", 1.0, True, 0.5, "BR")):
        with pytest.raises(TypeError):
            anything(*arguments)
    with pytest.raises(TypeError, match="coupon"):
        anything(3, "pro", 1.0, coupon="x")


def test_an_event_has_its_kinds_and_levels() -> None:
    """The kinds are in the order of the fields; a failure is an ERROR."""
    assert [type(kind) for kind in CheckoutFinished.kinds().values()] == [Count, Word, Duration, Flag, Measure, Word]
    assert CheckoutFinished.levels() == "INFO, or ERROR for a failure"
    assert CheckoutFinished(3, "pro", 1.0).severity() == logging.INFO
    assert CheckoutFinished(3, "pro", 1.0, success=False).severity() == logging.ERROR
    assert Event.kinds() == {}


def test_fields_are_inherited() -> None:
    """A class without a name passes its fields on, and each of its events has fields of its own."""

    class Shop(Event):
        country: str | None = word("The country.", default=None, kw_only=True)

    class Opened(Shop):
        name = "shop.opened"
        level = logging.DEBUG
        items: int = count("Number of items.")

    class Closed(Shop):
        name = "shop.closed"

    assert list(Opened.fields) == ["country", "items"]
    assert list(Closed.fields) == ["country"]
    assert Opened(1, country="BR").severity() == logging.DEBUG


def test_a_class_may_compute_fields() -> None:
    """`__post_init__` is called after the fields are set, as in a dataclass."""

    class Computed(Event):
        name = "test.computed"
        items: int = count("Number of items.")
        bought: bool | None = flag("Whether there is an item.", default=None)

        def __post_init__(self) -> None:
            self.bought = self.items > 0

    assert Computed(3).as_fields() == {"items": 3, "bought": True}


def test_an_enum_is_a_list_of_allowed_values() -> None:
    """The allowed values may be an Enum of strings."""

    class Bought(Event):
        name = "plan.bought"
        plan: Plan = word("The plan.", allowed=Plan)

    (kind,) = Bought.kinds().values()
    assert isinstance(kind, Word)
    assert kind.allowed == frozenset({"free", "pro"})
    assert Bought(Plan.PRO).as_fields() == {"plan": "pro"}


def test_expiry_is_the_end_of_a_day() -> None:
    """The day that is named is the last one, in UTC."""

    class Text(Event):
        name = "test.text"
        expires = "2027-01-01"

    class Date(Event):
        name = "test.date"
        expires = dt.date(2027, 1, 1)

    until = dt.datetime(2027, 1, 2, tzinfo=dt.UTC).timestamp()
    assert (Text.expires_at(), Date.expires_at(), CheckoutFinished.expires_at()) == (until, until, None)


def declaring(**body: Any) -> Callable[[], type]:
    """Return a function that declares an event `Bad`."""
    annotations = {name: "object" for name, value in body.items() if isinstance(value, tuple)}
    return lambda: type("Bad", (Event,), {"name": "bad.event", "__annotations__": annotations, **body})


NAMES_OF_LOGGING = ("name", "msg", "args", "module", "process", "message", "exc_info", "taskName")
KEYS = ("event", "level", "timestamp", "trace_id", "sample_rate")


@pytest.mark.parametrize(
    ("declare", "error", "words"),
    [
        *[
            pytest.param(
                declaring(name=name), ValueError, r"Bad\.name: .* such as \"checkout\.finished\"", id=f"{name}"
            )
            for name in ("", "checkout", "Checkout.finished", "checkout finished", "a.b" * 50, ".a", "a.", 7, None)
        ],
        *[
            pytest.param(
                declaring(**{name: count("A count.")}), ValueError, rf"Bad\.{name}: logging uses .* Choose", id=name
            )
            for name in NAMES_OF_LOGGING
        ],
        *[
            pytest.param(
                declaring(**{name: count("A count.")}), ValueError, rf"Bad\.{name}: every event has .* Choose", id=name
            )
            for name in KEYS
        ],
        *[
            pytest.param(
                declaring(**{name: count("A count.")}), ValueError, rf"Bad\.{name}: Event uses .* Choose", id=name
            )
            for name in ("fields", "kinds", "owner", "expires", "self")
        ],
        *[
            pytest.param(declaring(**{name: count("A count.")}), ValueError, r"lower-case letters.* Choose", id=name)
            for name in ("Items", "_items", "class", "größe", "x" * 101)
        ],
        (declaring(success=count("A count.")), ValueError, r"Bad\.success: must be a flag.*flag\(\.\.\.\)"),
        (declaring(duration_ms=count("A count.")), ValueError, r"Bad\.duration_ms: must be a duration"),
        (declaring(a=count("A.", default=1), b=count("B.")), ValueError, r"Bad\.b: a required field follows a, .* Put"),
        (declaring(level="INFO"), ValueError, r"Bad\.level: must be a level of logging.*'INFO'"),
        (declaring(level=0), ValueError, r"Bad\.level"),
        (declaring(owner=7), TypeError, r"Bad\.owner: must be a string, got 7"),
        (declaring(deprecated=7), TypeError, r"Bad\.deprecated: must be a sentence or True, got 7"),
        (declaring(expires="tomorrow"), ValueError, r"Bad\.expires: .*such as \"2027-01-01\", got 'tomorrow'"),
        (declaring(expires=7), ValueError, r"Bad\.expires"),
        (lambda: count(""), TypeError, "a count needs a description"),
        (lambda: count("A count.", maximum=1.5), TypeError, "maximum must be an integer, got 1.5"),  # type: ignore[arg-type]
        (lambda: duration("A duration.", maximum=float("nan")), TypeError, "maximum must be a number, got nan"),
        (lambda: measure("A measure.", minimum=1, maximum=1), ValueError, "minimum must be less than maximum"),
        (lambda: word("A word.", allowed="free"), TypeError, "allowed must be a list of strings, got 'free'"),
        (lambda: word("A word.", allowed=["free", 7]), TypeError, "got 7 in it"),  # type: ignore[type-var]
        (lambda: word("A word.", allowed=()), ValueError, "at least one string"),
    ],
)
def test_a_wrong_declaration_is_one_clear_error(
    declare: Callable[[], object], error: type[Exception], words: str
) -> None:
    """The message has the class, the field or attribute, the value, and what to do."""
    with pytest.raises(error, match=words):
        declare()


def test_a_field_needs_a_kind() -> None:
    """An annotation without a kind is an error, because a type checker takes it for a field; a ClassVar is not one."""
    with pytest.raises(ValueError, match=r"Plain\.items: a field without a kind\. Declare the field with count, "):

        class Plain(Event):
            name = "test.plain"
            items: int = 3

    with pytest.raises(ValueError, match=r"Bare\.items: a field without a kind"):

        class Bare(Event):
            name = "test.bare"
            items: int

    class Constant(Event):
        name: ClassVar[str] = "test.constant"
        limit: ClassVar[int] = 3

    assert Constant.fields == {}
