"""What the reasons in the account of traces mean, and what to do about them: for `status` and `doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

REASONS: Final = {
    "rejected": "refused by LangWatch; see the last error",
    "queue_full": "came faster than they could be sent, or LangWatch could not be reached for long",
    "too_large": "larger than LangWatch takes",
    "expired": "could not be sent within a week",
    "consent_withdrawn": "waited when an off switch was set",
    "corrupt": "were damaged on disk",
    "processor_error": "failed in the chain of logging.yaml; a warning named the class of the error",
    "not_a_trace": "held nothing that can be read as a span",
    "not_sampled": "runs were left out by the sampling rate",
    "rate_limited": "runs were kept or left out at a lower rate, for their type came too often",
    "truncated_spans": "spans were beyond the number that one trace may have",
    "too_many_open_traces": "runs began while too many others were open; is a span never ended?",
    "abandoned": "runs were begun and never ended",
    "expired_spans": "spans were older than LangWatch takes",
    "cut_values": "inputs or outputs were left out, for their trace held too much",
    "cut_text": "texts were longer than one may be; the mark in their place says by how much",
    "too_deep_or_many": "values lay too deep, were too many, or contained themselves",
    "not_serializable": "objects could not be shown, and stand there by the name of their class",
    "bad_call": "calls of a provider had arguments that made no sense",
    "failed": "runs could not be logged",
}
"""What a reason says of the number that stands before it."""

_ERRORS: Final = {
    "401": "the key is wrong: check LANGWATCH_API_KEY, and LANGWATCH_PROJECT_ID if it is no key of one project",
    "402": "the plan of the LangWatch project is used up",
    "403": "the key may not write to this project",
    "404": "there is no LangWatch at LANGWATCH_ENDPOINT",
}


def reasons(account: Mapping[str, Any]) -> list[str]:
    """Return a line for each reason that the account counts, the most frequent first."""
    counted = {**account.get("traces", {}), **account.get("dropped", {})}
    lines = sorted(counted.items(), key=lambda item: -item[1])
    return [f"{count:,} {REASONS.get(name, name)}" for name, count in lines if count and name != "traces"]


def error(text: str) -> str:
    """Return an error with what it means, if that is known."""
    meaning = next((meaning for status, meaning in _ERRORS.items() if f"HTTP {status}" in text), None)
    return f"{text} ({meaning})" if meaning else text
