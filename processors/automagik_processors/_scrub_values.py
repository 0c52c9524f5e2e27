"""Judges values by themselves: random, a placeholder, an expression of code, or something that a person typed."""

from __future__ import annotations

import re
from typing import Final

_COMMON_PAIRS: Final = frozenset(
    row[0] + letter
    for row in (
        *("abcdegiklmnprstuy", "babeilorsu", "cacehiklorstu", "dadeilorsu", "eabcdefghilmnopqrstvwx", "faefiloru"),
        *("gaeginrsu", "haeiot", "iabcdefglmnoprstvz", "keis", "ladeilostuy", "mabeimopsu", "nacdefgiknostuv"),
        *("oabcdgklmnoprstuvw", "paeiloprstuy", "qu", "racdegiklmnorstuy", "sacehilopstuy", "tacdefhilmoprstuy"),
        *("uabcegilmnprst", "vaei", "waeir", "xfpt", "yaenpst", "ze"),
    )
    for letter in row[1:]
)
"""Pairs of letters that make up nine tenths of those in words of English and in names of code, and a third of all."""

_FEW_COMMON: Final = 0.62
"""Share of common pairs, up to which letters are random: that of words is 0.9, that of random letters 0.36."""
_NOT_ALL_COMMON: Final = 0.8
_FEW_PAIRS: Final = 5

_ROWS: Final = ("abcdefg", "0123456", "1234567", "qwertyu", "aaaaaaa", "0000000")
"""Beginnings of alphabets and keyboards."""

_LETTERS: Final = re.compile("[A-Za-z]{2,}")
_HEX: Final = re.compile("[0-9a-f]+|[0-9A-F]+")
_UUID: Final = re.compile("[0-9a-f]{8}-?[0-9a-f]{4}-?[1-8][0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[\d.,:+/TZ ()_-]+|v?\d+(?:\.\d+)+(?:[-.]?[a-z]+\d*)?|0x[0-9a-fA-F]+")
_ULID: Final = re.compile("0[0-7][0-9A-HJKMNP-TV-Z]{24}")
_TOKEN: Final = re.compile(r"[\w.+/=~:!@#$%^&*-]+", re.ASCII)
_SPECIAL: Final = re.compile(r"[!@#$%^&*+~?]")
_LETTER: Final = re.compile(r"[^\W\d_]")
DIGIT: Final = re.compile("[0-9]")
_PATH: Final = re.compile(r"(?:[A-Za-z]:)?[.~]{0,2}[/\\]|[\w.-]+/(?:[\w.-]+/)*[\w.-]*$|\w+://|[\w-]+\.[A-Za-z]{2,4}$")
_WORD_AND_NUMBER: Final = re.compile(r"[^\W\d_]+[_-]?\d{1,2}|(?:[^\W\d_]+[_.-])+[^\W\d_]*\d{0,2}|[vV]\d[\w.]*")
_TECHNICAL: Final = re.compile(
    r"(?:sha|md|utf|base|int|uint|float|aes|rsa|hs|rs|es|ed|ecdsa|oauth|http|ipv|win|amd)[-_]?\d{1,5}(?:[-_:].*|[a-z]{0,8})"
    r"|[xpsbeki]\d{1,4}(?:[_-]\w{1,4}|[a-z]{3,10})?|[A-Za-z]+(?:-[A-Za-z]+)*-v?\d{1,2}(?:\.\d{1,2}){0,2}[a-z]?"
    r"|\d+(?:st|nd|rd|th|px|em|ms|s|m|h|d|gb|mb|kb|k|x|%)?|[\w.-]{1,20}\d[-_]?(?:bit|byte|char|digit|day|hour|min|sec)\w*",
    re.IGNORECASE,
)
_PLACEHOLDER: Final = re.compile(
    r"""(?ix)
      \$\{? [a-z_][a-z_]*[\w.:-]* \}?  (?<!\d[a-z]) | \$\{.* | \$\(.* | \$\$?\w{0,3}
    | % \(? [\w.-]* \)? [sdrif%]? %? | \{\{.* | .*\}\} | <[^<>]*>? | \{ [\w.!:\[\]()'" -]* \}
    | [\W_]+ | x{3,} | \#\{.*
    | (?:your|my|our|the|an?|some|any|insert|enter|replace|put|use|see|this|these|new|old|their|his|her)
      (?: [-_ .] [a-z]{3} [a-z_ .-]* | (?<=your)[a-z]+ )
    | (?:example|changeme|change|redacted|scrubbed|masked|hidden|removed|placeholder|dummy|todo|tbd|none|null|unset)
      [-_ ]?[a-z]*
    | n/?a | not[-_ ][a-z_ -]* | \[[\w -]*\]
    """
)
_EXPRESSION: Final = re.compile(
    r"""(?x)
      [A-Za-z_$][\w$]* (?: (?:\.|->|::|\?\.)[A-Za-z_$][\w$]* | \[[^\]]*\] )* (?: [(\[{] .* | \?\.?.* | ! )
    | (?:self|this|cls|os|sys|req|request|res|response|process|env|ctx|context|config|settings|args|options|opts|params
      |props|state|data|user|event|obj|client|app|json|kwargs|cfg|conf|secrets|vars|var|local|module|each|inputs
      |github|steps|values|Values|parser|query|body|form|session|result|e|i|s|p|m|t|x|c|d|r)
      (?: \. | -> | \[ | :: ) .*
    | [A-Za-z_]\w* (?: (?:\.|->|::) [A-Za-z_]\w* )+ | [&*@!]{1,2} [A-Za-z_]\w*  (?:[.(\[].*)?
    | (?:await|new|not|lambda|function|async|yield|return|typeof|if|else|and|or|in|is|for)\b .*
    | [({\[].* | .*[)\]};{]$ | \\.* | [\d.]+ [*+/-] .* | -?\d+
    """
)
_LEET: Final = re.compile("[A-Za-z][0-9]+[A-Za-z]")


