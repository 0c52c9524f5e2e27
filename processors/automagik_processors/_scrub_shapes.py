"""Replaces secrets that are recognized by their shape or their surroundings, without the name of a secret.

Most texts hold none, so rules are chosen by what the text holds. Those with a start are tried at
each word that begins so, those after a word at each of these, and the others if the text, or a word with a random part,
holds a hint.
"""

from __future__ import annotations

import re
from functools import cache, cached_property
from typing import TYPE_CHECKING, Final

from automagik_processors import _scrub_values as values
from automagik_processors._scrub_keys import checked_texts
from automagik_processors._scrub_rules import RANDOM, RULES, Rule

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

_BY_PATTERN: Final = {rule.pattern: rule for rule in RULES}

DEFAULT_PATTERNS: Final = tuple(_BY_PATTERN)
"""Regular expressions of what is replaced wherever it stands; of one with a group `secret`, that group alone."""

_SHORTEST: Final = 15
"""No secret that has a shape and no blank in it is shorter."""
_HEAD: Final = 3  # characters by which rules with starts are found
_LONGEST_RANDOM: Final = 400  # characters of a random word; longer ones are data
_SHORTEST_RANDOM: Final = 20  # characters of a random part of a word, and of a random word without a prefix
_SHORTEST_AFTER_PREFIX: Final = 14  # the same after a prefix that is a word for a key
_BESIDE: Final = 80  # characters beside a random part of a word that may belong to a secret
_SHORTEST_OF_ONE_CASE: Final = 24
_LONG_HEX: Final = 32
_MAX_FAILURES: Final = 32  # of a rule at one start between delimiters: a key begins once
_MAX_REMEMBERED: Final = 8_192  # words
_MAX_REMEMBERED_CHARACTERS: Final = 64
_AWS_SECRET: Final = 40  # characters of base64
_LINE_OF_BASE64: Final = 60

_LONG_RUN: Final = re.compile("[A-Za-z0-9_~+/-]{20,}")
_DIGEST: Final = re.compile(r"(?:sha\d{1,3}|md5|h1|blake\w{0,4}|integrity|base64|etag)[-_:=,]+\Z", re.IGNORECASE)
_PUBLIC: Final = ("0x", "AAAAB3NzaC1", "AAAAC3NzaC1", "AAAAE2VjZHNh", "AAAAG", "AAAAI", "MII", "iVBOR")
"""Beginnings of numbers, public keys, certificates and images."""
_BASE64_LINE: Final = re.compile(r"[A-Za-z0-9+/=]{60,}\Z")
_LEADING_WORD: Final = re.compile(r"(?:[a-z][a-z0-9]{0,15}|[A-Z][A-Z0-9]{0,11}|[A-Z][a-z]{1,12}|v?\d{1,3})[_-]+")
_RANDOM_BESIDE: Final = re.compile(r"(?=\w{0,12}\d)(?<![\w.])\w{6,24}[.:]\Z")
_UNUSUAL: Final = re.compile("[0-9]|[A-Z][^A-Z]{0,40}[A-Z][^A-Z]{0,40}[A-Z]")
_SYMBOL: Final = frozenset(":<$+*")
_DELIMITER: Final = re.compile(r"[^\w+/=.~%-]")
"""A character that a match of a rule with starts doesn't hold, or only near its end."""
_HEX_OF_HASHES: Final = frozenset({16, 24, 32, 40, 56, 64, 96, 128})  # hex digits of IDs and hashes
_HASHES: Final = frozenset({27, 28, 43, 44, 86, 87, 88})  # characters of SHA-1, SHA-256 and SHA-512 in base64

