"""Random bodies for templates of secrets: `<A36>` becomes 36 random letters and digits."""

from __future__ import annotations

import re
import string
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

_ALPHABETS = {
    "A": string.ascii_letters + string.digits,
    "B": string.ascii_letters + string.digits + "-_",
    "D": string.digits,
    "H": "0123456789abcdef",
    "L": string.ascii_lowercase + string.digits,
    "U": string.ascii_uppercase + string.digits,
    "X": "0123456789ABCDEF",
}
_LONG = 8
_BLANK = re.compile(r"<([ABDHLUX])(\d+)>|<G>")


def filled(template: str, random: Random, *, with_digits: bool = False) -> tuple[str, list[str]]:
    """Return a template with random bodies, and the bodies of 8 characters or more, none of which may stay."""
    bodies: list[str] = []

    def fill(found: re.Match[str]) -> str:
        if found[1]:
            body = ""
            while not body or (with_digits and len(body) >= _LONG and sum(map(str.isdigit, body)) < _LONG // 4):
                body = "".join(random.choices(_ALPHABETS[found[1]], k=int(found[2])))
            bodies.append(body)
        else:
            bodies.append(str(uuid.UUID(int=random.getrandbits(128), version=4)))
        return bodies[-1]

    whole = _BLANK.sub(fill, template)
    longest = max(map(len, bodies), default=0)
    return whole, [body for body in bodies if len(body) >= min(_LONG, longest)]
