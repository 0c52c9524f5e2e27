"""The names of models: those of public ones are sent verbatim, in one form for each model, and others as hashes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from automagik_processors.kinds import Word
from automagik_telemetry._fork_lock import importing
from automagik_telemetry.events._allowlist import allowlist
from automagik_telemetry.events._event import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_CHARACTERS: Final = 256
_REGION: Final = re.compile(r"(?:us|us-gov|eu|apac|au|ca|jp|sa|global|regional)\.")
_VENDOR: Final = re.compile(
    r"(?:ai21|amazon|anthropic|cohere|deepseek|google|luma|meta|minimax|mistral|moonshotai|nvidia|openai|qwen|stability"
    r"|twelvelabs|writer|zai)\."
)
"""The vendor of a model of Bedrock, as in `anthropic.claude-...`."""
_REVISION: Final = re.compile(r"-v\d+$")
_DATE: Final = re.compile(r"[-@](?:20\d\d[01]\d[0-3]\d|20\d\d-[01]\d-[0-3]\d|00\d|latest|default)$")
"""The version of a public model, which the list of names may not have yet."""
_SIZE: Final = re.compile(r"((?:\d{1,2}x)?\d{1,3}(?:\.\d{1,2})?[bm])(?:-.*)?", re.IGNORECASE)
"""The size of a model of Ollama, before its variant and quantization, such as `3b-instruct-q4_K_M`."""
_PRIVATE: Final = ("ft:", "ft-")
_OLLAMA: Final = frozenset(
    (
        *("codegemma", "codellama", "codestral", "command-r", "command-r-plus", "deepseek-coder", "deepseek-r1"),
        *("deepseek-v3", "devstral", "dolphin-mixtral", "falcon", "falcon3", "gemma", "gemma2", "gemma3", "gemma3n"),
        *("gpt-oss", "granite3.2", "granite3.3", "granite4", "llama2", "llama3", "llama3.1", "llama3.2"),
        *("llama3.2-vision", "llama3.3", "llama4", "llava", "magistral", "minicpm-v", "mistral", "mistral-nemo"),
        *("mistral-small", "mistral-small3.1", "mistral-small3.2", "mixtral", "mxbai-embed-large", "nemotron"),
        *("nomic-embed-text", "olmo2", "openchat", "orca-mini", "phi", "phi3", "phi3.5", "phi4", "phi4-mini"),
        *("phi4-reasoning", "qwen", "qwen2", "qwen2-math", "qwen2.5", "qwen2.5-coder", "qwen2.5vl", "qwen3"),
        *("qwen3-coder", "qwen3-vl", "qwq", "smollm", "smollm2", "solar", "starcoder", "starcoder2", "tinyllama"),
        *("vicuna", "wizardcoder", "yi", "zephyr"),
    )
)
"""Families of Ollama's library. A name is sent with its size, and without any other tag, which a user may have made."""


def model_name(sentence: str, *, default: Any = ..., kw_only: bool = False) -> Any:
    """Declare a field of names of models."""
    return Field(ModelName(), sentence, default, kw_only)


class ModelName(Word):
    """The name of a model: a word that is sent verbatim if the model is public, without provider and region."""

    __slots__ = ()

    def take(self, value: object) -> str | None:
        """Return the name of a public model in its one form, which is on the allowlist then, or any other text.

        Args:
            value: The value of a field, of any type.

        Returns:
            The text, or None for anything but a str, or an Enum whose value is a str.
        """
        text = super().take(value)
        if text is None or text in allowlist or (public := public_name(text)) is None:
            return text
        allowlist.add(public)
        return public


@lru_cache(maxsize=1_000)
def public_name(name: str) -> str | None:
    """Return the name of a public model without its provider, region, account, revision and tag; None for any other.

    It takes the forms of Bedrock (an ARN too), Vertex AI, Ollama, OpenRouter and of frameworks, such as
    `us.anthropic.claude-sonnet-4-5-20250929-v1:0`, `publishers/google/models/gemini-2.5-flash` and `openai:gpt-4o`.
    """
    if len(name) > _MAX_CHARACTERS or name.startswith(_PRIVATE) or ":ft:" in name or "/ft:" in name:
        return None
    tail = name.rpartition("/")[2]
    first, _, rest = tail.partition(":")
    # After the colon is a tag, the number of a revision, or, after the provider, the model.
    return _public(first) or _of_ollama(first, rest) if not _is_name(rest) else _public(rest) or public_name(rest)


def _is_name(rest: str) -> bool:
    """Return whether the part after a colon is the name of a model, of which the part before is the provider."""
    return bool(rest) and (_public(rest) is not None or ":" in rest or rest.partition(":")[0] in _OLLAMA)


def _public(name: str) -> str | None:
    # A process without the name of a model must not import two thousand.
    with importing:
        from automagik_telemetry.events._model_names import MODEL_NAMES

    for each in _forms(name):
        if {each, f"regional.{each}", _DATE.sub("", each)} & MODEL_NAMES:
            return _stripped(name)
    return None


def _forms(name: str) -> Iterator[str]:
    """Yield the forms of a name, from the whole to the shortest."""
    yield name
    local = _REGION.sub("", name, count=1) if _REGION.match(name) else name
    yield local
    yield _stripped(name)


def _stripped(name: str) -> str:
    """Return a name in the form in which it is sent: without region, and for Bedrock without vendor and revision."""
    local = name[found.end() :] if (found := _REGION.match(name)) else name
    if vendor := _VENDOR.match(local):
        local = _REVISION.sub("", local[vendor.end() :])
    return local.replace("@", "-").removesuffix("-default")


def _of_ollama(family: str, tag: str) -> str | None:
    if family not in _OLLAMA:
        return None
    size = _SIZE.fullmatch(tag)
    return f"{family}:{size[1].lower()}" if size else family
