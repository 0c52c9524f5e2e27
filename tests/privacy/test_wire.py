"""The allowed content of a request, to the last header and digit, for any logged value."""

from __future__ import annotations

import base64
import json
import math
import os
import random
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automagik_telemetry import __version__, get_tracing_manager
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.consent import _records as records
from automagik_telemetry.events._registry import CATALOGUE
from automagik_telemetry.settings import Settings
from tests.privacy.oracle import found_in
from tests.privacy.places import CARRIED, PLACES, World
from tests.privacy.search import KINDS, datum

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.privacy.wire import Wire

HEADERS = {"host", "content-type", "content-encoding", "content-length", "user-agent", "accept"}
RESOURCE = {
    *("service.name", "service.version", "service.organization", "user.id", "session.id"),
    *("telemetry.sdk.name", "telemetry.sdk.version", "telemetry.sdk.language"),
}
SPAN = {"traceId", "spanId", "name", "kind", "startTimeUnixNano", "endTimeUnixNano", "attributes", "status"}
SYSTEM = {"system.os", "system.python_version", "system.architecture"}


@pytest.fixture
def world(configured: Callable[..., None]) -> Any:
    """An application with the default configuration at DEBUG."""
    configured()
    world = World()
    yield world
    world.loop.close()


def plain(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return attributes as a dict."""
    return {each["key"]: next(iter(each["value"].values())) for each in attributes}


def send_all(wire: Wire) -> list[dict[str, Any]]:
    """Send queued events, and return the new spans, after checking everything around them."""
    assert get_tracing_manager().flush(10)
    spans: list[dict[str, Any]] = []
    for request in wire.take():
        body = json.loads(request.body)
        ((_, (resource,)),) = body.items()
        assert resource.keys() == {"resource", "scopeSpans"}
        assert plain(resource["resource"]["attributes"]).keys() == RESOURCE
        (scope,) = resource["scopeSpans"]
        assert scope["scope"] == {"name": "automagik_telemetry", "version": __version__}
        spans += scope["spans"]
    return spans


def test_headers(world: World, wire: Wire) -> None:
    """Requests have content type, product and version, and return no cookie."""
    for _ in range(2):
        world.telemetry.track_feature_usage("agents")
        assert get_tracing_manager().flush(10)
    assert len(wire.requests) == 2
    for request in wire.requests:
        line, *rest = request.head.decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value for name, value in (header.split(": ", 1) for header in rest)}
        assert line == "POST /v1/traces HTTP/1.1"
        assert headers.keys() == HEADERS
        assert headers["user-agent"] == f"automagik-telemetry/{__version__}"
        assert headers["host"] == wire.url.removeprefix("http://")
        assert {headers[name] for name in ("content-type", "accept")} == {"application/json"}


def test_keys_and_words(world: World, wire: Wire) -> None:
    """Spans have only the keys of the format, declared fields, and allowed strings or hashes."""
    generator = random.Random(3)
    planted = [datum(generator.choice(KINDS), generator) for _ in PLACES]
    for place, text in zip(PLACES.values(), planted, strict=True):
        try:
            place(world, text)
        except (KeyError, TypeError, ValueError):
            continue
    spans = send_all(wire)
    assert len(spans) > 1_000
    words: set[str] = set()
    for span in spans:
        assert span.keys() - {"parentSpanId"} == SPAN
        attributes = plain(span["attributes"])
        fields = {f"event.{field}" for field in CATALOGUE[span["name"]]}
        assert attributes.keys() <= fields | SYSTEM | {"sample_rate"}
        words.update(value for key, value in attributes.items() if isinstance(value, str) and key not in SYSTEM)
    unknown = {word for word in words if not word.startswith("custom-") and not word.isdecimal()}
    assert unknown <= {
        "simple",
        "agents",
        "agent run",
        "/agents/{name}",
        "/fails/{name}",
        "GET",
        "POST",
        "WEBSOCKET",
    } | {
        *("other", "unmatched", "unknown", "main", "api", "cli", "tool"),
        *("LookupError", "RuntimeError", "ClickException", "UsageError", "NoSuchOption", "Exit"),
        *("agno", "pydantic_ai", "UnexpectedModelBehavior"),
    }


numbers = (
    st.integers()
    | st.integers(0, 10**20)
    | st.floats()
    | st.sampled_from([time.time(), time.time_ns(), time.monotonic(), os.getpid(), 10**400, 2**63, -(2**63), True])
)


def test_numbers(world: World, wire: Wire, count_cases: Callable[[int], None]) -> None:
    """Of any number three digits are sent, within bounds, and no time but the span's own."""
    tried = []

    @settings(max_examples=settings().max_examples // 4)  # each is a round trip over the wire
    @given(st.sampled_from(sorted(CATALOGUE)), st.lists(numbers, min_size=1, max_size=8))
    def is_rounded(event: str, values: list[float]) -> None:
        tried.extend(values)
        began = time.time_ns()
        for value in values:
            world.log.error(event, extra=dict.fromkeys([*CATALOGUE[event], *CARRIED], value))
        for span in send_all(wire):
            attributes = plain(span["attributes"])
            sent = [float(value) for value in attributes.values() if not isinstance(value, bool) and _is_number(value)]
            assert [number for number in sent if number != float(f"{number:.3g}")] == []
            assert all(math.isfinite(number) and 0 <= number <= 10**12 for number in sent)
            start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
            assert began - 10**9 < end < time.time_ns() + 10**9
            assert abs(end - start - attributes.get("event.duration_ms", 0) * 10**6) < 10**3

    is_rounded()
    count_cases(len(tried))


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def test_a_second_opinion(world: World, wire: Wire) -> None:
    """Detect-secrets finds secrets in the planted texts, and none in the requests."""
    generator = random.Random(4)
    planted = [datum(kind, generator) for kind in KINDS]
    for text in planted:
        world.log.error("agent.run", extra={"agent_name": text, "note": text, text: text})
        world.request(path=f"/agents/{text}", headers=[(b"authorization", text.encode())])
        world.telemetry.track_error(text, text)
    assert len(send_all(wire)) >= 3 * len(planted)
    assert len({plugin for plugin, _ in found_in("\n".join(planted))}) >= 15
    assert found_in(wire.content().decode()) == set()


def test_the_hash_key_is_not_sent(world: World, wire: Wire, tmp_path: Path) -> None:
    """The hash key is in its file alone, which only the user can read, and in no request."""
    for number in range(50):
        world.telemetry.track_feature_usage(f"private word {number}")
    assert len(send_all(wire)) == 50
    state = tmp_path / "state"
    (secret,) = state.rglob("secret")
    others = b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file() and path != secret)
    (record,) = records.read(Settings.from_environ())
    assert len(secret.read_text()) == 64
    for raw in (bytes.fromhex(secret.read_text()), identity.Identity(record.scope, str(state)).hash_key):
        for form in (
            raw.hex().encode(),
            raw.hex().upper().encode(),
            raw,
            base64.b64encode(raw)[:40],
            raw[::-1].hex().encode(),
            raw[:8],
        ):
            assert form not in wire.content() + others
    assert "private word" not in (wire.content() + others).decode("latin-1")
    files = [path for path in state.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (state, *state.rglob("*")) if path.is_dir()} == {0o700}


MAKE_ID = """
import os, socket, platform, getpass, uuid, time, logging
import automagik_telemetry
print(automagik_telemetry.get_tracing_manager().telemetry.anonymous_id)
"""


def test_the_id_is_random(environment: dict[str, str], tmp_path: Path) -> None:
    """For one user on one machine, two state directories have different IDs, which are stable."""

    def made(folder: str) -> str:
        variables = {**os.environ, **environment, "AUTOMAGIK_STATE_DIR": str(tmp_path / folder)}
        done = subprocess.run(
            [sys.executable, "-c", MAKE_ID], env=variables, capture_output=True, text=True, check=True
        )
        (kept,) = (tmp_path / folder).rglob("secret")
        assert done.stdout.strip().replace("-", "") not in kept.read_text()
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        return done.stdout

    first, second = made("one"), made("two")
    assert first != second
    assert first == made("one")
    # What two ids share by more than chance would come from the machine: the version and variant of a UUID.
    assert sum(a == b for a, b in zip(first, second, strict=True)) < 18
