"""The tokens of a request to an agno model, in one form: agno passes on what each provider counts in its own way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from automagik_telemetry._failsafe import attempt
from automagik_telemetry.tracing._arguments import token_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_ANTHROPIC: Final = frozenset({"agno.models.anthropic.claude", "agno.models.aws.bedrock"})
"""Modules of models whose input does not include the tokens of the cache."""
_GOOGLE: Final = "agno.models.google.gemini"
"""Module of the models whose output does not include the thoughts."""
_COUNTS: Final = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "reasoning_tokens": "reasoning_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "input_audio_tokens": "audio_input_tokens",
    "output_audio_tokens": "audio_output_tokens",
}
"""The counts, and agno's names for them."""
_UNREPORTED: Final[dict[str, tuple[Callable[[Any], object], ...]]] = {
    "cache_read_tokens": (lambda raw: raw.prompt_tokens_details.cached_tokens,),  # Groq
    "reasoning_tokens": (lambda raw: raw.completion_tokens_details.reasoning_tokens,),
    "cache_write_1h_tokens": (
        lambda raw: raw.cache_creation.ephemeral_1h_input_tokens,  # Anthropic
        lambda raw: sum(each["inputTokens"] for each in raw["cacheDetails"] if each["ttl"] == "1h"),  # Bedrock
    ),
    "input_audio_tokens": (lambda raw: _audio(raw.prompt_tokens_details),),  # Google, here and below
    "cache_audio_read_tokens": (lambda raw: _audio(raw.cache_tokens_details),),
    "output_audio_tokens": (lambda raw: _audio(raw.candidates_tokens_details),),
    "input_tool_tokens": (lambda raw: raw.tool_use_prompt_token_count,),
}
"""Counts in the provider's own usage that agno omits."""


def counts(model: object, metrics: Any, raw: object) -> dict[str, int]:
    """Return the counts that are not 0. The input includes the cache, tools and audio, the output the reasoning.

    Args:
        model: The model.
        metrics: agno's `MessageMetrics`, or None.
        raw: The usage as the provider reports it, or None.
    """
    found = {name: token_count(getattr(metrics, of, 0)) or 0 for name, of in _COUNTS.items()}
    for name, readers in _UNREPORTED.items() if raw is not None else ():
        found[name] = found.get(name) or next((count for read in readers if (count := _read(read, raw))), 0)
    # By the class that converts the usage, which other classes inherit.
    kind = getattr(getattr(type(model), "_get_metrics", None), "__module__", None)
    if kind in _ANTHROPIC:
        found["input_tokens"] += found["cache_read_tokens"] + found["cache_write_tokens"]
    else:
        total = token_count(getattr(metrics, "total_tokens", 0))
        # xAI's total shows that its output is without the reasoning.
        if kind == _GOOGLE or total == found["input_tokens"] + found["output_tokens"] + found["reasoning_tokens"]:
            found["output_tokens"] += found["reasoning_tokens"]
    found["input_tokens"] += found.get("input_tool_tokens", 0)
    return {name: count for name, count in found.items() if count}


def _read(read: Callable[[Any], object], raw: object) -> int:
    return token_count(attempt(read, raw)) or 0


def _audio(details: Iterable[Any]) -> int:
    """Return the number of audio tokens in Google's list of modalities."""
    return sum(each.token_count for each in details if getattr(each.modality, "value", each.modality) == "AUDIO")
