"""Replaces secrets in one text: after their names, in URLs and markup, and by their shapes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from automagik_processors import _scrub_values as values
from automagik_processors._scrub_keys import CERTAIN, Kind
from automagik_processors._scrub_shapes import replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from automagik_processors._scrub_keys import SecretKeys
    from automagik_processors._scrub_rules import Rule
    from automagik_processors._scrub_shapes import Shapes

MAX_TEXT: Final = 1_000_000
"""Maximum number of characters of a string. A mark replaces the rest."""

# A user part may hold anything but blanks and quotes. A path may hold an `@` too, but no colon before it.
_USERINFO: Final = re.compile(
    r"(://)(?!git@)((?:[^\s/?#\"'<>:@]{0,256}:(?!\d{1,5}[/?#])[^\s\"'<>]{1,1024}|[^\s/?#\"'<>]{1,1024}))@(?=[\w.\[$%{-])"
)
_PARAMETER: Final = re.compile(r"([?&;#](?:amp;)?([\w.\[\]-]{2,64})=)([^\s&;#\"'<>]+)")
_SIGNING: Final = re.compile(
    r"(?i:sig|signature|key|hmac|hash|policy|sign|auth|(?:x-\w{2,4}-)?(?:signature|credential|security-token)|sid|ticket"
    r"|awsaccesskeyid|googleaccessid|key-pair-id|accesskeyid|oauth_\w+|hdn\w{1,3}|s|st|tok|apikey|access_key|code|state)"
)

_HEX: Final = re.compile("[0-9a-f]{1,64}").fullmatch
_SHORT: Final = 64  # characters of a text that is remembered, if it is harmless: names, words, types, roles
_WORD: Final = 15  # characters from which on a word is no word
_MAX_REMEMBERED: Final = 4_096
_MAX_WORDS_REMEMBERED: Final = 16_384

_NAME: Final = 64  # characters before a separator that may belong to a key
_TOKEN: Final = re.compile(r"%[0-9A-Fa-f]{2}|[\w-]+", re.ASCII)
# Marks upon letters too, and not the words for "is" that stand behind a name without a blank.
_ANY_TOKEN: Final = re.compile(r"(?:(?![是为為はが는은])[\w\u0300-\u036f\u064b-\u065f\u0900-\u0963\u0e31-\u0e4e-])+")
_TO_BLANKS: Final = str.maketrans(dict.fromkeys((*map(chr, range(32)), *"\x7f!\"#$%&'()*+,./:;<=>?@[\\]^`{|}~"), " "))
_CLOSING: Final = r"(?:[ \t\"'`\])*]|\\{1,8}(?=[\"'])|%2[027]|%5[BbDd]|&(?:quot|apos|#3[49]);|\\{1,8}u002[27]){0,8}"
_SEPARATED: Final = re.compile(
    _CLOSING + r"(?P<separator>:=|=>|={1,3}|!=|[:：＝]|%3[ADad]|\|\|?=|\\{1,8}u003[AaDd]|&#(?:58|61);)"
)
_ARGUMENT: Final = re.compile(r"[\"']?[ \t]{0,4}[(,][ \t]{0,4}(?=[\"'])")
_SPACED: Final = re.compile(r"\"?[ \t]{1,8}(?:[057][ \t]|\|[ \t]{1,8}|/[ \t]{1,8})?(?=[\"'\S])")
_FLAG: Final = re.compile(r"[ \t]{1,2}(?=[^\s-])")  # more are those of a table of options
_IS: Final = re.compile(
    r"[\"'`*]{0,2}(?:[是为為はが는은][ \t]?(?=[!-~]{6})"
    r"|[ \t](?:(?:for|of|von|para|de|pour|per)[ \t][^\s:]{1,40}[ \t:](?:[^\s:]{1,40}[ \t:])?)?"
    r"(?:(?<=:)[ \t]?|(?:is|was|are|to|as|ist|lautet|war|es|está|est|è|é|är|er|jest|on|это)(?!\w)|[=:–—→-]|->))"
    r"[ \t]{0,2}(?:now[ \t]|set[ \t]to[ \t])?[:=]?[ \t]{0,2}"
)
_NEXT_IS_VALUE: Final = re.compile(
    r"[\"']?,?(?:[ \t]{0,4}[\w-]{1,20}=[\"'][^\"'\n]{0,60}[\"']){0,3}"
    r"\s{0,40}[\"']?(?:[Vv]alue|content)[\"']?[ \t]{0,4}[:=][ \t]{0,4}"
)
_MAX_TAG: Final = 300  # characters from a name within a tag to its end
_MARKUP: Final = re.compile(
    r"(?:(?:[\"'][^<>\n]{0,80})?|</\w{1,20}>\s{0,40}<\w{1,20}|\s[^<>]{0,256})>(?:<!\[CDATA\[)?(?=[^<\s])"
)
_BLOCK: Final = re.compile(r"[\"']?[ \t]{0,4}:[ \t]{0,4}(?:[|>][+-]?\d?[ \t]{0,4})?\r?\n[ \t]{1,40}(?=[^\s#-])")
_MAX_BLOCK: Final = 16  # characters between a separator and the end of its line
_FORM: Final = re.compile(r"\"[^\n]{0,200}\r?\n(?:[\w-]{1,40}:[^\n]{0,200}\r?\n){0,3}\r?\n(?=[^\r\n])")
_FOLLOWS: Final = frozenset(" \t\"'`\\])*:=%<>(,：＝!|\r\n&是为為はが는은")
"""Characters of which one stands after each name of a secret that has a value."""

# Between a separator and its value.
_BEFORE_VALUE: Final = frozenset(" \t=>*&!<")
_BLANKS: Final = re.compile(r"[ \t]*+(?:[=>]{1,2}[ \t]*+|\*\*[ \t]*+|[&!][\w-]{1,20}[ \t]++|<%=[ \t]*+)?")
_OPENING: Final = re.compile(r"(?:[bBfFrRuU@$N]{0,2})(\\{0,8})(\"\"\"|'''|[\"'`]|&(?:quot|apos|#3[49]);|u002[27])")
_MAY_OPEN: Final = frozenset("bBfFrRuU@$N\\\"'`&")
_MAX_VALUE: Final = 10_000  # characters of a value
_MAX_BACKSLASHES: Final = 16
_LITERAL: Final = re.compile(
    r"\\{0,8}\"[^\"\n]{0,1000}\"|\\{0,8}'[^'\n]{0,1000}'|(?:None|True|False|null|true|false)\b"
    r"|(?:[\s:,.\d]|\\{1,8}[nrt]){1,1000}|[\[\](){}]"
)
_KEY_AT_END: Final = re.compile(r"(?<![\w.-])[\w.-]+\Z")
_BARE: Final = re.compile(r"(?:[^\s&;\"'`<>,]|,(?!\s|[\w.\"' -]{1,64}[:=])){1,10000}+")
_BARE_ENCODED: Final = re.compile(r"(?:[^\s&;\"'`<>,%]|%(?!2[26])){1,10000}+")
_SCHEME: Final = re.compile(r"(?i:api-?key|basic|bearer|digest|hawk|negotiate|ntlm|token|aws4-hmac-sha256)[ \t]+(?=\S)")
_MAY_BE_SCHEME: Final = frozenset("aAbBdDhHnNtT")
_BEFORE_ASSIGNED: Final = (" ", "\t", "=")
_ASSIGNED: Final = re.compile(r"[ \t]{0,8}=[ \t]{0,8}")  # `password: str = "..."`
_NO_SECRETS: Final = frozenset(
    {"", "none", "null", "nil", "true", "false", "undefined", "nan", "yes", "no", "on", "off"}
)
_HEADERS: Final = ("authorization", "cookie", "cookies")
_WITH_LINES: Final = (*_HEADERS, "mnemonic", "phrase")
"""Ends of names whose values are the rest of the line."""
_PAIR_IN_COOKIE: Final = re.compile(r"[\w.-]{1,64}=\S")
_SENTENCE: Final = re.compile(
    r"(?i)(?<![^\s(])(?:the|an|to|of|is|are|for|with|and|or|if|in|on|be|by|not|you|your|this|that|must|should|can|will|please"
    r"|enter|use|used|when|at|from|der|die|das|und|ist|le|la|les|des|el|los|il|di|не|или|as|it|we|was|has|have|no|any"
    r"|required|optional|default|see|set|get|wrong|invalid|incorrect|missing|expired|field|characters|least|changed)(?![^\s.,:;!?)])"
)
_TYPES: Final = frozenset({
    *("optional", "str", "string", "text", "int", "integer", "number", "bool", "boolean", "byte", "bytes"),
    *("any", "object", "list", "dict", "map", "array", "float", "char", "varchar", "required", "secretstr"),
    *("secret", "unknown", "void", "type", "password", "passwd", "token", "bearer", "basic", "digest"),
    *("oauth", "oauth2", "jwt", "hidden", "header", "query", "cookie", "body", "form", "input", "default"),
    *("auto", "prompt", "ask", "env", "file", "path", "enabled", "disabled", "invalid", "missing", "wrong"),
    *("expired", "reset", "public", "private", "readonly", "const", "let", "var", "self", "this", "name"),
    *("value", "key", "id", "user", "username", "email", "empty", "blank", "anonymous", "admin", "root"),
    *("guest", "callable", "union", "final", "classvar", "field", "property", "function", "method", "class"),
})  # fmt: skip
_SAMPLES: Final = frozenset({"x", "y", "n", "z", "abc", "foo", "bar", "baz", "test", "spam", "eggs", "qwe", "asdf"})
_WORDS_OF_CODE: Final = _TYPES | _SAMPLES
_TWO_WORDS: Final = re.compile(r" [a-z]+[ ,.] ?[a-z]+")
_IDENTIFIER: Final = re.compile(r"[^\W\d][\w-]*")
_SNAKE: Final = re.compile(
    r"[a-z]+(?:[_-][a-z0-9]+)+|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|[a-z]+(?:[A-Z][a-z]+)+\d?|(?:[A-Z][a-z]+){2,}\d?"
)
_ENVIRONMENT: Final = re.compile(r"(?:^|[\s\"';])(?:-e[ \t]|export[ \t])?[A-Z][A-Z0-9_]{2,63}\Z")
_STATEMENTS: Final = frozenset(
    {"raise", "return", "pass", "import", "print", "yield", "break", "continue", "await", "new"}
)
_IN_PHRASE: Final = re.compile(r"[\w'!?#-]+")
_PHRASE_BACKWARDS: Final = re.compile(r"[\w \t.-]*")
_LETTERS: Final = re.compile(r"[^\W\d_]+")
_MAX_REJECTED: Final = 4  # times the characters of a text, of values that were examined and are no secrets
_COST_OF_NAME: Final = 128  # characters of a value whose examination takes as long as that of a name
_SURELY_EXAMINED: Final = 32_000  # characters of a text for which the limit is not reached by names alone
_MAX_PHRASE: Final = 200  # characters of a password of several words
_MAX_WORDS: Final = 12  # of a password
_MIN_HEX: Final = 20  # characters of hex in quotes
_MIN_LONG: Final = 16  # characters of hex after a word that assigns it


class _Name(NamedTuple):
    """Name of a secret in a text, of which the part before `done` is replaced already."""

    text: str
    begin: int
    end: int
    done: int
    kind: Kind


class _Form(NamedTuple):
    """Place of a value after a name."""

    start: int
    end: int
    way: str
    """One of "data", "quoted", "bare", "line", "argument", "typed"."""


class _Word(NamedTuple):
    """Knowledge of a word that may announce a secret."""

    kind: Kind | None
    ends_phrase: bool
    """True if it is the last word of a name of several words."""
    rules: tuple[Rule, ...]


class _Words:
    """Finds the words in a text that may announce a secret, and remembers for short ones whether they do.

    The words are content: only their hashes are kept.
    """

    def __init__(self, keys: SecretKeys, shapes: Shapes) -> None:
        self._keys = keys
        self._shapes = shapes
        self._known: dict[int, _Word] = {}
        self._others: set[int] = set()

    def within(self, text: str) -> dict[str, _Word]:
        """Return the words of `text` that may announce a secret."""
        if "%" in text:
            tokens = set(_TOKEN.findall(text))
        else:
            tokens = set(text.translate(_TO_BLANKS).split() if text.isascii() else _ANY_TOKEN.findall(text))
        found: dict[str, _Word] = {}
        others, known, numbers = self._others, self._known, self._keys.may_be_number
        for token in tokens:
            place = hash(token)
            if place in others:
                continue
            word = known.get(place)
            if word is None and (numbers or not (token[0].isdigit() and token[-1].isdigit())):
                word = self._judged(token)
            if word is not None:
                found[token] = word
        return found

    def _judged(self, token: str) -> _Word | None:
        lowered = token.lower()
        rules = tuple(self._shapes.by_word.get(lowered, ()))
        if lowered[0] == "-":
            rules += tuple(self._shapes.by_word.get(lowered.strip("-"), ()))
        if rules or self._keys.may_end(token):
            kind = self._keys.kind(token)
            ends_phrase = self._keys.ends_phrase(token, kind)
            if kind or ends_phrase or rules:
                word = _Word(kind, ends_phrase, rules)
                if len(token) <= _SHORT and len(self._known) < _MAX_REMEMBERED:
                    self._known[hash(token)] = word
                return word
        # Others with digits are numbers and IDs, of which each is another.
        if len(token) <= _SHORT and values.DIGIT.search(token) is None:
            if len(self._others) >= _MAX_WORDS_REMEMBERED:
                self._others.clear()
            self._others.add(hash(token))
        return None


class TextScrubber:
    """Replaces secrets in texts by `mark`."""

    def __init__(self, keys: SecretKeys, shapes: Shapes, mark: str) -> None:
        self._keys = keys
        self._shapes = shapes
        self._mark = mark
        self._words = _Words(keys, shapes)
        self.is_harmless_id: Callable[[str], object] = _never if shapes.has_own else _HEX
        """Returns a true value for hex digits alone, which are not examined: no default pattern matches them."""
        self.harmless: set[int] = set()
        """Hashes of short texts that were found to hold no secret, some of the last; never the texts themselves."""

    def may_hold_key(self, text: str) -> bool:
        """Return False if `text` holds no name of a secret, whatever surrounds it."""
        return any(word.kind or word.ends_phrase for word in self._words.within(text).values())

    def scrub(self, text: str) -> str:
        """Return `text`, or a copy without secrets."""
        if hash(text) in self.harmless or self.is_harmless_id(text):
            return text
        if len(text) <= _SHORT and text.isalnum():
            scrubbed = self._shapes.scrub_word(text)
            if len(text) >= _WORD:  # an ID, of which each is another, or a secret
                return scrubbed
        else:
            scrubbed = self._scrubbed(text)
        if len(text) <= _SHORT and scrubbed == text and text.lstrip()[:1] not in ("{", "["):  # JSON is judged elsewhere
            if len(self.harmless) >= _MAX_REMEMBERED:
                self.harmless.clear()
            self.harmless.add(hash(text))
        return scrubbed

    def _scrubbed(self, text: str) -> str:
        if len(text) > MAX_TEXT:
            text = _cut(text) + self._mark
        if "://" in text and "@" in text:
            text = _USERINFO.sub(self._user, text)
        if "=" in text and ("&" in text or "?" in text or "#" in text):
            text = _PARAMETER.sub(self._parameter, text)
        words = self._words.within(text)
        if not words:
            return self._shapes.scrub(text)
        text = replaced(text, self._named(text, words), self._mark)
        return self._shapes.scrub(text, {rule for word in words.values() for rule in word.rules})

    def _user(self, found: re.Match[str]) -> str:
        """Return the user part of a URL as the mark, unless it is a placeholder: `http://{user}:{password}@host`."""
        is_template = all(map(values.is_placeholder, found[2].split(":")))
        return found[0] if is_template else f"{found[1]}{self._mark}@"

    def _parameter(self, found: re.Match[str]) -> str:
        """Return a parameter of a URL, without its value if that signs or authorizes."""
        value = found[3]
        if value == self._mark or values.is_placeholder(value):
            return found[0]
        kind = self._keys.kind(found[2])
        if kind in CERTAIN or (
            _SIGNING.fullmatch(found[2]) and (found[2].lower() in _ALWAYS or values.is_strange(value))
        ):
            return found[1] + self._mark
        return found[0]

    def _named(self, text: str, words: dict[str, _Word]) -> Iterator[tuple[int, int]]:
        """Find the values that stand after the name of a secret, or after another word that announces one."""
        done = rejected = 0
        most = _MAX_REJECTED * (len(text) + _SURELY_EXAMINED)
        for begin, end in _occurrences(text, words):
            if begin < done:
                continue
            # Names without a secret are rare, and values within values are examined again and again. Beyond what
            # happens in good faith, the rest of the text is replaced.
            if rejected > most:
                yield begin, len(text)
                return
            word = words[text[begin:end]]
            if word.rules and (span := self._shapes.after_word(word.rules, text, begin)):
                done = span[1]
                yield span
                continue
            rejected += _COST_OF_NAME
            if text[end : end + 1] not in _FOLLOWS:
                continue
            kind = self._kind(word, text, done, begin, end)
            form = _value(_Name(text, begin, end, done, kind)) if kind else None
            if form is None or kind is None:
                continue
            if self._is_secret(kind, text[max(done, end - _NAME) : end], text, form):
                done = form.end
                rejected -= _COST_OF_NAME
                if form.end > form.start:
                    yield form.start, form.end
            else:
                rejected += form.end - form.start

    def _kind(self, word: _Word, text: str, done: int, begin: int, end: int) -> Kind | None:
        """Return the kind of secrets that a word, or the phrase that ends with it, is a name of."""
        if not word.ends_phrase or begin == done:
            return word.kind
        backwards = _PHRASE_BACKWARDS.match(text[max(done, begin - self._keys.longest) : begin][::-1])
        words = backwards[0][::-1].split()[1 - self._keys.max_words :] if backwards else []
        return self._keys.kind(" ".join((*words, text[begin:end]))) or word.kind if words else word.kind

    def _is_secret(self, kind: Kind, name: str, text: str, form: _Form) -> bool:
        """Return whether the value that stands after `name` is a secret."""
        value = text[form.start : form.end]
        if kind is Kind.ANY:
            return value.lower() not in _NO_SECRETS and value != self._mark
        scheme = _SCHEME.match(value) if value[:1] in _MAY_BE_SCHEME else None
        bare = value[scheme.end() :] if scheme else value
        bare = bare.strip()
        if form.way == "bare":
            bare = bare.rstrip(").,;:]}") if bare[:1] not in _OPENING_BRACKETS else bare
        if bare == self._mark or bare.lower() in _NO_SECRETS or values.is_placeholder(bare):
            return False
        if kind is Kind.DIGITS:
            return (bare.isdigit() and _MIN_DIGITS[form.way] <= len(bare) <= _MAX_DIGITS) or values.is_strange(bare)
        if kind is Kind.STRANGE:
            return values.is_strange(bare) and not values.is_expression(bare) and not _SNAKE.fullmatch(bare)
        if kind is Kind.ADDRESS:
            return form.way not in ("typed", "argument") and is_secret_address(bare)
        if form.way in ("typed", "argument"):
            if form.way == "argument" and len(bare) < _SHORTEST_ARGUMENT:
                return False
            return values.is_typed(bare) or (len(bare) >= _MIN_LONG and (values.is_hex(bare) or values.is_uuid(bare)))
        if form.way == "data":
            in_sentence = bare.islower() and bare.isalpha() and _TWO_WORDS.match(text, form.end)
            is_name = bare.isupper() and self._keys.kind(bare) is not None  # of a value, in a description of options
            return not (
                in_sentence or is_name or _shares_word(name, bare) or bare.lower() in _TYPES or values.is_path(bare)
            )
        if form.way == "line":
            return _is_line_secret(name, bare, has_scheme=scheme is not None)
        if bare[:1] in _OPENING_BRACKETS and form.way == "bare":
            return (
                any(quote in bare for quote in "\"'")
                and any(map(str.isalnum, bare))
                and bare[-1] in (*_CLOSING_BRACKETS, ",", "'", '"', " ")
            )
        if form.way == "quoted":
            return _is_quoted_secret(kind, name, bare)
        return self._is_bare_secret(kind, name, bare, text, form)

    def _is_bare_secret(self, kind: Kind, name: str, value: str, text: str, form: _Form) -> bool:
        """Return whether a value without quotes is a secret and not an expression, a type or a word."""
        if " " in value:  # several words
            return True
        if values.is_expression(value) and not (value.isdigit() and kind is Kind.PASSWORD and len(value) >= 4):
            return False
        if not _IDENTIFIER.fullmatch(value):
            return len(value) >= _SHORTEST_BARE and (values.is_typed(value) or kind is Kind.PASSWORD)
        if value.lower() in _WORDS_OF_CODE or _shares_word(name, value):
            return False
        if values.is_uuid(value) or (values.is_hex(value) and len(value) >= _MIN_LONG):
            return True
        if _SNAKE.fullmatch(value) and not (
            len(value) >= _MIN_LONG and any(map(str.isdigit, value)) and values.is_random(value)
        ):
            return False
        if any(map(str.isdigit, value)):
            return kind is Kind.PASSWORD or (not values.is_word_and_number(value) and values.is_typed(value))
        if len(value) >= _MIN_LONG and values.is_random(value):
            return True
        after = text[form.end : form.end + 1]
        if after not in ("", "\n", "\r", " "):
            return False
        before = text[max(0, form.start - 1) : form.start]
        if before == "=" and _ENVIRONMENT.search(name):
            return not value.isupper()
        line = text.rfind("\n", 0, form.start) + 1
        return (
            kind is Kind.PASSWORD
            and after != " "
            and value.islower()
            and before in ("=", " ")
            and not text[line : form.start].strip(" \t-").rstrip(" :=").strip("\"'").count(" ")
            and "= " not in text[line : form.start]
        )


_ALWAYS: Final = frozenset({"sig", "signature", "hmac", "x-amz-signature", "x-goog-signature", "x-amz-credential"}) | {
    "x-goog-credential",
    "x-amz-security-token",
    "key-pair-id",
    "awsaccesskeyid",
    "key",
    "sid",
}
_OPENING_BRACKETS: Final = ("(", "[", "{")
_CLOSING_BRACKETS: Final = (")", "]", "}")
_MIN_DIGITS: Final = {"data": 3, "quoted": 3, "bare": 4, "line": 3, "typed": 4, "argument": 4}
_MAX_DIGITS: Final = 12
_SHORTEST_BARE: Final = 3
_SHORTEST_ARGUMENT: Final = 8


def _never(_text: str) -> None:
    """Return None: with custom patterns, any text may be a secret."""


def _occurrences(text: str, words: Collection[str]) -> Iterable[tuple[int, int]]:
    """Return the places of `words` in `text`, in order."""
    pattern = _TOKEN if text.isascii() else _ANY_TOKEN
    if len(words) > _FEW_WORDS or pattern is _ANY_TOKEN or "%" in text:
        return [found.span() for found in pattern.finditer(text) if found[0] in words]
    places: list[tuple[int, int]] = []
    for word in words:
        place = text.find(word)
        while place >= 0:
            end = place + len(word)
            if text[place - 1 : place] not in _IN_WORD and text[end : end + 1] not in _IN_WORD:
                places.append((place, end))
            place = text.find(word, end)
    return sorted(places)


_FEW_WORDS: Final = 16
_IN_WORD: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def is_secret_address(value: str) -> bool:
    """Return whether a URL or connection string holds more than the address of a service."""
    if "://" in value:
        return "@" in value or any(values.is_strange(part, 16) for part in re.split(r"[/?&=]", value))
    return "=" in value or "@" in value or values.is_strange(value)


def _value(name: _Name) -> _Form | None:
    """Return the place of the value that stands after a name, or None."""
    text, begin, end, done, kind = name
    found = _SEPARATED.match(text, end)
    if found:
        after = found.end()
        block = _BLOCK.match(text, end) if text.find("\n", after, after + _MAX_BLOCK) >= 0 else None
        if block:
            value = text[block.end() : _line_end(text, block.end())].rstrip()
            quoted = _quoted_or_bare(text, block.end())
            if quoted[0] > block.end():
                return _Form(*quoted, "quoted")
            if ": " in value or value.endswith(":") or " " in value:
                return None
            return _Form(block.end(), block.end() + len(value), "typed")
        return _separated(name, found)
    if text[end : end + 1] in "\"',> \t\n<":
        found = _NEXT_IS_VALUE.match(text, end)
        if found:  # `name: X, value: Y` or `name="X" value="Y"`
            return _Form(*_quoted_or_bare(text, found.end()), "quoted")
        found = _MARKUP.match(text, end) if text.find(">", end, end + _MAX_TAG) >= 0 else None
        if found:
            closing = text.find("<", found.end(), found.end() + _MAX_VALUE)
            if text[begin - 1 : end].lower() != "<code" and closing > 0 and _opens_element(text, end, done):
                return _Form(found.end(), closing, "quoted")
            return None
        found = _FORM.match(text, end) if text[end] == '"' else None
        if found and text.rfind("name=", max(done, end - 80), end) >= 0:
            return _Form(found.end(), _line_end(text, found.end()), "data")
    if text[begin] == "-":
        found = _FLAG.match(text, end)
        return _Form(*_quoted_or_bare(text, found.end()), "data") if found else None
    found = _ARGUMENT.match(text, end)
    if found:
        start, stop = _quoted_or_bare(text, found.end())
        return _Form(start, stop, "argument")
    found = _IS.match(text, end)
    if found:
        start, stop = _quoted_or_bare(text, found.end())
        return _Form(start, stop, "typed")
    found = _SPACED.match(text, end) if kind is not Kind.STRANGE else None
    if found:
        start, stop = _quoted_or_bare(text, found.end())
        return _Form(start, stop, "typed")
    return None


def _opens_element(text: str, end: int, done: int) -> bool:
    """Return whether a name that ends there is within the tag or the content that begins before it."""
    opening = text.rfind("<", max(done, end - 160), end)
    return opening >= 0 and not text.startswith("</", opening)


def _separated(name: _Name, found: re.Match[str]) -> _Form | None:
    """Return the place of the value after a name and a separator."""
    text, begin, end, done, kind = name
    place = found.end()
    separator = found["separator"]
    if separator == ":" and text.startswith((":", "//"), place):  # `Auth::login`, `session://`
        return None
    blanks = _BLANKS.match(text, place) if text[place : place + 1] in _BEFORE_VALUE else None
    start = blanks.end() if blanks else place
    opening = _OPENING.match(text, start) if text[start : start + 1] in _MAY_OPEN else None
    if separator == ":" and "$" in text[max(0, begin - 2) : begin]:  # a variable of a shell
        return None
    before = text[max(done, end - _NAME) : end]
    head = before.lower()
    if head.endswith(_WITH_LINES) and not opening:
        if found[0][0] in "\"'" and not _SCHEME.match(text, start):  # a key of a dict in code
            return None
        return _Form(start, _end_of_line(text, start, head, end), "line")
    if separator.startswith("%"):
        encoded = _BARE_ENCODED.match(text, start + 3 if text.startswith(("%22", "%27"), start) else start)
        return _Form(encoded.start(), encoded.end(), "data") if encoded else None
    start, stop = _quoted_or_bare(text, start)
    assigned = _ASSIGNED.match(text, stop) if text[stop : stop + 1] in _BEFORE_ASSIGNED else None
    if assigned and not opening and text[start - 1 : start] != "=":  # that was a type
        opening = _OPENING.match(text, assigned.end())
        start, stop = _quoted_or_bare(text, assigned.end())
    if opening:
        return _Form(start, stop, "quoted")
    if separator == "=":
        word = before.rsplit(None, 1)[-1]
        if word.startswith("--") or "?" in word or "&" in word:
            return _Form(start, stop, "data")
    if kind is Kind.PASSWORD and separator in (":", "：", "="):
        stop = _end_of_words(text, start, stop, place)
    return _Form(start, stop, "bare")


def _end_of_words(text: str, start: int, end: int, place: int) -> int:
    """Return the end of a password of several words, or `end`."""
    if place == start:
        return end
    rest = text[start : min(_line_end(text, start), start + _MAX_PHRASE + 1)]
    if end >= start + len(rest.rstrip()) or len(rest) > _MAX_PHRASE:
        return end
    for stop in (",", ";", "|", '"', "'", "<", ">", "(", "`", ". ", " - ", " # ", " //", "\\n", ".\n"):
        rest = rest.split(stop, 1)[0]
    rest = rest.rstrip(" .\t")
    words = rest.split()
    if not 1 < len(words) <= _MAX_WORDS or len(rest) <= end - start or _SENTENCE.search(rest):
        return end
    if not all(word.islower() or not word.isalpha() for word in words) or not all(map(_IN_PHRASE.fullmatch, words)):
        return end
    if words[0] in _STATEMENTS:
        return end
    return start + len(rest)


def _is_line_secret(name: str, value: str, *, has_scheme: bool) -> bool:
    """Return whether the line after the name of a header or a phrase is a secret."""
    lowered = name.lower()
    if lowered.endswith(("cookie", "cookies")):
        return (_PAIR_IN_COOKIE.match(value) is not None and not values.is_expression(value)) or (
            " " not in value and values.is_typed(value)
        )
    if lowered.endswith("authorization"):
        if has_scheme and (" " not in value or "=" in value):
            return True
        return not values.is_expression(value) and not _SENTENCE.search(value) and value.lower() not in _TYPES
    words = value.split()
    return (len(words) > 2 and not _SENTENCE.search(value) and not values.is_expression(value)) or values.is_typed(
        value
    )


def _is_quoted_secret(kind: Kind, name: str, value: str) -> bool:
    """Return whether a value in quotes is a secret and not a message, a name, a type or a path."""
    words = value.split()
    if len(words) > 1:
        if kind is not Kind.PASSWORD or len(words) > _MAX_WORDS:
            return False
        return (
            not (len(words) > 2 and _SENTENCE.search(value))
            and not (value[0].isupper() and value[-1:] in ".:?!")
            and "=" not in value
        )
    if value.lower() in _WORDS_OF_CODE or _shares_word(name, value) or len(value) < 2:
        return False
    if value.startswith(
        ("/", "./", "../", "http://", "https://", "\\", "^", "#", "%", "(", "[", "$", "--", "@", "&", "*")
    ):
        return values.is_typed(value.lstrip("/#%@$&*^")) and "/" not in value[1:] and "(" not in value
    if values.is_uuid(value):
        return True
    if values.is_hex(value):
        return len(value) >= _MIN_HEX or (kind is Kind.PASSWORD and len(value) > 5)
    if any(map(str.isdigit, value)):
        return kind is Kind.PASSWORD or len(value) >= _MIN_LONG or values.is_typed(value)
    if kind is Kind.PASSWORD:
        return (
            not _SNAKE.fullmatch(value) and not values.is_expression(value) and len(value) >= 4 and not value.istitle()
        )
    return (
        len(value) >= _MIN_LONG
        and not _SNAKE.fullmatch(value)
        and not values.is_expression(value)
        and values.is_random(value)
    )


def _shares_word(name: str, value: str) -> bool:
    """Return whether a plain value repeats a word of its name, as in `token=new_token`."""
    if not _PLAIN.fullmatch(value):
        return False
    found = _TAIL_BACKWARDS.match(name.rstrip(" \"'`")[::-1])
    tail = found[0][::-1].lower() if found else ""
    value = value.lower()
    return value in tail or not _COMMON.union(_LETTERS.findall(tail)).isdisjoint(_LETTERS.findall(value))


_PLAIN: Final = re.compile(r"[\w.-]*")
_TAIL_BACKWARDS: Final = re.compile(r"[^\s\"'`(\[{,;=:]*")
_COMMON: Final = frozenset(
    {"password", "passwd", "secret", "token", "pwd", "passphrase", "credential", "credentials", "apikey"}
)


def _end_of_line(text: str, start: int, head: str, end_of_name: int) -> int:
    """Return where the line ends, or the quote that began before the key, as in `-H 'Cookie: a=b; c=d'`."""
    end = _line_end(text, start)
    if text[end_of_name : end_of_name + 1] not in ('"', "'"):
        before = _KEY_AT_END.sub("", head)
        quote = before[-1:]
        if quote and quote in "\"'":
            closing = text.find(quote, start, end)
            end = closing if closing >= 0 else end
    return end


def _quoted_or_bare(text: str, start: int) -> tuple[int, int]:
    """Return where the value that begins at `start` begins and ends, without its quotes."""
    first = text[start : start + 1]
    opening = _OPENING.match(text, start) if first in _MAY_OPEN else None
    if opening:
        return opening.end(), _end_of_quoted(text, opening.end(), opening[1], opening[2])
    if first in _OPENING_BRACKETS:
        return start, _end_of_bracketed(text, start)
    scheme = _SCHEME.match(text, start) if first in _MAY_BE_SCHEME else None
    found = _BARE.match(text, scheme.end() if scheme else start)
    if not found:
        return start, start
    end = found.end()
    return start, end - len(found[0]) + len(found[0].rstrip(".,)]}")) or end


def _end_of_quoted(text: str, start: int, escape: str, quote: str) -> int:
    """Return where the closing quote stands, with the same backslashes as the opening one; or the line ends."""
    furthest = start + _MAX_VALUE
    place = text.find(escape + quote, start, furthest)
    while not escape and place > start and text[place - 1] == "\\" and _is_escaped(text, place, start):
        place = text.find(quote, place + 1, furthest)
    return place if place >= 0 else _line_end(text, start)


def _is_escaped(text: str, place: int, start: int) -> bool:
    """Return whether an odd number of backslashes stands before a place."""
    before = text[max(start, place - _MAX_BACKSLASHES) : place]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _end_of_bracketed(text: str, start: int) -> int:
    """Return where the literal in brackets ends that begins at `start`, or where it stops to be one."""
    depth = 0
    end = start
    for found in _LITERAL.finditer(text, start, start + _MAX_VALUE):
        if found.start() != end:
            break
        end = found.end()
        depth += (found[0] in _OPENING_BRACKETS) - (found[0] in _CLOSING_BRACKETS)
        if depth == 0:
            break
    return end


def _line_end(text: str, start: int) -> int:
    furthest = min(len(text), start + _MAX_VALUE)
    end = text.find("\n", start, furthest)
    if end < 0:
        end = furthest
    carriage = text.find("\r", start, end)
    return carriage if carriage >= 0 else end


def _cut(text: str) -> str:
    """Return the beginning of a text that is too long, up to a blank, so that no part of a secret stays."""
    kept = text[:MAX_TEXT]
    blank = max(kept.rfind(" ", MAX_TEXT - 4096), kept.rfind("\n", MAX_TEXT - 4096))
    return kept[: blank if blank >= 0 else MAX_TEXT - 4096]
