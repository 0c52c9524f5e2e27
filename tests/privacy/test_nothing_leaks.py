"""Secrets and personal data, planted in every place and form that an event has: none is on disk or on the wire."""

from __future__ import annotations

import contextlib
import random
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automagik_telemetry import get_tracing_manager
from automagik_telemetry.consent import _preferences as preferences
from automagik_telemetry.consent._application import Scope
from automagik_telemetry.settings import origin_of
from tests.privacy.places import HOLDERS, PLACES, World
from tests.privacy.search import FORMS, KINDS, Haystack, datum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.privacy.wire import Wire

BATCH = 20


class Planted(NamedTuple):
    """One text and where and how it was planted."""

    text: str
    place: str
    form: str

    @property
    def cases(self) -> int:
        """Number of values in which it was planted."""
        return len(FORMS[self.form](self.text)) * (len(HOLDERS) if " by " in self.place else 1)


class Trial:
    """An application that plants texts, and the findings afterwards."""

    def __init__(self, wire: Wire, state: Path) -> None:
        self._wire = wire
        self._state = state
        self.world = World()
        self.world.telemetry.track_feature_usage("agents")
        self.world.request()
        assert get_tracing_manager().flush(10)
        # What every request holds: none of it was planted.
        self._known = wire.content()
        self._sends = bool(self._known)
        self.cases = 0

    def found(self, batch: Sequence[Planted]) -> list[tuple[Planted, str, list[bytes]]]:
        """Plant and send, and return the findings: text, place and form."""
        self._wire.requests.clear()
        for planted in batch:
            for piece in FORMS[planted.form](planted.text):
                # Logging itself refuses some keys and names, in the face of the caller.
                with contextlib.suppress(KeyError, TypeError, ValueError):
                    PLACES[planted.place](self.world, piece)
            self.cases += planted.cases
        self.world.telemetry.track_feature_usage("agents")
        disk = [self._disk()]
        assert get_tracing_manager().flush(10)
        disk.append(self._disk())
        wire = self._wire.content()
        if self._sends:
            assert b'"agents"' in wire  # so something did arrive
        else:
            assert wire == b""
            assert b" recorded feature.used " in disk[1]
        places = {"disk": Haystack(b"\n".join(disk), self._known), "wire": Haystack(wire, self._known)}
        return [
            (planted, place, forms)
            for planted in batch
            for place, haystack in places.items()
            if (forms := haystack.forms_of(planted.text))
        ]

    def all_found(self, planted: Sequence[Planted]) -> list[tuple[Planted, str, list[bytes]]]:
        """Return the same for many, batch by batch."""
        batches = [planted[start : start + BATCH] for start in range(0, len(planted), BATCH)]
        return [found for batch in batches for found in self.found(batch)]

    def _disk(self) -> bytes:
        parts = []
        for path in sorted(self._state.rglob("*")):
            parts.append(str(path.relative_to(self._state)).encode())
            if path.is_file():
                parts.append(path.read_bytes())
        return b"\n".join(parts)


@pytest.fixture
def trial(
    wire: Wire, configured: Callable[..., None], tmp_path: Path, count_cases: Callable[[int], None]
) -> Iterator[Callable[..., Trial]]:
    """Provide trials with the default configuration, or without some of its lines."""
    made: list[Trial] = []

    def make(*omitted: str) -> Trial:
        configured(*omitted)
        made.append(Trial(wire, tmp_path / "state"))
        return made[-1]

    yield make
    for each in made:
        each.world.loop.close()
    count_cases(sum(each.cases for each in made))


@pytest.mark.parametrize("form", FORMS)
def test_every_place_in_every_form(trial: Callable[..., Trial], form: str) -> None:
    """Each place, planted once in each form with a datum of one kind or another, leaks nothing."""
    generator = random.Random(form)
    kinds = cycle(generator.sample(KINDS, len(KINDS)))
    planted = [Planted(datum(kind, generator), place, form) for place, kind in zip(PLACES, kinds, strict=False)]
    running = trial()
    assert running.all_found(planted) == []


