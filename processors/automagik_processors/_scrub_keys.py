"""Which keys announce a secret, however they are spelt: `apiKey`, `X-Api-Key`, `OPENAI_APIKEY`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

DEFAULT_KEYS: Final = (
    *("password", "passwords", "passwd", "passphrase", "passcode", "pwd", "db pass", "user pass", "smtp pass"),
    *("senha", "contraseña", "passwort", "kennwort", "mot de passe"),
    *("secret", "secrets", "app secret", "client secret", "secret id"),
    *("token", "auth token", "access token", "access tokens", "refresh tokens", "bot token", "csrf token", "bearer"),
    *("api key", "api keys", "app key", "access key", "access keys", "access key id", "account key", "auth key"),
    *("deploy key", "encryption key", "license key", "master key", "private key", "private keys", "secret key"),
    *("service role key", "session key", "shared access key", "signing key", "ssh key", "storage key"),
    *("subscription key", "webhook key", "connection string"),
    *("authorization", "auth", "credential", "credentials", "creds", "jwt", "otp", "totp"),
    *("cookie", "cookies", "session", "connect sid", "jsessionid", "phpsessid"),
    *("mnemonic", "seed phrase", "recovery phrase", "recovery code", "recovery codes", "backup codes"),
)
"""Keys are matched by their last words, so `token` matches `access_token` and not `token_count`."""

# Words after a secret's name that leave it one, as digits do: password2, tokenB64.
_TRAILERS: Final = frozenset(
    {"value", "header", "plain", "plaintext", "raw", "b", "base", "hash", "digest", "hex"}
    | {"confirm", "confirmation", "again", "encrypted"}
)
# What tokenizers and models call tokens.
_HARMLESS: Final = frozenset(
    {"bostoken", "clstoken", "endtoken", "eostoken", "firsttoken", "lasttoken", "masktoken", "padtoken", "pertoken"}
    | {"septoken", "specialtoken", "starttoken", "stoptoken", "unktoken"}
)
_WORD: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[^\WA-Z\d_]+|[A-Z]+|\d+")
_LONGEST: Final = 64  # characters of a key's end that are looked at
_END: Final = 3  # characters of a key's end that are looked at first
_MAX_WORDS: Final = 6
_UNMISTAKABLE: Final = 8  # letters: a name of this length is one at the end of a longer word too


class SecretKeys:
    """The verdict on keys; `names` are phrases of one or more words."""

    def __init__(self, names: Iterable[str]) -> None:
        phrases = {name: _WORD.findall(name) for name in names}
        self._names = frozenset("".join(words).lower() for words in phrases.values())
        self._harmless = _HARMLESS - self._names
        self._suffixes = tuple(
            joined
            for words in phrases.values()
            if len(joined := "".join(words).lower()) >= _UNMISTAKABLE or len(words) > 1
        )
        # The last characters of each.
        lasts = {words[-1].lower() for words in phrases.values()} | _TRAILERS
        self._ends = frozenset(word[-_END:] for word in lasts)
        # In the hint's place any text must hold it that holds the key: the longest word of each phrase.
        longest = {max(words, key=len).lower() for words in phrases.values()}
        self.hints = tuple(sorted(hint for hint in longest if not any(other in hint for other in longest - {hint})))
        self._is_secret = lru_cache(4096)(self._judge)

    def is_secret(self, key: str) -> bool:
        """Return whether `key` names a secret."""
        return self._is_secret(key if len(key) <= _LONGEST else key[-_LONGEST:])

    def may_end(self, text: str) -> bool:
        """Return False if `text` can't end in the name of a secret; quicker than `is_secret`."""
        end = text[-_END:].lower()
        return end in self._ends or end[-2:] in self._ends or end[-1:] in self._ends or end[-1:].isdigit()

    def _judge(self, key: str) -> bool:
        words = [word.lower() for word in _WORD.findall(key)]
        while words and (words[-1] in _TRAILERS or words[-1].isdigit()) and words[-1] not in self._names:
            words.pop()
        ends = ["".join(words[-count:]) for count in range(1, min(len(words), _MAX_WORDS) + 1)]
        if not ends or not self._harmless.isdisjoint(ends):
            return False
        return not self._names.isdisjoint(ends) or words[-1].endswith(self._suffixes)


def checked(parameter: str, names: object) -> tuple[str, ...]:
    """Return `names` as a tuple; raises TypeError or ValueError, which name the parameter and the value."""
    texts = checked_texts(parameter, names, "text")
    for name in texts:
        if not _WORD.search(name):
            msg = f"Scrub({parameter}=...): {name!r} holds no letter or digit; allowed is such as 'api key'"
            raise ValueError(msg)
    return texts


def checked_texts(parameter: str, values: object, kind: str) -> tuple[str, ...]:
    """Return a list of texts as a tuple; `kind` names one in the TypeError for anything else."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        msg = f"Scrub({parameter}={values!r}): {type(values).__name__}; allowed is a list of {kind}s"
        raise TypeError(msg)
    texts = tuple(values)
    for text in texts:
        if not isinstance(text, str):
            msg = f"Scrub({parameter}=...): {text!r} is a {type(text).__name__}; allowed is a {kind}"
            raise TypeError(msg)
    return texts
