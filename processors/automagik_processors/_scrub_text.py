"""Replaces secrets in one text: after their keys, in URLs and markup, and by their shapes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from automagik_processors._scrub_keys import SecretKeys
    from automagik_processors._scrub_shapes import Shapes

MAX_TEXT: Final = 1_000_000
"""How many characters of a text are kept; a mark stands for the rest."""

_SEPARATOR: Final = re.compile("[:=%]")
_ENCODED: Final = re.compile("%[0-9A-Fa-f]{2}")
_FLAG: Final = re.compile(r"-(?<![\w-]-)-?[A-Za-z][\w-]{1,62}(?=[ \t]+[^\s-])")
_ELEMENT: Final = re.compile(r"<([\w:.-]{1,64})(?:\s[^<>]{0,256})?>(?=[^<])")
_USERINFO: Final = re.compile(r"(://)(?!git@)[^\s/?#\"'<>]{1,1024}@")
_PARAMETER: Final = re.compile(r"([?&;](?:sig|signature|key|code|sid|hmac)=)[^\s&;#\"'<>]+", re.IGNORECASE)

_HEX: Final = re.compile("[0-9a-f]{1,64}").fullmatch
_SHORT: Final = 64  # characters of a text that is remembered, if it is harmless: names, words, types, roles
_WORD: Final = 15  # characters from which on a word is no word
_MAX_REMEMBERED: Final = 4_096
_MAX_SEPARATORS: Final = 16  # that are looked at, before a text is searched for each of the names of secrets

# Between a key and its separator: the ends of quotes and of subscripts.
_CLOSING: Final = " \t\"'`\\])"
_NAME: Final = 64  # characters before a separator that may belong to a key
_BLANKS: Final = re.compile(r"[ \t]*+(?:[=>]{1,2}[ \t]*+)?")
_OPENING: Final = re.compile(r"(?:[bBfFrRuU]{0,2})(\\{0,8})(\"\"\"|'''|[\"'`])")
_BRACKET: Final = re.compile(r"[\[\](){}]")
_BRACKETED: Final = 10_000  # characters of a value in brackets, if they are not closed before
_QUOTED: Final = {quote: re.compile(rf"(?s)(?:[^\\{quote}]|\\.)*+") for quote in "\"'`"}
_KEY_AT_END: Final = re.compile(r"(?<![\w.-])[\w.-]+\Z")
_LINE: Final = re.compile(r"[^\r\n]*")
_BARE: Final = re.compile(r"(?:[^\s&;\"'`<>,]|,(?!\s|[\w.\"' -]{1,64}[:=]))+")
_SCHEME: Final = re.compile(r"(?i:apikey|basic|bearer|digest|negotiate|token)[ \t]+(?=\S)")
_ASSIGNED: Final = re.compile(r"[ \t]{0,8}=[ \t]{0,8}")  # `password: str = "..."`
_NO_SECRETS: Final = frozenset({"", "none", "null", "nil", "true", "false", "undefined", "nan"})
# Keys whose values have blanks in them.
_WHOLE_LINE: Final = ("authorization", "cookie", "cookies", "passphrase", "mnemonic", "phrase")


class TextScrubber:
    """Replaces secrets in texts by `mark`."""

    def __init__(self, keys: SecretKeys, shapes: Shapes, mark: str) -> None:
        self._keys = keys
        self._shapes = shapes
        self._mark = mark
        self.is_harmless_id: Callable[[str], object] = _never if shapes.has_own else _HEX
        """Returns something true for a text of hex digits: most ids are new, and no shape of ours is of these alone."""
        self.harmless: set[int] = set()
        """Hashes of short texts that were found to hold no secret, some of the last; never the texts themselves."""

    def may_hold_key(self, text: str) -> bool:
        """Return False if `text` holds no name of a secret, whatever surrounds it."""
        lowered = text.lower()
        return any(hint in lowered for hint in self._keys.hints)

    def scrub(self, text: str) -> str:
        """Return `text`, or a copy without secrets."""
        if hash(text) in self.harmless or self.is_harmless_id(text):
            return text
        if _WORD <= len(text) <= _SHORT and text.isalnum():  # an id, of which each is another, or a secret
            return self._shapes.scrub_word(text)
        scrubbed = self._scrubbed(text)
        if len(text) <= _SHORT and scrubbed == text:
            if len(self.harmless) >= _MAX_REMEMBERED:
                self.harmless.clear()
            self.harmless.add(hash(text))
        return scrubbed

    def _scrubbed(self, text: str) -> str:
        if len(text) > MAX_TEXT:
            text = _cut(text) + self._mark
        # Single characters first: they are found twenty times as quickly as pairs.
        if ":" in text or "=" in text or "%" in text:
            text = self._separated(text)
        if "-" in text and ("--" in text or " -" in text):
            text = self._replaced(text, self._after_flags(text))
        if "<" in text and "</" in text and self.may_hold_key(text):
            text = self._replaced(text, self._in_elements(text))
        return self._shapes.scrub(text)

    def _separated(self, text: str) -> str:
        if "@" in text and "://" in text:
            text = _USERINFO.sub(lambda found: f"{found[1]}{self._mark}@", text)
        if "=" in text and ("&" in text or "?" in text):
            text = _PARAMETER.sub(lambda found: found[1] + self._mark, text)
        few = text.count(":") + text.count("=") + text.count("%") <= _MAX_SEPARATORS
        return self._replaced(text, self._after_separators(text)) if few or self.may_hold_key(text) else text

    def _replaced(self, text: str, spans: Iterator[tuple[int, int]]) -> str:
        """Return `text` with the mark in each span: places in order, which don't overlap."""
        parts: list[str] = []
        done = 0
        for start, end in spans:
            parts += text[done:start], self._mark
            done = end
        return "".join((*parts, text[done:])) if parts else text

    def _after_separators(self, text: str) -> Iterator[tuple[int, int]]:
        """Find the values in `key=value`, `"key": "value"`, `Key: value`, `key%3Dvalue` and the like."""
        done = 0
        for found in _SEPARATOR.finditer(text):
            place = found.start()
            after = found.end()
            if found[0] == "%":
                after += 2
                if text[place + 1 : after].lower() not in ("3a", "3d"):
                    continue
            if place < done:
                continue
            head = text[max(done, place - _NAME) : place].rstrip(_CLOSING)
            if "%" in head:
                head = _ENCODED.sub(" ", head)
            if not head or not self._keys.may_end(head) or not self._keys.is_secret(head):
                continue
            start, end = _value(text, after, head, place)
            done = max(done, end)
            if text[start:end].lower() not in _NO_SECRETS:
                yield start, end

    def _after_flags(self, text: str) -> Iterator[tuple[int, int]]:
        """Find the values in `--password value`."""
        done = 0
        for found in _FLAG.finditer(text):
            if found.start() >= done and self._keys.is_secret(found[0]):
                start, done = _quoted_or_bare(text, _blanks(text, found.end()))
                yield start, done

    def _in_elements(self, text: str) -> Iterator[tuple[int, int]]:
        """Find the values in `<password>value</password>`."""
        for found in _ELEMENT.finditer(text):
            end = text.find("<", found.end())
            if text.startswith(f"</{found[1]}>", end) and self._keys.is_secret(found[1]):
                yield found.end(), end


