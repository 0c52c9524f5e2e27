"""The anonymizing processor of the telemetry sink: the catalogue, this machine's salt, and the declared words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automagik_processors import Anonymize
from automagik_telemetry.consent import _identity as identity
from automagik_telemetry.events import _allowlist as words
from automagik_telemetry.events._drop_log import Withheld
from automagik_telemetry.events.catalogue import CATALOGUE
from automagik_telemetry.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence


def anonymize(vocabulary: Sequence[str] = ()) -> Anonymize:
    """Return the processor; `vocabulary` are words of yours that may leave verbatim.

    What does not leave is told once, without its value, at DEBUG of the logger `automagik_telemetry`.

    Raises TypeError or ValueError for one that can't be declared.
    """
    if isinstance(vocabulary, str):
        raise TypeError(f"vocabulary: {vocabulary!r} is a str; allowed is a list of words")
    words.declare(*(vocabulary[index] for index in range(len(vocabulary))))
    told = Withheld(CATALOGUE)
    return Anonymize(CATALOGUE, words.vocabulary, key=_salt, on_withheld=told, hears=told.hears)


def _salt() -> bytes:
    return identity.salt(identity.state_directory(Settings.from_environ().state_dir))