def is_random(text: str, most: float = _FEW_COMMON) -> bool:
    """Return whether the letters of `text` follow one another as they don't in words: few pairs are common."""
    if any(row in text.lower() for row in _ROWS):
        return False
    pairs = common = 0
    for run in _LETTERS.findall(text):
        lowered = run.lower()
        pairs += len(run) - 1
        for place in range(len(run) - 1):
            if lowered[place : place + 2] in _COMMON_PAIRS:
                common += 1
    if pairs < _FEW_PAIRS:
        return DIGIT.search(text) is not None
    return common <= most * pairs


def is_generated(body: str) -> bool:
    """Return whether what follows the prefix of a key looks random: digits or odd letters, and not words."""
    beginning = body[:_ENOUGH]
    if DIGIT.search(body) is None:
        return is_random(beginning) and not beginning.islower()
    if is_random(beginning, _NOT_ALL_COMMON) or len(_LEET.findall(beginning)) > 1:
        return True
    return any(is_hex(part) for part in _PARTS.split(beginning) if len(part) >= _SHORTEST_PART)


_ENOUGH: Final = 400  # characters
_SHORTEST_PART: Final = 10
_PARTS: Final = re.compile(r"[^A-Za-z0-9]+")


def is_uuid(text: str) -> bool:
    """Return whether `text` is a UUID, with or without hyphens."""
    return _UUID.fullmatch(text) is not None


def is_ulid(text: str) -> bool:
    """Return whether `text` is a ULID."""
    return _ULID.fullmatch(text) is not None


def is_hex(text: str) -> bool:
    """Return whether `text` is of hex digits alone."""
    return _HEX.fullmatch(text) is not None


def is_placeholder(text: str) -> bool:
    """Return whether `text` stands for a value: `${NAME}`, `<token>`, `%s`, `xxx`, `your-key`."""
    return len(text) <= _LONGEST_PLACEHOLDER and _PLACEHOLDER.fullmatch(text) is not None


_LONGEST_PLACEHOLDER: Final = 80


def is_expression(text: str) -> bool:
    """Return whether `text` looks like an expression of code and not like a value."""
    short = text[:200]
    found = _EXPRESSION.match(short)
    if found is None or found.end() < len(short):
        return False
    if "(" in short or "[" in short or "{" in short:
        return True
    return not any(_LEET.search(part) and not _TECHNICAL.fullmatch(part) for part in _PARTS.split(short))


def is_strange(text: str, least: int = 8) -> bool:
    """Return whether `text` is one word that looks like a key, and not like an ID, a number, a path or a name."""
    if not least <= len(text) <= _LONGEST or _TOKEN.fullmatch(text) is None:
        return False
    if DIGIT.search(text) is None or _LETTER.search(text) is None:
        return _SPECIAL.search(text[1:-1]) is not None and _LETTER.search(text) is not None and "://" not in text
    if is_uuid(text) or is_ulid(text) or _NUMBER.fullmatch(text) or _WORD_AND_NUMBER.fullmatch(text):
        return False
    if is_path(text) or _TECHNICAL.fullmatch(text):
        return False
    if is_hex(text):
        return len(text) >= _SHORTEST_HEX
    return is_random(text) or len(_LEET.findall(text)) > 1 if len(text) >= _SURE else True


_LONGEST: Final = 4_096
_SHORTEST_HEX: Final = 20
_SURE: Final = 12


def is_path(text: str) -> bool:
    """Return whether `text` is a path, a URL or the name of a file."""
    if "://" in text or "](" in text:
        return True
    return _PATH.match(text) is not None and not (DIGIT.search(text) and len(text) >= _SHORTEST_HEX and is_random(text))


def is_typed(text: str) -> bool:
    """Return whether a bare word looks like a password or key rather than like a word or a name."""
    if len(text) < _SHORTEST_TYPED or is_path(text) or _NUMBER.fullmatch(text) or _TECHNICAL.fullmatch(text):
        return False
    if _WORD_AND_NUMBER.fullmatch(text) or is_expression(text):
        return False
    if DIGIT.search(text):
        return _LETTER.search(text) is not None
    return _SPECIAL.search(text[1:-1]) is not None and _LETTER.search(text) is not None


_SHORTEST_TYPED: Final = 6


def is_word_and_number(text: str) -> bool:
    """Return whether `text` is a word with a number behind it, such as `token2`, or words with hyphens."""
    return _WORD_AND_NUMBER.fullmatch(text) is not None
