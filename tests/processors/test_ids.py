"""The source of random IDs, and its behaviour at a fork."""

from __future__ import annotations

import gc
import os
import re
import threading
import weakref

import pytest

from automagik_processors import OTLPSpan
from automagik_processors._ids import ForkSafeRandom, FreshIds, is_id


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_gives_other_ids() -> None:
    """Parent and children don't draw the same ids from the state that they shared."""
    encode = OTLPSpan()
    encode(None, "", {"event": "e"})
    seen = {in_a_child(encode) for _ in range(3)} | {encode(None, "", {"event": "e", "timestamp": 1.0})}
    assert len(seen) == 4
    assert len({re.findall(b'"traceId":"([0-9a-f]{16})', each)[0] for each in seen}) == 4, "each process has its own"
    spans = {re.findall(b'"spanId":"([0-9a-f]{16})', each)[0] for each in seen}
    assert len(spans) == 4, "what was drawn ahead is the parent's"


def in_a_child(encode: OTLPSpan) -> bytes:
    """Return the output of an encoder in a forked child."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, encode(None, "", {"event": "e", "timestamp": 1.0}))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        encoded = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    assert encoded
    return encoded


def test_fresh_ids_differ_in_what_must_be_random() -> None:
    """The trace ID ends with the span ID, and begins with the same digits in one process."""
    ids = FreshIds()
    made = [ids.new() for _ in range(10_000)]
    assert all(is_id(trace, 32) and is_id(span, 16) and trace.endswith(span) for trace, span in made)
    assert len({span for _, span in made}) == 10_000
    assert len({trace[:16] for trace, _ in made}) == 1
    assert FreshIds().new()[0][:16] != made[0][0][:16]


def test_what_is_drawn_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    """An id of zeros would be none; of many that are drawn in one go, each is looked at."""
    drawn = bytes(8) + bytes(7) + b"\x10" + b"\x0f" + bytes(7) + bytes(8 * 61)
    monkeypatch.setattr(ForkSafeRandom, "randbytes", lambda _self, _count: drawn)
    ids = FreshIds()
    assert ids.process == "0" * 15 + "1"
    assert [ids.new()[1] for _ in range(3)] == ["0" * 14 + "10", "0f" + "0" * 14, "0" * 15 + "1"]
    assert FreshIds(lambda: 0).new()[1] == "0" * 15 + "1"


def test_threads_share_no_ids() -> None:
    """Nothing that is drawn is drawn twice."""
    ids = FreshIds()
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend([ids.new()[1] for _ in range(5_000)])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 20_000


def test_a_generator_is_not_kept_alive() -> None:
    """The hook that reseeds after a fork keeps no generator alive."""
    generator = ForkSafeRandom()
    reference = weakref.ref(generator)
    del generator
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ("a" * 16, True),
        ("0" * 15 + "1", True),
        ("0" * 16, False),
        ("A" * 16, False),
        ("a" * 17, False),
        (b"a" * 16, False),
    ],
)
def test_what_an_id_is(value: object, valid: bool) -> None:  # a parameter of a test
    """Exactly a str of lower-case hex digits, of the right number, not all zero."""
    assert is_id(value, 16) is valid
