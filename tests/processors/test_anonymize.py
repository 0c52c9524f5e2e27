"""Only declared data is sent, wherever other data hides."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import string
from enum import Enum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automagik_processors import Anonymize, Count, Dropped, Duration, Flag, Kind, Measure, OTLPSpan, Word

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "hunter2-s3cr3t"  # noqa: S105 - it is planted
KEY = b"a key that stays here"
CATALOGUE: dict[str, dict[str, Kind]] = {
    "agent.run": {
        "agent_name": Word(),
        "framework": Word(),
        "success": Flag(),
        "duration_ms": Duration(),
        "share": Measure(0, 1),
        "token_count": Count(),
    },
    "system.startup": {},
}
VOCABULARY = frozenset({"simple", "agno"})
CARRIED = ("level", "timestamp", "sample_rate", "trace_id", "span_id", "parent_span_id")
KEYS = [*CATALOGUE["agent.run"], *CARRIED]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Text(str):
    """A str with its own methods, which all return something else or raise."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __str__(self) -> str:
        return SECRET

    def encode(self, *_: object, **__: object) -> bytes:
        """Return the secret."""
        return SECRET.encode()


class Secret(Enum):
    """An enumeration that holds a secret."""

    VALUE = SECRET


class Number(int):
    """An int that shows a secret."""

    def __repr__(self) -> str:
        return SECRET

    __str__ = __format__ = __repr__  # type: ignore[assignment]


class Hostile:  # noqa: PLW1641 - it has one, below
    """An object of which every use raises."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError(SECRET)

    def __getattribute__(self, name: str) -> Any:  # any
        raise RuntimeError(SECRET)

    __hash__ = __bool__ = __str__ = __repr__ = __len__ = __iter__ = __eq__  # type: ignore[assignment]


class Rival:
    """A key that has another's hash, and after a while raises when compared."""

    raises = False

    def __init__(self, expected_hash: int) -> None:
        self.expected_hash = expected_hash

    def __hash__(self) -> int:
        return self.expected_hash

    def __eq__(self, other: object) -> bool:
        if self.raises:
            raise RuntimeError(SECRET)
        return False


class Lying(dict[str, Any]):
    """A dict whose methods raise."""

    def get(self, *_: object) -> Any:  # any
        """Raise."""
        raise RuntimeError(SECRET)

    __getitem__ = __iter__ = __len__ = keys = values = items = __contains__ = copy = get


def anonymize(event: Any, **options: Any) -> dict[str, Any]:  # any
    """Return the sent part of `event` with the catalogue above."""
    return dict(Anonymize(CATALOGUE, VOCABULARY, KEY, **options)(None, "info", event))


def custom(word: str) -> str:
    """Return the hash that is sent for a string that is not on the allowlist."""
    return "custom-" + blake2b(word.encode("utf-8", "surrogatepass"), key=KEY, digest_size=8).hexdigest()