# Prefixes of identifiers, which are of random characters and no secrets.
_IDENTIFIERS: Final = frozenset(
    {"call", "toolu", "chatcmpl", "cmpl", "msg", "run", "thread", "asst", "file", "resp", "req", "cus", "pi", "ch"}
    | {"sub", "in", "prod", "price", "evt", "txn", "seti", "pm", "si", "ba", "card", "po", "cs", "acct", "fc"}
    | {"rs", "ws"}
    | {"trace", "span", "gen", "batch", "vs", "ft", "ftjob", "user", "org", "sess", "session", "inst", "dpl", "prj"}
    | {"team", "doc", "node", "id", "uid", "uuid", "guid", "img", "image", "chunk", "build", "rev", "sha", "sha1"}
    | {"sha224", "sha256", "sha384", "sha512", "md5", "h1", "etag", "commit", "event", "conv", "conversation"}
    | {"message"}
    | {"item", "obj", "request", "step", "snapshot", "rc", "ma", "tool", "function", "iftp", "ig", "src", "cap"}
    | {"invoice", "order", "customer", "product", "cluster", "instance", "task", "job", "workflow", "exec", "execution"}
    | {"mem", "memory", "agent", "vec", "collection", "index", "srvtoolu", "container", "upload", "part", "ev", "page"}
    | {"hash", "digest", "checksum", "css", "sc", "jsx", "svelte", "component", "ref", "block", "fp", "cache", "temp"}
)
_NAMES_OF_KEYS: Final = frozenset({"key", "secret", "token", "pat", "apikey"})
# Words in prefixes of keys.
_KEY_WORDS: Final = frozenset(
    {"sk", "rk", "key", "keys", "apikey", "api", "token", "tok", "tk", "secret", "sec", "pat", "live", "prod"}
    | {"sandbox"}
    | {"production", "access", "auth", "at", "rt", "pwd", "pass", "ak", "as", "svc", "sa", "priv", "private", "admin"}
    | {"test", "dev", "wh", "whsec", "bot", "app", "oauth", "refresh", "bearer", "cred", "key1", "sdk", "mob", "lf"}
)


