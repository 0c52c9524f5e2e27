"""The steps of logging.yaml: one class each, with the application's values for omitted arguments."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest

import automagik_processors
import automagik_telemetry
from automagik_processors import OTLPLogRecord, OTLPSpan, Word, merge_context
from automagik_processors._hashing import KeyedHash
from automagik_telemetry import OTLP, Anonymize, ChainFormatter, LangWatchTrace, Sample, Scrub, configure, declare
from automagik_telemetry.events._registry import CATALOGUE
from automagik_telemetry.handlers import _loggers as loggers

EVENT = {"event": "agent.run", "agent_name": "mine"}


def test_each_step_is_one_class() -> None:
    """The steps are classes, and those of `automagik_processors` are the same ones."""
    assert [Anonymize, Sample, Scrub] == [
        getattr(automagik_processors, name) for name in ("Anonymize", "Sample", "Scrub")
    ]
    assert all(isinstance(step, type) for step in (Anonymize, Sample, Scrub, OTLP, LangWatchTrace))
    for gone in ("anonymize", "sample", "otlp"):
        assert not hasattr(automagik_telemetry, gone)


def test_the_default_chain_is_encoded_in_one_pass(opted_in: Any) -> None:
    """The chain of the default file, and of separate steps, is encoded in one pass."""
    configure()
    chain = loggers.sinks()["telemetry"].chain
    assert [type(step) for step in chain.processors[1:]] == [Anonymize, Sample, OTLP]
    assert chain._direct is not None
    chain.encode(logging.makeLogRecord({"msg": "agent.run", "levelno": logging.INFO}))
    assert chain._direct.encoder("agent.run") is not None
    assert ChainFormatter([merge_context, Anonymize(), Sample(), OTLP()])._direct is not None
    assert ChainFormatter([merge_context, Anonymize(), Sample(0.5), OTLP()])._direct is None


def test_anonymize_brings_what_the_application_declares() -> None:
    """Without a catalogue, the declared events and strings count, including later declarations."""
    step = Anonymize(allowlist=["the-shop"])
    assert step.catalogue == CATALOGUE
    assert step(None, "info", {**EVENT, "agent_name": "the-shop"})["agent_name"] == "the-shop"
    assert step(None, "info", {**EVENT, "agent_name": "simple"})["agent_name"] == "simple"
    assert step(None, "info", {**EVENT, "agent_name": "later"})["agent_name"].startswith("custom-")
    declare("later")
    assert step(None, "info", {**EVENT, "agent_name": "later"})["agent_name"] == "later"


def test_anonymize_takes_a_hash_key() -> None:
    """A given hash key is used; without one the application's key, which two steps share."""
    keyed = Anonymize(key=b"k")(None, "info", EVENT)["agent_name"]
    assert keyed == f"custom-{KeyedHash(b'k').word('mine')}"
    first, second = (Anonymize()(None, "info", EVENT)["agent_name"] for _ in range(2))
    assert first == second != keyed


def test_a_catalogue_of_ones_own_has_its_own_words_and_key() -> None:
    """With a catalogue, neither the application's allowlist nor its hash key is used."""
    mine = {"agent.run": {"agent_name": Word()}}
    assert Anonymize(mine)(None, "info", {**EVENT, "agent_name": "simple"})["agent_name"].startswith("custom-")
    assert Anonymize(mine)(None, "info", EVENT) != Anonymize(mine)(None, "info", EVENT)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"allowlist": "simple"}, TypeError, "'simple'; allowed: a list or set"),
        ({"allowlist": None}, TypeError, "NoneType None; allowed: a list or set"),
        ({"allowlist": [3]}, TypeError, "int"),
        ({"allowlist": ["two\nlines"]}, ValueError, "must begin with a letter"),
        ({"key": b""}, ValueError, "1 to 64"),
        ({"key": "text"}, TypeError, "must be bytes"),
    ],
)
def test_wrong_arguments_are_one_clear_error(arguments: Any, error: type[Exception], words: str) -> None:
    """The message has the value and the allowed values."""
    with pytest.raises(error, match=words):
        Anonymize(**arguments)


def test_the_pure_package_brings_no_catalogue() -> None:
    """By itself `automagik_processors.Anonymize` requires a catalogue, and the error names the class that has one."""
    code = "import automagik_processors; automagik_processors.Anonymize(allowlist=['simple'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].startswith("TypeError: catalogue: None; allowed: ")
    assert "automagik_telemetry.Anonymize" in done.stderr


def test_rates_of_the_environment_go_first_in_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink's chain uses the rates of the environment; the step by itself keeps its own."""
    steps = [Anonymize(), Sample(0.25, 0.5), OTLP()]
    assert ChainFormatter(steps).processors[1] is steps[1]
    monkeypatch.setenv("AUTOMAGIK_SAMPLING_RATE", "1")
    (_, sample, _) = ChainFormatter(steps).processors
    event = {"event": "feature.used", "level": "info"}
    assert sample(None, "info", event) == event
    assert isinstance(sample, Sample)
    assert (sample._rate, sample._error_rate) == (1.0, 0.5)
    monkeypatch.setenv("AUTOMAGIK_ERROR_SAMPLING_RATE", "1")
    assert ChainFormatter(steps)._direct is not None
    assert (Sample(0.25)._rate, Sample(0.25, 0.5)._error_rate) == (0.25, 0.5)
    with pytest.raises(ValueError, match=r"Sample\(rate=2\)"):
        Sample(2)


@pytest.mark.parametrize(
    ("endpoint", "signal", "encoder"),
    [
        (None, "traces", OTLPSpan),
        ("http://127.0.0.1:4318", "traces", OTLPSpan),
        ("http://127.0.0.1:4318/v1/logs", "logs", OTLPLogRecord),
    ],
)
def test_otlp_takes_the_form_of_its_endpoint(endpoint: str | None, signal: str, encoder: type) -> None:
    """Step by step and in one pass, an endpoint gets its own format, with the attributes of the system."""
    step = OTLP(endpoint=endpoint)
    assert (step.signal, type(step.encodes_with)) == (signal, encoder)
    chain = ChainFormatter([Anonymize(), Sample(), step])
    assert (chain.signal, chain._direct is not None) == (signal, True)
    encoded = step(None, "info", {"event": "agent.run", "agent_name": "simple"}).decode()
    assert '"event.agent_name"' in encoded
    assert '"system.os"' in encoded