secrets = st.sampled_from(
    [
        SECRET,
        Text(SECRET),
        Text("simple"),
        Secret.VALUE,
        Number(7),
        Hostile,
        SECRET.encode(),
        f"simple {SECRET}",
        {SECRET},
    ]
)
values = st.recursive(
    secrets | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.just(SECRET) | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
keys = st.sampled_from([*KEYS, SECRET, Text(SECRET), "password"]) | st.sampled_from([1, None, b"x", (SECRET,)])
events = st.dictionaries(keys, values, max_size=10).map(lambda event: {"event": "agent.run", **event})


@given(events)
def test_no_planted_secret_is_sent(event: dict[Any, Any]) -> None:
    """A secret in a value, a key, an ID or a nested place is in no sent key or value."""
    # Made here, for hypothesis itself doesn't survive such an object.
    leaving = anonymize({key: Hostile() if value is Hostile else value for key, value in event.items()})
    assert SECRET not in json.dumps(leaving)
    assert {type(part) for part in itertools.chain(leaving, leaving.values())} <= {str, int, float, bool}
    assert leaving.keys() <= {"event", *KEYS}
    assert SECRET.encode() not in OTLPSpan()(None, "info", leaving)


@given(st.dictionaries(st.sampled_from(KEYS), st.text(max_size=20), max_size=12))
def test_a_string_is_sent_only_if_it_is_on_the_allowlist(fields: dict[str, str]) -> None:
    """Every sent str is an allowed string, a level, or a hash."""
    for key, value in anonymize({"event": "agent.run", **fields}).items():
        if key in {"agent_name", "framework"}:
            assert value == (fields[key] if fields[key] in VOCABULARY else custom(fields[key]))
        elif key == "level":
            assert value in {"debug", "info", "warning", "error", "critical"}
        elif key != "event":
            assert len(value) == (32 if key == "trace_id" else 16)
            assert set(value) <= set(string.hexdigits.lower())
            assert value != fields[key]


@given(st.permutations(["event", *KEYS, "password"]))
def test_the_order_of_the_callers_keys_does_not_matter(order: list[str]) -> None:
    """Fields in any order are sent in the catalogue's order, so that their bytes are the same."""
    event = {
        "event": "agent.run",
        "agent_name": "simple",
        "framework": "mine",
        "success": True,
        "duration_ms": 1234.5,
        "share": 0.5,
        "token_count": 1234,
        "level": "info",
        "timestamp": 1.7e9,
        "sample_rate": 0.5,
        "trace_id": TRACE,
        "span_id": SPAN,
        "parent_span_id": SPAN,
        "password": SECRET,
    }
    leaving = anonymize({key: event[key] for key in order})
    assert list(leaving) == ["event", *KEYS]
    assert leaving["framework"] == custom("mine")
    assert leaving["duration_ms"] == 1230.0


def test_the_callers_event_stays_as_it_is() -> None:
    """The result is a new dict."""
    event = {"event": "agent.run", "agent_name": "mine", "password": SECRET}
    before = dict(event)
    leaving = anonymize(event)
    assert event == before
    assert leaving == {"event": "agent.run", "agent_name": custom("mine")}


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"event": None},
        {"event": "other"},
        {"event": Text("agent.other")},
        {"event": 1},
        {"event": ["agent.run"]},
        {"event": Hostile()},
        [],
        None,
    ],
    ids=lambda event: type(event.get("event")).__name__ if event else str(event),
)
def test_an_undeclared_event_is_not_sent(event: Any) -> None:  # that is the point
    """An event that is not in the catalogue, or whose name is not a text, is dropped with a reason."""
    with pytest.raises(Dropped) as dropped:
        anonymize(event)
    assert dropped.value.reason == "unknown_event"
    assert SECRET not in repr(dropped.value)


def test_dropped_fields_are_reported_without_their_values() -> None:
    """The callback gets event, field and reason of each dropped field, in order; None counts as absent."""
    reported: list[tuple[str, str, str]] = []
    event = {
        "event": "agent.run",
        "agent_name": "mine",
        "success": 2,
        "framework": None,
        "password": SECRET,
        7: 1,
        "x": None,
    }
    anonymize(event, on_dropped=lambda *dropped: reported.append(dropped))
    assert reported == [
        ("agent.run", "agent_name", "unknown_word"),
        ("agent.run", "success", "wrong_kind"),
        ("agent.run", "password", "unknown_field"),
        ("agent.run", "(not a str)", "unknown_field"),
    ]


def test_nothing_is_reported_of_an_event_that_is_sent_whole() -> None:
    """An event with allowed strings, valid kinds and the carried keys is sent whole."""
    event = {"event": "agent.run", "agent_name": "simple", "level": "info", "timestamp": 1.7e9, "trace_id": TRACE}
    anonymize(event, on_dropped=lambda *dropped: pytest.fail(str(dropped)))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("level", "loud"),
        ("level", 20),
        ("level", "INFO"),
        ("timestamp", "yesterday"),
        ("timestamp", "1999-12-31T23:59:59Z"),
        ("timestamp", dt.datetime(2100, 1, 1, tzinfo=dt.UTC)),
        ("timestamp", float("nan")),
        ("timestamp", 10**400),
        ("timestamp", 4111111111111111),
        ("timestamp", 0),
        ("timestamp", True),
        ("sample_rate", 0.0),
        ("sample_rate", 1.5),
        ("sample_rate", "0.5"),
        ("trace_id", 17),
        ("span_id", b"x"),
        ("parent_span_id", [SPAN]),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_carried_key_that_is_not_what_it_should_be_stays(key: str, value: object) -> None:
    """Level, time, rate and ids have bounds too."""
    reported: list[tuple[str, str, str]] = []
    leaving = anonymize({"event": "system.startup", key: value}, on_dropped=lambda *dropped: reported.append(dropped))
    assert leaving == {"event": "system.startup"}
    assert reported == [("system.startup", key, "wrong_kind")]


