"""Every attribute key, span type and value type that is sent to LangWatch, with its definition."""

from __future__ import annotations

from typing import Final, NamedTuple

LANGWATCH: Final = "langwatch 1.4.0"
"""The SDK: `langwatch.attributes.AttributeKey`, and `langwatch.domain` for the JSON inside of them."""

GEN_AI: Final = "semantic conventions 1.44.0"
"""OpenTelemetry's attributes of generative AI, in development there."""

RECEIVER: Final = "LangWatch's receiver"
"""The keys that its server reads, and the SDK lacks or spells out: `langwatch/src/server/tracer/otel.traces.ts`."""

PYDANTIC_AI: Final = "pydantic-ai 2.68"
"""Its own OpenTelemetry output, for counts that the conventions lack."""

OURS: Final = "this project"

SPAN_TYPE: Final = "langwatch.span.type"
INPUT: Final = "langwatch.input"
OUTPUT: Final = "langwatch.output"
METRICS: Final = "langwatch.metrics"
TIMESTAMPS: Final = "langwatch.timestamps"
THREAD: Final = "langwatch.thread.id"
USER: Final = "langwatch.user.id"
METADATA: Final = "metadata"
MODEL: Final = "gen_ai.request.model"
SYSTEM: Final = "gen_ai.system"
PROVIDER: Final = "gen_ai.provider.name"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_CREATION_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
INPUT_AUDIO_TOKENS: Final = "gen_ai.usage.details.input_audio_tokens"
OUTPUT_AUDIO_TOKENS: Final = "gen_ai.usage.details.output_audio_tokens"
ERROR_TYPE: Final = "error.type"
EXCEPTION: Final = ("exception.type", "exception.message", "exception.stacktrace")
COST_ESTIMATED: Final = "automagik.cost_estimated"
SAMPLE_RATE: Final = "automagik.sample_rate"
SAMPLE_REASON: Final = "automagik.sample_reason"
TRUNCATED: Final = "automagik.truncated"
TRUNCATED_CHARACTERS: Final = "automagik.truncated_characters"
TRUNCATED_SPANS: Final = "automagik.truncated_spans"
MESSAGES_BEFORE: Final = "automagik.messages_before"


class Row(NamedTuple):
    """One key."""

    key: str
    source: str
    holds: str


KEYS: Final = (
    Row(SPAN_TYPE, LANGWATCH, "the kind of work, one of the types below"),
    Row(INPUT, LANGWATCH, 'JSON: `{"type": ..., "value": ...}`, the type one of the forms below'),
    Row(OUTPUT, LANGWATCH, "the output, in the same form"),
    Row(
        METRICS,
        LANGWATCH,
        "JSON: `prompt_tokens`, `completion_tokens`, `reasoning_tokens`, `cost` in US dollars, `first_token_ms`",
    ),
    Row(TIMESTAMPS, LANGWATCH, "JSON: `started_at`, `first_token_at`, `finished_at` in milliseconds since 1970"),
    Row(THREAD, LANGWATCH, "the conversation that it was part of"),
    Row(USER, RECEIVER, "the user that it was done for"),
    Row(METADATA, RECEIVER, "JSON: the application's metadata; for a trace, also how it was sampled"),
    Row(MODEL, LANGWATCH, "the model"),
    Row(SYSTEM, LANGWATCH, "the provider of the model"),
    Row(PROVIDER, GEN_AI, "the same, by its newer name"),
    Row(INPUT_TOKENS, LANGWATCH, "tokens read, those from a cache and those put into one included"),
    Row(OUTPUT_TOKENS, LANGWATCH, "tokens written, those for reasoning included"),
    Row(REASONING_TOKENS, GEN_AI, "of those, the ones for reasoning"),
    Row(CACHE_READ_TOKENS, GEN_AI, "of the tokens read, the ones from a cache"),
    Row(CACHE_CREATION_TOKENS, GEN_AI, "of the tokens read, the ones put into a cache"),
    Row(INPUT_AUDIO_TOKENS, PYDANTIC_AI, "of the tokens read, the ones of audio"),
    Row(OUTPUT_AUDIO_TOKENS, PYDANTIC_AI, "of the tokens written, the ones of audio"),
    Row(ERROR_TYPE, LANGWATCH, "the class of the exception, which is also an event of the span"),
    Row(COST_ESTIMATED, OURS, "true if the cost is an estimate from a price list, not reported by the framework"),
    Row(SAMPLE_RATE, OURS, "the share of such traces that is kept: count this one as its inverse"),
    Row(SAMPLE_REASON, OURS, "the reason why it was kept"),
    Row(MESSAGES_BEFORE, OURS, "the number of messages of the last request that this one repeats; they are omitted"),
    Row(TRUNCATED, OURS, "true if some of the span's content was omitted because it, or the trace, was too large"),
    Row(TRUNCATED_CHARACTERS, OURS, "the approximate number of omitted characters of the span"),
    Row(
        TRUNCATED_SPANS,
        OURS,
        "the number of omitted spans: on the root, of the trace; on a span `2 more requests`, of those that it adds up",
    ),
)

SPAN_TYPES: Final = frozenset(
    {
        *("span", "llm", "chain", "tool", "agent", "guardrail", "evaluation", "rag", "workflow", "component", "module"),
        *("server", "client", "producer", "consumer", "task", "unknown"),
    }
)
"""`langwatch.domain.SpanTypes`."""

ROLES: Final = frozenset({"system", "user", "assistant", "function", "tool", "guardrail", "evaluation", "unknown"})
"""`langwatch.domain.ChatRole`."""

FORMS: Final = frozenset({"text", "chat_messages", "json", "raw", "list"})
"""The values of `type` in inputs and outputs that we write, a subset of `langwatch.domain.SpanInputOutput`."""

TOKENS: Final = (
    ("input_tokens", INPUT_TOKENS, "prompt_tokens"),
    ("output_tokens", OUTPUT_TOKENS, "completion_tokens"),
    ("reasoning_tokens", REASONING_TOKENS, "reasoning_tokens"),
    ("cache_read_tokens", CACHE_READ_TOKENS, None),
    ("cache_write_tokens", CACHE_CREATION_TOKENS, None),
    ("input_audio_tokens", INPUT_AUDIO_TOKENS, None),
    ("output_audio_tokens", OUTPUT_AUDIO_TOKENS, None),
)
"""A count of `usage`, its attribute, and its name in the metrics."""
