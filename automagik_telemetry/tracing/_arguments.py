"""Normalizes arguments of provider calls: IDs in the form of OTLP, and counts of tokens."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from automagik_processors._scalars import integer_of

_MAX_TOKENS: Final = 2**53  # beyond it JSON's numbers are not exact
_HEX = re.compile("[0-9a-f]+")
_TRACE_ID, _SPAN_ID = 32, 16


def trace_id_of(text: object) -> str:
    """Return a trace ID of 32 hex digits: those of a UUID, else a hash."""
    return _digits(text, _TRACE_ID)


def span_id_of(text: object) -> str:
    """Return a span ID of 16 hex digits: the second half of a UUID, else a hash."""
    return _digits(text, _SPAN_ID)


def _digits(text: object, length: int) -> str:
    plain = str(text).replace("-", "").lower()
    digits = plain[-length:]
    if len(plain) in (_TRACE_ID, length) and _HEX.fullmatch(plain) and digits.strip("0"):
        return digits
    return hashlib.sha256(str(text).encode(errors="replace")).hexdigest()[:length]


_NAMES: Final = {
    "input_tokens": ("input_tokens", "prompt_tokens", "request_tokens"),
    "output_tokens": ("output_tokens", "completion_tokens", "response_tokens"),
    "reasoning_tokens": ("reasoning_tokens",),
    "cache_read_tokens": ("cache_read_tokens", "cached_tokens", "cache_read_input_tokens"),
    "cache_write_tokens": ("cache_write_tokens", "cache_creation_input_tokens"),
    "input_audio_tokens": ("input_audio_tokens", "audio_input_tokens"),
    "output_audio_tokens": ("output_audio_tokens", "audio_output_tokens"),
    "total_tokens": ("total_tokens",),
}
USAGE: Final = frozenset(_NAMES)
"""Names of counts of tokens."""
_BESIDE_INPUT: Final = ("cache_read_input_tokens", "cache_creation_input_tokens")
"""Anthropic's names of counts that its `input_tokens` does not include."""
_PROVIDERS: Final = frozenset(
    {
        *("anthropic", "aws", "azure", "bedrock", "cerebras", "cohere", "deepseek", "fireworks", "gemini", "google"),
        *("google-cloud", "google-gla", "google-vertex", "groq", "huggingface", "litellm", "lmstudio", "mistral"),
        *("moonshotai", "ollama", "openai", "openai-chat", "openai-responses", "openrouter", "perplexity", "together"),
        *("vercel", "vertexai", "vllm", "xai"),
    }
)


_MISTRAL: Final = ("mistral", "ministral", "codestral", "magistral", "pixtral", "devstral", "voxtral", "open-mi")
"""Beginnings of the names of Mistral's models. Ollama's `mistral:7b` names a size."""


def model_of(text: str, provider: Any = None) -> tuple[str, Any]:
    """Return the model and the provider of a name such as "openai:gpt-4o"; other names have colons, too.

    A `provider` that the caller names stays, and is removed from the name.
    """
    prefix, colon, model = text.partition(":")
    named = prefix.lower()
    is_provider = colon and model and named in _PROVIDERS and (provider is None or _family(provider) == _family(named))
    if not is_provider or (named == "mistral" and not model.lower().startswith(_MISTRAL)):
        return text, provider
    return model, prefix if provider is None else provider


def _family(provider: object) -> str:
    """Return the provider without its API, as "google" of "google-vertex"."""
    return str(provider).lower().partition("-")[0]


def usage_of(usage: Any, report: Callable[[str], object]) -> dict[str, int] | None:
    """Return the counts in `usage`, a mapping or an object with attributes; None if there are none.

    `report` is called with the name of each that is not a valid count.
    """
    if usage is None:
        return None
    of: Callable[[str], object] = (
        usage.get if isinstance(usage, Mapping) else lambda name: cast("object", getattr(usage, name, None))
    )
    found: dict[str, int] = {}
    for name, others in _NAMES.items():
        given = [value for other in others if (value := of(other)) is not None]
        counts = [count for value in given if (count := token_count(value)) is not None]
        if counts:
            found[name] = counts[0]
        elif given:
            report(name)
    if "input_tokens" in found and of("input_tokens") is not None:
        found["input_tokens"] += sum(token_count(of(name)) or 0 for name in _BESIDE_INPUT)
    return found or None


def token_count(value: object) -> int | None:
    """Return a number of tokens as a plain int; None for anything else."""
    count = value if type(value) is int else integer_of(value)
    return count if count is not None and 0 <= count < _MAX_TOKENS else None