@pytest.mark.parametrize(
    "timestamp",
    [
        1_700_000_000.5,
        "2023-11-14T22:13:20.500000Z",
        "2023-11-15T00:13:20.5+02:00",
        dt.datetime(2023, 11, 14, 22, 13, 20, 500_000, dt.UTC),
        dt.datetime.fromtimestamp(1_700_000_000.5),  # noqa: DTZ006 - local time, as structlog's utc=False has it
        dt.datetime.fromtimestamp(1_700_000_000.5).isoformat(),  # noqa: DTZ006 - see above
    ],
    ids=str,
)
def test_a_timestamp_in_any_form_of_structlogs_is_sent(timestamp: object) -> None:
    """ISO 8601 in UTC, with an offset or in local time, a datetime, and seconds are the same time."""
    assert anonymize({"event": "system.startup", "timestamp": timestamp})["timestamp"] == 1_700_000_000.5


def test_a_timezone_that_raises_is_dropped() -> None:
    """A datetime whose timezone is the application's own code can't break the event."""

    class Broken(dt.tzinfo):
        def utcoffset(self, _moment: dt.datetime | None) -> dt.timedelta:
            raise RuntimeError(SECRET)

        dst = tzname = utcoffset  # type: ignore[assignment]  # they raise too

    event = {"event": "system.startup", "timestamp": dt.datetime(2024, 1, 1, tzinfo=Broken())}
    assert anonymize(event) == {"event": "system.startup"}


def test_hashed_ids_still_join() -> None:
    """Equal ids stay equal, a span and its child's parent id too; other ids, and words of the same text, differ."""
    first = anonymize({"event": "agent.run", "trace_id": TRACE, "span_id": SPAN, "agent_name": SPAN})
    second = anonymize({"event": "agent.run", "trace_id": TRACE, "parent_span_id": SPAN})
    other = anonymize({"event": "agent.run", "trace_id": TRACE[::-1], "parent_span_id": SPAN[::-1]})
    assert first["trace_id"] == second["trace_id"] != other["trace_id"]
    assert first["span_id"] == second["parent_span_id"] != other["parent_span_id"]
    assert first["agent_name"] != f"custom-{first['span_id']}"
    assert TRACE not in first.values()


def test_a_string_declared_later_is_sent_verbatim() -> None:
    """The allowlist is read each time, so that a hashed string is sent verbatim once it is declared."""
    allowlist: set[str] = set()
    processor = Anonymize(CATALOGUE, allowlist, KEY)
    event = {"event": "agent.run", "agent_name": "mine"}
    assert processor(None, "info", event)["agent_name"] == custom("mine")
    allowlist.add("mine")
    assert processor(None, "info", event)["agent_name"] == "mine"


@pytest.mark.parametrize("word", ["", "\ud800", "\x00", "ä" * 5000, "simple "], ids=ascii)
def test_any_text_can_be_hashed(word: str) -> None:
    """Empty, long, and not even encodable words have a hash, the same each time."""
    assert anonymize({"event": "agent.run", "agent_name": word})["agent_name"] == custom(word)


def test_a_subclass_of_str_is_sent_as_its_text() -> None:
    """Allowed strings in a subclass or an Enum are sent as plain str, without calling their methods."""

    class Framework(str, Enum):  # noqa: UP042 - as applications write it
        AGNO = "agno"

    leaving = anonymize({"event": "agent.run", "agent_name": Text("simple"), "framework": Framework.AGNO})
    assert leaving == {"event": "agent.run", "agent_name": "simple", "framework": "agno"}
    assert {type(value) for value in leaving.values()} == {str}
    assert anonymize({"event": "agent.run", "agent_name": Text("mine")})["agent_name"] == custom("mine")


