r"""What keys, tokens and passwords look like that can be told by their shape alone.

The shapes are those that their issuers document, and that the published rules of gitleaks (config/gitleaks.toml) and
detect-secrets (detect_secrets/plugins) look for; the expressions are our own, and wider where an issuer may lengthen a
key. Each takes time linear in the text, whatever that holds: what follows a prefix is bounded, or consumed when found.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

from automagik_processors._scrub_keys import checked_texts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

# Each expression beside the literals of which a text must hold one: most texts hold none.
_SHAPES: Final[dict[str, tuple[str, ...]]] = {
    # Private keys: PEM with its body (to the end, if it was cut), age, PuTTY.
    r"(?s)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?.*?(?:-----END [A-Z0-9 ]{0,40}KEY(?: BLOCK)?-----|\Z)": (
        "PRIVATE KEY",
    ),
    r"(?s)BEGIN SSH2 ENCRYPTED PRIVATE KEY.*?(?:END SSH2 ENCRYPTED PRIVATE KEY|\Z)": ("PRIVATE KEY",),
    r"(?s)PuTTY-User-Key-File-\d: .*?(?:Private-(?:MAC|Hash): ?[0-9a-f]+|\Z)": ("PuTTY-User-Key-File",),
    r"AGE-SECRET-KEY-1[0-9A-Z]{20,}": ("AGE-SECRET",),
    # Tokens that describe themselves: JSON Web Tokens, signed or encrypted.
    r"(?:(?<![\w-])eyJ[\w-]{8,}+|eyJ[\w-]{8,200})\.[\w-]{8,}(?:\.[\w-]*){0,3}": ("eyJ",),
    r"(?i:bearer) (?P<secret>(?=[\w.~+/=-]{0,64}\d)[\w.~+/=-]{8,})": ("earer ",),
    r"(?i:basic) (?P<secret>(?=[\w+/]{0,64}[\d=])[\w+/]{8,}={0,2})": ("asic ",),
    # Clouds.
    r"(?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[A-Z0-9]{16}": (*("A3T", "ABIA", "ACCA", "AKIA", "ASIA"),),
    r"ABSK[A-Za-z0-9+/]{60,}={0,2}|bedrock-api-key-[\w+/=-]{20,}": ("ABSK", "bedrock-api-key-"),
    r"AIza[\w-]{35,}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}|(?<!\w)1//0[\w-]{40,}": ("AIza", "ya29.", "GOCSPX-", "1//0"),
    r"(?<!\w)LTAI[A-Za-z0-9]{16,}": ("LTAI",),
    r"(?<!\w)do[opr]_v1_[0-9a-f]{40,}": ("_v1_",),
    r"(?<!\w)hv[bsr]\.[\w-]{20,}": ("hvb.", "hvs.", "hvr."),
    r"[A-Za-z0-9]{14}\.atlasv1\.[\w-]{40,}": (".atlasv1.",),
    r"(?<!\w)dapi[0-9a-f]{32}": ("dapi",),
    r"(?<!\w)(?:sbp_[0-9a-f]{40}|sb_secret_[\w-]{20,})": ("sbp_", "sb_secret_"),
    r"(?<!\w)pscale_(?:tkn|oauth|pw)_[\w.=-]{20,}": ("pscale_",),
    r"(?<!\w)dp\.(?:audit|ct|pt|sa|scim|st)\.[\w.-]{30,}": ("dp.",),
    r"FlyV1 [\w+/=,-]{20,}|fo1_[\w-]{20,}": ("FlyV1 ", "fo1_"),
    # Code and packages.
    r"gh[oprsu]_[A-Za-z0-9_]{30,}|github_pat_[A-Za-z0-9_]{22,}": (
        "gho_",
        "ghp_",
        "ghr_",
        "ghs_",
        "ghu_",
        "github_pat_",
    ),
    r"gl(?:agent|cbt|dt|ffct|ft|imt|oas|pat|ptt|rt|soat)-[\w.-]{20,}|GR1348941[\w-]{20,}": (
        *(
            "glagent-",
            "glcbt-",
            "gldt-",
            "glffct-",
            "glft-",
            "glimt-",
            "gloas-",
            "glpat-",
            "glptt-",
            "glrt-",
            "glsoat-",
        ),
        "GR1348941",
    ),
    r"npm_[A-Za-z0-9]{30,}": ("npm_",),
    r"_authToken=[ \t]{0,8}(?P<secret>[\w-]{8,})": ("_authToken",),
    r"pypi-[\w-]{16,}": ("pypi-",),
    r"rubygems_[0-9a-f]{40,}": ("rubygems_",),
    r"oy2[a-z0-9]{43}": ("oy2",),
    r"cio[A-Za-z0-9]{32}(?!\w)": ("cio",),
    r"dckr_(?:oat|pat)_[\w-]{20,}": ("dckr_",),
    r"(?<![A-Za-z0-9])AKC[a-zA-Z0-9]{12,}(?![A-Za-z0-9])": ("AKC",),
    # Models and their observability. `sk-` is OpenAI's, Anthropic's, LangWatch's, OpenRouter's and many others'.
    r"(?<![A-Za-z0-9])(?:sk|pat|pk)-(?=[\w-]{0,64}\d)[\w-]{16,}": ("sk-", "pat-", "pk-"),
    r"(?<!\w)(?:gsk|hf|fw|pcsk|r8|ntn|nvapi|lsv2_pt|lsv2_sk)[_-](?=\w{0,64}\d|[A-Za-z]{34})[\w-]{20,}": (
        *("gsk_", "hf_", "fw_", "pcsk_", "r8_", "ntn_", "nvapi-", "lsv2_"),
    ),
    r"(?<!\w)(?:xai|pplx|tvly)-[\w-]{20,}": ("xai-", "pplx-", "tvly-"),
    # Messages.
    r"xox[a-z](?:\.xox[a-z])?-[\w-]{10,}|xapp-\d-[\w-]{10,}": ("xox", "xapp-"),
    r"hooks\.slack\.com/(?P<secret>[\w+/-]{20,})": ("hooks.slack",),
    r"discord(?:app)?\.com/api/webhooks/(?P<secret>\d{1,24}/[\w-]{20,})": ("/webhooks/",),
    r"(?<![\w-])[MNO][\w-]{23,27}\.[\w-]{6,7}\.[\w-]{27,}": (".",),
    r"(?<!\w)\d{8,10}:[A-Za-z0-9_-]{35}(?![\w-])": (":",),
    r"(?<![A-Za-z0-9])(?:AC|SK)[0-9a-z]{32}(?![A-Za-z0-9])": ("AC", "SK"),
    r"SG\.[\w-]{16,32}\.[\w-]{16,64}": ("SG.",),
    r"(?<!\w)key-[0-9a-z]{32}(?!\w)|(?<!\w)[0-9a-z]{32}-us\d{1,2}(?!\w)": ("key-", "-us"),
    r"(?<!\w)EAA[A-Za-z0-9]{40,}": ("EAA",),
    # Payments and shops.
    r"(?<![A-Za-z0-9])[prs]k_(?:live|prod|test)_[A-Za-z0-9]{10,}|whsec_[\w+/=]{20,}": (
        *("k_live_", "k_prod_", "k_test_", "whsec_"),
    ),
    r"sq0[a-z]{3}-[\w\\-]{20,}": ("sq0",),
    r"shp(?:at|ca|pa|ss|tka)_[0-9a-fA-F]{32,}": ("shp",),
    # Tools.
    r"(?<!\w)lin_(?:api|oauth)_[A-Za-z0-9]{30,}|(?<!\w)secret_[A-Za-z0-9]{40,}": ("lin_", "secret_"),
    r"ATATT3[\w=-]{20,}|(?<!\w)PMAK-[0-9a-f-]{30,}|(?<!\w)figd_[\w-]{20,}": ("ATATT3", "PMAK-", "figd_"),
    r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}": ("pat",),
    r"(?<!\w)gl(?:sa_[A-Za-z0-9]{32}|c_eyJ[\w+/=]{20,})": ("glsa_", "glc_"),
    r"(?<!\w)NRAK-[A-Z0-9]{20,}|(?<!\w)sntr[yu]{1,2}s?_[\w+/=]{20,}|(?<!\w)HRKU-[\w-]{20,}": ("NRAK-", "sntr", "HRKU-"),
    # Keys in connection strings and in the signatures of URLs.
    r"(?i:AccountKey|SharedAccessKey)=(?P<secret>[\w+/=]{20,})": ("Key=", "key="),
}

_SHORTEST: Final = 15
"""No secret that has a shape and no blank in it is shorter."""

_LENGTHS: Final = {".": 58, ":": 44, "AC": 34, "SK": 34}
"""How long a word must be for a literal to mean something that many words hold."""

_COMMON: Final = "-0123456789abcdef_.:etaoinshrlumwgypvkjxqz"
"""Characters from common to rare in long words: most of these are ids."""

DEFAULT_PATTERNS: Final = tuple(_SHAPES)
"""Regular expressions of what is replaced wherever it stands; of one with a group `secret`, that group alone."""


class Shapes:
    """Replaces what matches one of `shapes`, regular expressions, by `mark`."""

    def __init__(self, shapes: Iterable[str], mark: str) -> None:
        self._mark = mark
        self._patterns = tuple(shapes)
        hinted: dict[str, list[str]] = {}
        for pattern in self._patterns:
            for hint in _SHAPES.get(pattern, ("",)):
                hinted.setdefault(hint, []).append(pattern)
        self._anywhere = [(hint, patterns) for hint, patterns in hinted.items() if " " in hint or not hint]
        self._always = hinted.get("", [])
        self.has_own = bool(self._always)
        """Whether some are not of the default patterns, so that any text may match."""
        # By its rarest character, for few words have any of these, and one look at each of a word's own tells.
        self._in_long_words: dict[str, list[tuple[str, list[str]]]] = {}
        for hint, patterns in hinted.items():
            if hint and " " not in hint:
                self._in_long_words.setdefault(max(hint, key=_rarity), []).append((hint, patterns))
        self._rare = frozenset(self._in_long_words)

    def scrub(self, text: str) -> str:
        """Return `text`, or a copy without secrets."""
        called: list[str] = []
        for hint, patterns in self._anywhere:
            if hint in text:
                called += patterns
        if len(text) >= _SHORTEST:
            # Prose has no words of such a length, and splitting it is quicker than any search.
            words = text.split()
            longest = max(map(len, words), default=0)
            if longest >= _SHORTEST:
                called += self._called_by(" ".join([word for word in words if len(word) >= _SHORTEST]), longest)
        return self._without(called, text) if called else text

    def scrub_word(self, text: str) -> str:
        """Return the same for a text that is of letters and digits alone."""
        called = self._called_by(text, len(text)) + self._always
        return self._without(called, text) if called else text

    def _without(self, called: Collection[str], text: str) -> str:
        for pattern in self._patterns:
            if pattern in called:
                text = _compiled(pattern).sub(self._marked, text)
        return text

    def _called_by(self, words: str, longest: int) -> list[str]:
        """Return the patterns of which one literal at least stands in `words`, the longest of which is so long."""
        return [
            pattern
            for character in self._rare.intersection(words)
            for hint, patterns in self._in_long_words[character]
            if hint in words and longest >= _LENGTHS.get(hint, 0)
            for pattern in patterns
        ]

    def _marked(self, found: re.Match[str]) -> str:
        if "secret" not in found.re.groupindex:
            return self._mark
        start, end = (place - found.start() for place in found.span("secret"))
        return found[0][:start] + self._mark + found[0][end:]


def _rarity(character: str) -> tuple[bool, int]:
    return character.isupper(), _COMMON.find(character)


def checked(parameter: str, patterns: object) -> tuple[str, ...]:
    """Return `patterns` as a tuple; raises TypeError or ValueError, which name the parameter and the value."""
    texts = checked_texts(parameter, patterns, "regular expression")
    for pattern in texts:
        if pattern in _SHAPES:
            continue  # compiled when first needed, and tested
        try:
            matches_nothing = _compiled(pattern).search("") is not None
        except (re.error, OverflowError, RecursionError) as error:
            msg = f"Scrub({parameter}=...): {pattern!r} is no regular expression: {error}"
            raise ValueError(msg) from None
        if matches_nothing:
            msg = f"Scrub({parameter}=...): {pattern!r} matches an empty text, and so everywhere"
            raise ValueError(msg)
    return texts


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