def test_every_place_as_log_records(
    trial: Callable[..., Trial], wire: Wire, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint for log records gets as little as one for spans."""
    monkeypatch.setenv("AUTOMAGIK_TELEMETRY_ENDPOINT", f"{wire.url}/v1/logs")
    generator = random.Random(6)
    planted = [Planted(datum(generator.choice(KINDS), generator), place, "plain") for place in PLACES]
    assert trial().all_found(planted) == []
    assert b'"resourceLogs"' in wire.content()


def test_history_and_records(trial: Callable[..., Trial], wire: Wire) -> None:
    """The history and the application's record hold as little, if everything is recorded and nothing is sent."""
    scope = Scope("automagik-agents", origin_of(wire.url))
    preferences.change(lambda saved: saved.granted(scope, "automagik-telemetry local", local=True))
    generator = random.Random(7)
    planted = [Planted(datum(generator.choice(KINDS), generator), place, "plain") for place in PLACES]
    running = trial()
    assert running.all_found(planted) == []


def test_every_kind_of_datum(trial: Callable[..., Trial]) -> None:
    """Each kind of datum, from names to private keys, leaks from no place that is drawn for it."""
    generator = random.Random(1)
    places = sorted(PLACES)
    planted = [
        Planted(datum(kind, generator), generator.choice(places), generator.choice(list(FORMS)))
        for kind in KINDS
        for _ in range(4)
    ]
    running = trial()
    assert running.all_found(planted) == []


texts = st.one_of(
    st.builds(lambda kind, seed: datum(kind, random.Random(seed)), st.sampled_from(KINDS), st.integers(0)),
    st.text(min_size=24, max_size=60).filter(lambda text: len(set(text)) > 12),
)
plantings = st.lists(
    st.builds(Planted, texts, st.sampled_from(sorted(PLACES)), st.sampled_from(list(FORMS))), min_size=1, max_size=BATCH
)


def test_whatever_is_drawn(trial: Callable[..., Trial]) -> None:
    """Texts that hypothesis draws leak from nowhere."""
    running = trial()

    @settings(max_examples=settings().max_examples // 4)  # each is a round trip over the wire
    @given(plantings)
    def leaks_nothing(batch: list[Planted]) -> None:
        assert running.found(batch) == []

    leaks_nothing()


def test_the_search_finds_what_is_there(trial: Callable[..., Trial]) -> None:
    """With the anonymizing step left out of the file, the same search finds each form, on disk and on the wire."""
    generator = random.Random(2)
    running = trial("automagik_telemetry.Anonymize", "allowlist:")
    for form in FORMS:
        kinds = cycle(("email", "github pat"))
        planted = [Planted(datum(kind, generator), place, form) for place, kind in zip(CARRYING, kinds, strict=False)]
        found = running.found(planted)
        assert {(each, where) for each, where, _ in found} == {
            (each, where) for each in planted for where in ("disk", "wire")
        }


CARRYING = (
    *("message", "extra key", "extra value", "extra list", "attribute put by a filter", "exception as a field"),
    *("structlog key", "structlog value", "structlog bound", "structlog context"),
    *("track_agent_run", "track_feature_usage", "track_error", "track_http_request", "command's name"),
    *("agent.run agent_name by logging", "agent.run agent_name by structlog", "agent.run agent_name by the facade"),
)


def test_every_place_is_one(trial: Callable[..., Trial]) -> None:
    """At each place something is logged, so that none of the trials above is empty."""
    running = trial()

    def logged(place: str) -> bool:
        before = running.world.telemetry.get_metrics()["tracer"]["queued"]
        with contextlib.suppress(KeyError, TypeError, ValueError):
            PLACES[place](running.world, "planted")
        return bool(running.world.telemetry.get_metrics()["tracer"]["queued"] > before)

    # Events that are not declared are not even taken.
    assert [place for place in PLACES if not logged(place)] == [
        *("structlog event", "structlog positional", "event of one's own class")
    ]