def _never(_text: str) -> None:
    """Return nothing: with patterns of one's own, any text may be a secret."""


def _value(text: str, place: int, head: str, separator: int) -> tuple[int, int]:
    """Return where the value begins and ends that stands after a separator, which ends at `place`."""
    if text.startswith((":", "//"), place):  # `Auth::login`, `session://`
        return place, place
    start = _blanks(text, place)
    if head.lower().endswith(_WHOLE_LINE) and not _OPENING.match(text, start):
        return start, _end_of_line(text, start, head, separator)
    start, end = _quoted_or_bare(text, start)
    assigned = _ASSIGNED.match(text, end)
    if assigned:  # that was a type
        _, end = _quoted_or_bare(text, assigned.end())
    return start, end


def _blanks(text: str, place: int) -> int:
    found = _BLANKS.match(text, place)
    return found.end() if found else place


def _end_of_line(text: str, start: int, head: str, separator: int) -> int:
    """Return where the line ends, or the quote that began before the key, as in `-H 'Cookie: a=b; c=d'`."""
    end = _line_end(text, start)
    if text[separator - 1] not in "\"'":
        before = _KEY_AT_END.sub("", head)
        quote = before[-1:]
        if quote and quote in "\"'":
            closing = text.find(quote, start, end)
            end = closing if closing >= 0 else end
    return end


def _quoted_or_bare(text: str, start: int) -> tuple[int, int]:
    """Return where the value that begins at `start` begins and ends, without its quotes."""
    opening = _OPENING.match(text, start)
    if opening:
        return opening.end(), _end_of_quoted(text, opening.end(), opening[1], opening[2])
    if text[start : start + 1] in ("(", "[", "{"):
        return start, _end_of_bracketed(text, start)
    scheme = _SCHEME.match(text, start)
    found = _BARE.match(text, scheme.end() if scheme else start)
    if not found:
        return start, start
    end = found.end()
    return start, end - len(found[0]) + len(found[0].rstrip(".,)]}")) or end


def _end_of_quoted(text: str, start: int, escape: str, quote: str) -> int:
    """Return where the closing quote stands, with the same backslashes as the opening one; or the line ends.

    A text is searched to its end at most once for each kind of quote: where one is missing, it is for all that follow.
    """
    if escape or len(quote) > 1:
        place = text.find(escape + quote, start)
    else:
        found = _QUOTED[quote].match(text, start)
        place = found.end() if found and text.startswith(quote, found.end()) else -1
    return place if place >= 0 else _line_end(text, start)


def _end_of_bracketed(text: str, start: int) -> int:
    """Return where the bracket at `start` is closed, or the furthest place that is looked at."""
    depth = 0
    furthest = min(len(text), start + _BRACKETED)
    for found in _BRACKET.finditer(text, start, furthest):
        depth += 1 if found[0] in "([{" else -1
        if depth == 0:
            return found.end()
    return furthest


def _line_end(text: str, start: int) -> int:
    found = _LINE.match(text, start)
    return found.end() if found else start


def _cut(text: str) -> str:
    """Return the beginning of a text that is too long, up to a blank, so that no part of a secret stays."""
    kept = text[:MAX_TEXT]
    blank = max(kept.rfind(" ", MAX_TEXT - 4096), kept.rfind("\n", MAX_TEXT - 4096))
    return kept[: blank if blank >= 0 else MAX_TEXT - 4096]
