"""The names of models: public ones in one form each, private ones as hashes, from any logger."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automagik_telemetry import configure
from automagik_telemetry.events._models import public_name

PUBLIC = [
    ("gpt-4o", "gpt-4o"),
    ("openai/gpt-4o:batch", "gpt-4o"),
    ("openai:gpt-4o", "gpt-4o"),
    ("google-gla:gemini-2.5-flash", "gemini-2.5-flash"),
    ("models/gemini-2.0-flash", "gemini-2.0-flash"),
    ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"),
    ("anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet-20241022"),
    ("bedrock:us.anthropic.claude-3-5-haiku-20241022-v1:0", "claude-3-5-haiku-20241022"),
    ("bedrock/eu.amazon.nova-lite-v1:0", "nova-lite"),
    ("meta.llama3-1-70b-instruct-v1:0", "llama3-1-70b-instruct"),
    (
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-20250514-v1:0",
        "claude-sonnet-4-20250514",
    ),
    ("publishers/google/models/gemini-2.5-flash", "gemini-2.5-flash"),
    (
        "projects/acme-4711/locations/us/publishers/anthropic/models/claude-3-5-sonnet@20240620",
        "claude-3-5-sonnet-20240620",
    ),
    ("llama3.2", "llama3.2"),
    ("llama3.2:latest", "llama3.2"),
    ("llama3.2:3b", "llama3.2:3b"),
    ("ollama/llama3.2:3b-instruct-q4_K_M", "llama3.2:3b"),
    ("ollama:llama3.2:3b", "llama3.2:3b"),
    ("llama3.2:acme-secret", "llama3.2"),
    ("mistral:7b", "mistral:7b"),
    ("mistral:mistral-large-latest", "mistral-large-latest"),
]
PRIVATE = [
    "ft:gpt-4o:acme::id",
    "openai:ft:gpt-4o:acme::id",
    "openai/ft:gpt-4o-mini-2024-07-18:acme:suffix:id",
    "ft-gpt-4o-acme",
    "gpt-4o-acme",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/ab12cd34ef56",
    "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/x1y2",
    "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-pro-v1:0/abc",
    "projects/acme-4711/locations/us/endpoints/1234567890",
    "us.acme.secret-v1:0",
    "acme-llama:3b",
    "my-deployment",
    "",
    "gpt-4o" * 100,
]


@pytest.mark.parametrize(("name", "expected"), PUBLIC)
def test_a_public_model_has_one_name(name: str, expected: str) -> None:
    """The name that is sent has no provider, region, account, project, revision or tag."""
    assert public_name(name) == expected


@pytest.mark.parametrize("name", PRIVATE)
def test_a_private_model_has_none(name: str) -> None:
    """A fine-tune, a deployment and an endpoint are not public, whatever they are made from."""
    assert public_name(name) is None


@given(st.text(alphabet="0123456789abcxyz:/.@-", max_size=60))
def test_no_part_of_another_name_is_sent(text: str) -> None:
    """A tag, an account or a path that anyone made is never part of the result."""
    for name in (f"llama3.2:{text}", f"{text}/gpt-4o", f"gpt-4o:{text}"):
        found = public_name(name)
        secret = "".join(character for character in text if character not in ":/.@-")
        assert found is None or len(secret) < 6 or secret not in found


def test_any_logger_sends_public_names(opted_in: Any, fields: Any) -> None:
    """Without any integration, the field `model` has the public name, and other models are hashes."""
    manager = configure()
    logger = logging.getLogger("automagik.agents")
    for name in ("bedrock:us.anthropic.claude-sonnet-4-5-20250929-v1:0", "ft:gpt-4o:acme::id", "gpt-4o", "gpt-4o"):
        logger.info("agent.run", extra={"agent_name": "simple", "model": name})
    assert manager.flush(10)
    first, private, *last = [fields(span)["event.model"] for span in opted_in.spans()]
    assert [first, *last] == ["claude-sonnet-4-5-20250929", "gpt-4o", "gpt-4o"]
    assert private.startswith("custom-")
    assert "acme" not in str(opted_in.requests)