class Shapes:
    """Replaces what matches one of `patterns`, regular expressions, by `mark`."""

    def __init__(self, patterns: Iterable[str], mark: str) -> None:
        self._mark = mark
        self._by_head: dict[str, list[tuple[str, Rule]]] = {}
        self._words: list[tuple[str, Rule]] = []
        self._anywhere: list[Rule] = []
        self._random = False
        self._own: list[str] = []
        self._plain: set[int] = set()
        """Hashes of words that were found to hold no secret, some of the last; never the words themselves."""
        self.by_word: dict[str, list[Rule]] = {}
        """Rules by the lower-case words that stand before or in their matches."""
        for pattern in patterns:
            rule = _BY_PATTERN.get(pattern)
            if rule is None:
                self._own.append(pattern)
            elif rule is RANDOM:
                self._random = True
            elif rule.where == "word":
                self._words += [(hint, rule) for hint in rule.hints]
            elif rule.where == "start":
                for start in rule.hints:
                    self._by_head.setdefault(start[:_HEAD], []).append((start, rule))
            else:
                if rule.where == "anywhere":
                    self._anywhere.append(rule)
                for hint in rule.hints:
                    self.by_word.setdefault(hint, []).append(rule)
        self._symbols = tuple(hint for hint in self.by_word if not _SYMBOL.isdisjoint(hint))
        self.has_own = bool(self._own)
        """True if some are not default patterns, so that any string may match."""

    def scrub(self, text: str, rules: Collection[Rule] = ()) -> str:
        """Return `text`, or a copy without secrets. `rules` are those of the words in it."""
        found = {rule for hint in self._symbols if hint in text for rule in self.by_word[hint]}.union(rules)
        if found:
            for rule in self._anywhere:  # in their order
                if rule in found:
                    text = _compiled(rule.pattern).sub(self._marked, text)
        if len(text) >= _SHORTEST:
            text = self._long_words(text)
        for pattern in self._own:
            text = _compiled(pattern).sub(self._marked_always, text)
        return text

    def scrub_word(self, text: str) -> str:
        """Return a text of letters and digits alone, or a copy without secrets."""
        if len(text) >= _SHORTEST:
            text = self._word(text)
        for pattern in self._own:
            text = _compiled(pattern).sub(self._marked_always, text)
        return text

    def _long_words(self, text: str) -> str:
        """Return `text` without the secrets that are words, or parts of words."""
        # Prose has few words of such a length, and splitting it is quicker than any search.
        changed: dict[str, str] = {}
        plain = self._plain
        for word in {word for word in text.split() if len(word) >= _SHORTEST}:
            if hash(word) in plain:
                continue
            scrubbed = self._word(word)
            if scrubbed is not word:
                changed[word] = scrubbed
            elif len(word) <= _MAX_REMEMBERED_CHARACTERS:
                if len(plain) >= _MAX_REMEMBERED:
                    plain.clear()
                plain.add(hash(word))
        if not changed:
            return text

        def changed_word(found: re.Match[str]) -> str:
            word = found[0]
            if word not in changed:
                return word
            within_data = _is_within_data(text, found.start(), found.end())
            return self._word(word, is_data=True) if within_data else changed[word]

        return _WORDS.sub(changed_word, text)

    def _word(self, word: str, *, is_data: bool = False) -> str:
        """Return a text without blanks, or a copy without secrets. In data, random parts are not secrets."""
        if _UNUSUAL.search(word) is None or (len(word) in _HEX_OF_HASHES and values.is_hex(word)):
            return word
        spans = self._starting(word)
        for run in _LONG_RUN.finditer(word):
            start, end = run.span()
            if end - start <= _LONGEST_RANDOM and values.DIGIT.search(word, start, end):
                for hint, rule in self._words:
                    if hint in word and (
                        found := _compiled(rule.pattern).search(word, max(0, start - _BESIDE), end + _BESIDE)
                    ):
                        spans.append(found.span("secret" if "secret" in found.re.groupindex else 0))
                if self._random and not is_data and "://" not in word[:start] and ";base64," not in word[:start]:
                    spans += _random_span(word, start, end)
        return replaced(word, sorted(spans), self._mark) if spans else word

    @cached_property
    def _heads(self) -> re.Pattern[str]:
        """Return an expression for the first characters of what a rule begins with: a choice for each first one."""
        by_first: dict[str, list[str]] = {}
        for head in self._by_head:
            by_first.setdefault(head[0], []).append(re.escape(head[1:]))
        choices = "|".join(f"{first}(?:{'|'.join(rests)})" for first, rests in by_first.items())
        return re.compile(rf"(?<![A-Za-z0-9])(?:{choices})" if choices else r"(?!)")

    def _starting(self, word: str) -> list[tuple[int, int]]:
        """Return the places in a word that match a rule with starts."""
        spans: list[tuple[int, int]] = []
        failures: dict[str, int] = {}
        done = last = 0
        for head in self._heads.finditer(word):
            place = head.start()
            if place < done:
                continue
            if failures and _DELIMITER.search(word, last, place):
                failures.clear()
            last = place
            for start, rule in self._by_head[head[0]]:
                if not word.startswith(start, place) or failures.get(start, 0) > _MAX_FAILURES:
                    continue
                found = _compiled(rule.pattern).match(word, place)
                if found and values.is_generated(word[place + len(start) : found.end()]):
                    done = found.end()
                    spans.append((place, done))
                    break
                failures[start] = failures.get(start, 0) + 1
        return spans

    def after_word(self, rules: Iterable[Rule], text: str, place: int) -> tuple[int, int] | None:
        """Return the place of a secret in a match that begins at `place` with a word of one of `rules`, or None."""
        for rule in rules:
            found = _compiled(rule.pattern).match(text, place) if rule.where == "after" else None
            if found and not self._is_replaced(found["secret"]):
                return found.span("secret")
        return None

    def _marked(self, found: re.Match[str]) -> str:
        if "secret" not in found.re.groupindex:
            return self._mark
        if self._is_replaced(found["secret"]):
            return found[0]
        return self._marked_always(found)

    def _is_replaced(self, secret: str) -> bool:
        """Return whether a match is a placeholder, or a mark with no more than punctuation behind it."""
        if values.is_placeholder(secret):
            return True
        return secret.startswith(self._mark) and not any(map(str.isalnum, secret[len(self._mark) :]))

    def _marked_always(self, found: re.Match[str]) -> str:
        if "secret" not in found.re.groupindex:
            return self._mark
        start, end = (place - found.start() for place in found.span("secret"))
        return found[0][:start] + self._mark + found[0][end:]


_WORDS: Final = re.compile(r"(?<!\S)\S{15,}")


