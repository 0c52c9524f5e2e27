"""The cost of a response is estimated by the installed price list, or is None."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from automagik_telemetry.tracing._cost import estimate, is_known, prepare

USAGE = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}


def test_estimates() -> None:
    """A public model has a price under the names of its provider, or its address; cached tokens are cheaper."""
    prepare()
    price = estimate("gpt-4o", "openai", USAGE)
    assert price is not None
    assert 5 < price < 50
    assert estimate("gpt-4o", "OpenAI", USAGE) == price
    assert estimate("gpt-4o", "any", USAGE, "https://api.openai.com/v1") == price
    cached = estimate("gpt-4o", "openai", {**USAGE, "cache_read_tokens": 900_000})
    assert cached is not None
    assert cached < price


@pytest.mark.parametrize(
    ("model", "usage"), [("my-own-model", USAGE), (None, USAGE), ("gpt-4o", None), ("gpt-4o", {}), ("gpt-4o", {"x": 5})]
)
def test_what_is_not_known_has_no_price(model: str | None, usage: Any) -> None:
    """Without a known model and tokens there is no estimate, and no error."""
    prepare()
    assert not estimate(model, "openai", usage)


@pytest.mark.fault(112)
@pytest.mark.parametrize("provider", ["Ollama", "LMStudio", "VLLM", "LlamaCpp", "test", "", None])
def test_a_local_or_unknown_provider_has_no_price(provider: str | None) -> None:
    """The name of a public model does not make a local one cost anything."""
    prepare()
    assert estimate("gpt-4o", provider, USAGE) is None
    assert estimate("gpt-4o", "openai", USAGE, "http://127.0.0.1:1234/v1") is None
    assert not is_known("http://127.0.0.1:1234/v1")
    assert is_known("https://api.groq.com/openai/v1")


def test_without_the_price_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the list is not loaded there is no estimate: a run never loads it."""
    monkeypatch.delitem(sys.modules, "genai_prices", raising=False)
    assert estimate("gpt-4o", "openai", USAGE) is None
    assert "genai_prices" not in sys.modules
