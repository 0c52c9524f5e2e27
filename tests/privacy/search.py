"""The planted texts, their forms, and the search for any of these forms."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, quote_plus

from faker import Faker

from tests.privacy.shapes import TEMPLATES, secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

PERSONAL = (
    *("name", "email", "phone_number", "address", "ssn", "credit_card_number", "iban", "ipv4", "ipv6", "mac_address"),
    *("user_name", "password", "company", "job", "city", "date_of_birth", "license_plate", "file_path", "url", "uuid4"),
    *("sentence", "hostname", "passport_number", "street_address"),
)
LOCALES = ("en_US", "pt_BR", "ja_JP")
KINDS = (*PERSONAL, *TEMPLATES)
_SHORTEST = 6  # characters of a needle; less is found by chance
_HEX = frozenset("0123456789abcdef")


def datum(kind: str, random: Random) -> str:
    """Return new personal data or a secret, long enough that finding it is not by chance."""
    if kind in TEMPLATES:
        return secret(kind, random)
    faker = _faker(random.choice(LOCALES))
    faker.seed_instance(random.getrandbits(64))
    # The words after it make each datum the only one of its kind.
    return f"{getattr(faker, kind)()} {''.join(random.choices('bcdfghjklmnpqrstvwxz', k=12))}"


@cache
def _faker(locale: str) -> Faker:
    return Faker(locale)


def _halves(text: str) -> list[str]:
    return [text[: len(text) // 2], text[len(text) // 2 :]]


FORMS: dict[str, Callable[[str], list[str]]] = {
    "plain": lambda text: [text],
    "split": _halves,
    "upper": lambda text: [text.upper()],
    "lower": lambda text: [text.lower()],
    "reversed": lambda text: [text[::-1]],
    "base64": lambda text: [base64.b64encode(text.encode()).decode()],
    "base64, one byte on": lambda text: [base64.b64encode(b"-" + text.encode()).decode()],
    "base64, two bytes on": lambda text: [base64.urlsafe_b64encode(b"--" + text.encode()).decode()],
    "hex": lambda text: [text.encode().hex()],
    "url": lambda text: [quote(text, safe="")],
}
"""The form of a planted text: in one piece or several."""


class Needles(NamedTuple):
    """The forms that must not be found: verbatim, and in any case."""

    exact: tuple[bytes, ...]
    folded: tuple[bytes, ...]


def needles(text: str) -> Needles:
    """Return every form of `text`: in any case whole, halved, reversed, escaped, in hex, hashed; and in base64."""
    plain = text.encode()
    folded = {text, text[::-1], *_halves(text), quote(text, safe=""), quote(text), quote_plus(text), plain.hex()}
    folded |= {"".join(f"%{byte:02x}" for byte in plain), json.dumps(text)[1:-1], *_hashes(plain)}
    exact = {piece for shift in range(3) for piece in _base64(plain, shift)}
    return Needles(
        tuple(each.encode() for each in exact if _peculiar(each)),
        tuple({each.casefold().encode() for each in folded if _peculiar(each.casefold())}),
    )


def _base64(plain: bytes, shift: int) -> list[str]:
    """Return the part of `plain` in base64 that is independent of its context, `shift` bytes into a group of three."""
    inner = base64.b64encode(b"\0" * shift + plain)[2 * (shift > 0) + (shift > 1) :].rstrip(b"=")
    stable = inner[: len(inner) - 1].decode()
    return [stable, stable.replace("+", "-").replace("/", "_")]


def _hashes(plain: bytes) -> list[str]:
    """Return the beginnings of hashes without a key, which anyone could make of a guess."""
    made = [hashlib.new(name, plain).hexdigest() for name in ("md5", "sha1", "sha256", "sha512", "blake2b")]
    made += [hashlib.blake2b(plain, digest_size=size).hexdigest() for size in (8, 16)]
    return [digest[:16] for digest in made]


def _peculiar(needle: str) -> bool:
    return len(needle) >= _SHORTEST and (len(needle) >= 16 or not _HEX.issuperset(needle))


class Haystack:
    """Bytes to search; what `known` holds was there before anything was planted."""

    def __init__(self, content: bytes, known: bytes = b"") -> None:
        self._content = content
        self._folded = _folded(content)
        self._known = known, _folded(known)

    def forms_of(self, text: str) -> list[bytes]:
        """Return the forms of `text` that are found."""
        wanted = needles(text)
        known, known_folded = self._known
        return [
            *(each for each in wanted.exact if each in self._content and each not in known),
            *(each for each in wanted.folded if each in self._folded and each not in known_folded),
        ]


def _folded(content: bytes) -> bytes:
    return content.decode("utf-8", "replace").casefold().encode()