def replaced(text: str, spans: Iterable[tuple[int, int]], mark: str) -> str:
    """Return `text` with the mark in each of `spans`, which are in order and may overlap."""
    parts: list[str] = []
    done = 0
    for start, end in spans:
        if start >= done:
            parts += text[done:start], mark
        done = max(done, end)
    return "".join((*parts, text[done:])) if parts else text


def _is_within_data(text: str, start: int, end: int) -> bool:
    """Return whether a word is a line of base64 beside another."""
    if end < len(text) and text[end] in "\r\n" and end - start >= _LINE_OF_BASE64:
        after = text[end : end + 80].split()
        if after and _BASE64_LINE.match(after[0][:60]):
            return True
    if start and text[start - 1] == "\n":
        before = text[max(0, start - 82) : start].split()
        return bool(before) and _BASE64_LINE.search(before[-1]) is not None
    return False


def _random_span(word: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the place of a random word between two places, if it looks like a key and not like an identifier."""
    run = word[start:end]
    if values.is_hex(run) or run.startswith(_PUBLIC) or "$" in word[:start]:  # the last: a hash of a password
        return
    if _DIGEST.search(word, max(0, start - 12), start):
        return
    if "+" in run or "/" in run:
        core = run.strip("/")
        if len(core) == _AWS_SECRET and "-" not in core and "_" not in core and _is_mixed(core) and "." not in word:
            yield start, end
        return
    body, prefixes = run, []
    while len(body) > _SHORTEST_AFTER_PREFIX and (found := _LEADING_WORD.match(body)):
        prefixes.append(found[0].rstrip("_-").lower())
        body = body[found.end() :]
    if prefixes and prefixes[0] in _IDENTIFIERS and _NAMES_OF_KEYS.isdisjoint(prefixes):
        return
    body = body.rstrip("_-~")
    keyed = not _KEY_WORDS.isdisjoint(prefixes)
    if values.is_uuid(body) or values.is_hex(body.replace("_", "")):
        after_prefix = (
            bool(prefixes) and run[len(prefixes[0])] == "_" and len(body) >= _LONG_HEX and not values.is_uuid(body)
        )
        if (keyed and len(body) >= _SHORTEST_RANDOM) or (after_prefix and prefixes[0].isalnum()):
            yield start, end
        return
    if word[end : end + 1] == "=" and len(run) in _HASHES:
        return
    if beside := _RANDOM_BESIDE.search(word, max(0, start - _BESIDE), start):
        start = beside.start()
    if (keyed and len(body) >= _SHORTEST_AFTER_PREFIX and values.DIGIT.search(body) and values.is_random(body)) or (
        len(body) >= _SHORTEST_RANDOM and (_is_mixed(body) or _is_of_one_case(body, prefixed=bool(prefixes)))
    ):
        yield start, end


def _is_mixed(text: str) -> bool:
    """Return whether letters of both cases and digits stand among one another as in no name."""
    upper = sum(map(str.isupper, text))
    lower = sum(map(str.islower, text))
    return upper > 1 and lower > 1 and values.DIGIT.search(text) is not None and values.is_random(text)


def _is_of_one_case(text: str, *, prefixed: bool) -> bool:
    """Return whether letters of one case and digits stand among one another, and not as a number or an ULID."""
    if not text.isalnum() or not (text.islower() or text.isupper()) or values.is_ulid(text):
        return False
    digits = len(values.DIGIT.findall(text))
    least = _SHORTEST_RANDOM if prefixed else _SHORTEST_OF_ONE_CASE
    return len(text) >= least and 2 < digits < len(text) * 0.7 and values.is_random(text)


def checked(parameter: str, patterns: object) -> tuple[str, ...]:
    """Return `patterns` as a tuple. Raises TypeError or ValueError with the parameter and the value."""
    texts = checked_texts(parameter, patterns, "regular expression")
    for pattern in texts:
        if pattern in _BY_PATTERN:
            continue  # compiled when first needed, and tested
        try:
            matches_nothing = _compiled(pattern).search("") is not None
        except (re.error, OverflowError, RecursionError) as error:
            msg = f"Scrub({parameter}=...): {pattern!r} must be a regular expression: {error}"
            raise ValueError(msg) from None
        if matches_nothing:
            msg = f"Scrub({parameter}=...): {pattern!r} must not match an empty string"
            raise ValueError(msg)
    return texts


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