@pytest.mark.parametrize("key", KEYS)
def test_an_object_that_raises_is_dropped(key: str) -> None:
    """A value whose methods all raise is neither sent nor raises."""
    assert anonymize({"event": "agent.run", key: Hostile()}) == {"event": "agent.run"}


@pytest.mark.parametrize("key", ["event", *KEYS, "other"])
def test_a_key_that_raises_is_omitted(key: str) -> None:
    """A key that collides with one of ours and whose __eq__ raises harms nothing."""
    rival = Rival(hash(key))
    event = {rival: SECRET, "event": "agent.run", "agent_name": "simple"}
    rival.raises = True
    assert anonymize(event) == {"event": "agent.run", "agent_name": "simple"}


def test_a_dict_that_lies_is_read_as_it_is() -> None:
    """A dict subclass whose methods raise is read past them."""
    assert anonymize(Lying(event="agent.run", agent_name="simple", password=SECRET)) == {
        "event": "agent.run",
        "agent_name": "simple",
    }


def test_a_dict_that_invents_is_read_as_it_is() -> None:
    """Pairs that a dict subclass only pretends to have are not sent, even if they are allowed."""

    class Inventing(dict[str, Any]):
        def get(self, key: str, *_: object) -> Any:  # any
            return "agent.run" if key == "event" else "simple"

    assert anonymize(Inventing(event="agent.run", framework="agno")) == {"event": "agent.run", "framework": "agno"}


def test_the_memory_of_words_is_bounded() -> None:
    """Neither many words nor long ones pile up."""
    processor = Anonymize(CATALOGUE, VOCABULARY, KEY)
    for number in range(3000):
        processor(None, "info", {"event": "agent.run", "agent_name": str(number), "framework": "x" * (1000 + number)})
    assert 1000 < len(processor._hash.words) < 3000
    assert max(map(len, processor._hash.words)) < 1000


def test_the_key_is_made_at_the_first_need_and_once() -> None:
    """A callable for the key is not called before a word or an id must be hashed, and then a single time."""
    calls: list[int] = []

    def make() -> bytes:
        calls.append(1)
        return KEY

    processor = Anonymize(CATALOGUE, VOCABULARY, make)
    processor(None, "info", {"event": "agent.run", "agent_name": "simple"})
    assert calls == []
    for name in ("one", "two", "one"):
        leaving = processor(None, "info", {"event": "agent.run", "agent_name": name, "trace_id": TRACE})
    assert calls == [1]
    assert leaving["agent_name"] == custom("one")


def test_without_a_key_each_object_has_its_own() -> None:
    """By default the key is random, so that hashes can't be guessed from words."""
    event = {"event": "agent.run", "agent_name": "mine"}
    first, second = Anonymize(CATALOGUE), Anonymize(CATALOGUE)
    assert first(None, "", event) == first(None, "", event) != second(None, "", event)


@pytest.mark.parametrize("name", ["event", *CARRIED])
def test_a_catalogue_cannot_declare_what_has_a_meaning(name: str) -> None:
    """A field with a reserved name raises in the constructor."""
    with pytest.raises(ValueError, match=rf"'e'.*'{name}' is reserved"):
        Anonymize({"e": {name: Word()}})


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Anonymize(CATALOGUE, "simple"), TypeError),
        (lambda: Anonymize(CATALOGUE, key=b""), ValueError),
        (lambda: Anonymize(CATALOGUE, key=b"x" * 65), ValueError),
        (lambda: Anonymize(CATALOGUE, key="text"), TypeError),  # type: ignore[arg-type]
    ],
    ids=["allowlist is a str", "empty key", "long key", "key is a str"],
)
def test_mistakes_are_reported_at_once(make: Callable[[], object], error: type[Exception]) -> None:
    """The constructor rejects arguments that would defeat the anonymization."""
    with pytest.raises(error, match=r"allowed|must"):
        make()
