"""Secrets become a mark anywhere; other data, and the caller's objects, are unchanged."""

from __future__ import annotations

import copy
import dataclasses
import json
import random
from collections import namedtuple
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automagik_processors import OTLPSpan, Scrub
from automagik_processors._scrub_keys import DEFAULT_KEYS
from automagik_processors._scrub_rules import RULES
from automagik_processors._scrub_shapes import DEFAULT_PATTERNS
from automagik_processors._scrub_text import MAX_TEXT
from automagik_processors.scrub import MAX_DEPTH, MAX_NODES
from tests.privacy.oracle import found_in
from tests.privacy.shapes import TEMPLATES, parts

SECRET = "hunter2.s3cr3t"  # noqa: S105 - it is planted
RANDOM = "Zq8xK2vLm4Rt"
MARK = "[scrubbed]"
scrub = Scrub()


def scrubbed(value: Any, processor: Scrub = scrub) -> Any:
    """Return what becomes of a field's value."""
    return processor(None, "info", {"event": "e", "x": value})["x"]


@pytest.mark.parametrize(
    "key",
    [
        *("password", "Password", "PASSWORD", "user_password", "userPassword", "dbpassword", "password2"),
        *("new-password", "passwordHash", "password_confirmation", "api_key", "apiKey", "APIKey"),
        *("API_KEY", "apikey", "x-api-key", "OPENAI_API_KEY", "OPENAI_APIKEY", "openaiapikey", "api key"),
        *("api.key", "Authorization", "proxy-authorization", "Set-Cookie", "token", "access_token"),
        *("accessToken", "authtoken", "csrfToken", "id_token", "X-Auth-Token", "client_secret"),
        *("clientSecret", "aws_secret_access_key", "aws_access_key_id", "private_key", "privateKeyB64"),
        *("credential", "credentials", "session", "PHPSESSID", "JWT", "otp", "senha", "contraseña"),
        *("passphrase", "pwd"),
    ],
)  # fmt: skip
def test_keys_of_secrets(key: str) -> None:
    """A secret's key is known in every spelling, as a dict's key, in JSON and in text."""
    assert scrub(None, "info", {"event": "e", key: SECRET}) == {"event": "e", key: MARK}
    assert SECRET not in scrubbed(json.dumps({"a": [{key: SECRET}]}))
    for text in (f"{key}={SECRET}", f"{key}: {SECRET}", f"a=1&{key}={SECRET}&b=2", f"say {key} = '{SECRET}'!"):
        assert SECRET not in scrubbed(text)


@pytest.mark.parametrize(
    "key",
    [
        *("token_count", "total_tokens", "max_tokens", "tokenizer", "tokens", "prompt_tokens"),
        *("tokenCount", "token_type", "eos_token", "padToken", "time_to_first_token", "cost_per_token"),
        *("author", "authors", "authority", "keyboard", "key", "keys", "keyword", "primary_key"),
        *("foreign_key", "cache_key", "session_id", "sessionId", "session.id", "secretary", "passage"),
        *("compass", "passenger", "bypass", "monkey", "cookiecutter", "password_length", "secret_name"),
        *("accession", "oauth", "obsession", "bearer_of_news", "name", "", "!", "0"),
    ],
)  # fmt: skip
def test_keys_of_other_things(key: str) -> None:
    """A key that only resembles a secret's changes nothing: the very same event comes back."""
    event = {"event": "e", key: "an ordinary value", "x": {key: 5, "list": [key]}, "text": f"{key}: ordinary, {key}=1"}
    assert scrub(None, "info", event) is event


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password=a1b2c3, next=1", f"password={MARK}, next=1"),
        ("password: a1b2; b", f"password: {MARK}; b"),
        ("(password='a b')", f"(password='{MARK}')"),
        ('{"password": "a\\"b", "c": 1} and more', f'{{"password": "{MARK}", "c": 1}} and more'),
        ('log: {\\"password\\": \\"a b\\"} more', f'log: {{\\"password\\": \\"{MARK}\\"}} more'),
        ("{'credentials': {'user': 'joe', 'p': ['x']}, 'c': 1}", f"{{'credentials': {MARK}, 'c': 1}}"),
        ("auth=('joe', 'x'), verify=True", f"auth={MARK}, verify=True"),
        ('password = "unclosed 1 x', f'password = "{MARK}'),
        ("Authorization: Bearer a.b\r\nHost: h", f"Authorization: {MARK}\r\nHost: h"),
        ('Authorization: Digest username="joe", response="x"\nB: c', f"Authorization: {MARK}\nB: c"),
        ("Cookie: a=b; c=d\nHost: h", f"Cookie: {MARK}\nHost: h"),
        ("curl -H 'Authorization: Bearer a.b' http://h/", f"curl -H 'Authorization: {MARK}' http://h/"),
        ("passphrase: correct horse battery staple\nok", f"passphrase: {MARK}\nok"),
        ("the private key: a1bc2d def", f"the private key: {MARK} def"),
        ("api_key: str = 'a1-b2-c3'", f"api_key: str = '{MARK}'"),
        ("tool --api-key abc --verbose", f"tool --api-key {MARK} --verbose"),
        ("tool --password='a b' x", f"tool --password='{MARK}' x"),
        ("<user>joe</user><password>a b</password>", f"<user>joe</user><password>{MARK}</password>"),
        ("https://joe:pw@h:80/p?x=1", f"https://{MARK}@h:80/p?x=1"),
        ("https://tokenalone@h/", f"https://{MARK}@h/"),
        ("redis://:p@ss@h/0", f"redis://{MARK}@h/0"),
        ("git+ssh://git@host/o/r", "git+ssh://git@host/o/r"),
        ("http://{user}:{self.password}@{host}/", "http://{user}:{self.password}@{host}/"),
        ("  -p, --password ПАРОЛЬ      новый пароль", "  -p, --password ПАРОЛЬ      новый пароль"),
        ("  --no-cookies           neuloží cookies", "  --no-cookies           neuloží cookies"),
        ('<code class="filename">/my/dir/C32A1B47/x</code>', '<code class="filename">/my/dir/C32A1B47/x</code>'),
        ("http://h/p?a=1&token=x&b=2#f", f"http://h/p?a=1&token={MARK}&b=2#f"),
        ("http://h/p?sig=x%3D&key=y&q=z", f"http://h/p?sig={MARK}&key={MARK}&q=z"),
        ("http://h/cb#access_token=x&state=1", f"http://h/cb#access_token={MARK}&state=1"),
        ("to=http%3A%2F%2Fh%3Ftoken%3Dabc", f"to=http%3A%2F%2Fh%3Ftoken%3D{MARK}"),
        ("password: None, token=null", "password: None, token=null"),
        ("Auth::login(session://x)", "Auth::login(session://x)"),
        ("the token is for you; the key: C major", "the token is for you; the key: C major"),
        ("max_tokens=5 token_count: 7", "max_tokens=5 token_count: 7"),
        ("disk-based-risk-management-2024 and task-runner-42", "disk-based-risk-management-2024 and task-runner-42"),
        ("Basic authentication and bearer authentication", "Basic authentication and bearer authentication"),
        ("-----BEGIN PUBLIC KEY-----\nMIIB", "-----BEGIN PUBLIC KEY-----\nMIIB"),
    ],
)  # fmt: skip
def test_secrets_in_text(text: str, expected: str) -> None:
    """The secret goes, its surroundings stay, and a second time changes nothing."""
    assert scrubbed(text) == expected
    assert scrubbed(expected) == expected


@pytest.mark.parametrize("shape", TEMPLATES)
def test_known_shapes(shape: str) -> None:
    """A secret of a known shape goes from any text, value, key, JSON and bytes; of its random part nothing stays."""
    generator = random.Random(shape)
    for _ in range(10):
        secret, planted = parts(shape, generator)
        assert planted
        places: list[Any] = [
            secret,
            f"It is {secret} indeed",
            f"x='{secret}'",
            f"({secret}),",
            f"\n{secret}\n",
            secret.encode(),
        ]
        places += [[secret], {"a": ({secret},)}, {secret: 1}, {"a": json.dumps({"b": [secret]})}, RuntimeError(secret)]
        for place in places:
            left = (
                repr(scrubbed(place))
                + OTLPSpan()(None, "info", scrub(None, "info", {"event": secret, "x": place})).decode()
            )
            assert MARK in left
            assert [part for part in planted if part in left] == []


def test_detect_secrets_finds_nothing_afterwards() -> None:
    """detect-secrets finds every shape before scrubbing, and none after it."""
    generator = random.Random(1)
    texts = {name: f"x {parts(name, generator)[0]} y" for name in TEMPLATES}
    assert len({plugin for text in texts.values() for plugin, _ in found_in(text)}) >= 18
    assert {name: after for name, text in texts.items() if (after := found_in(scrubbed(text), MARK))} == {}


# Hypothesis tries the constants of the source too, so the alphabet is one in which no secret has a name.
LETTERS_OF_NAMES = "aeiouwdsv"
harmless = st.text(
    st.characters(codec="ascii", exclude_characters=LETTERS_OF_NAMES + LETTERS_OF_NAMES.upper()), max_size=5
)
containers = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | harmless,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(harmless, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def planted(draw: st.DrawFn) -> Any:
    """Draw a JSON value that holds the secret under a secret's key, somewhere, some of it as JSON in texts."""
    value: Any = {
        draw(st.sampled_from(["password", "apiKey", "X-Auth-Token", "client secret"])): draw(
            st.sampled_from([SECRET, [SECRET], {"a": SECRET}, [{"b": [SECRET]}]])
        )
    }
    for _ in range(draw(st.integers(0, 6))):
        step = draw(st.sampled_from(["list", "dict", "json", "tuple"]))
        if step == "json":
            value = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 2])))
        elif step == "dict":
            key = draw(st.text(max_size=5))
            value = {key: value, f"{key}{draw(st.text(max_size=5))}#": draw(containers)}  # never the same key twice
        else:
            value = [draw(containers), value] if step == "list" else (value, draw(containers))
    return value


@given(planted())
def test_no_planted_secret_stays(value: Any) -> None:
    """A secret under its key goes at any depth, through JSON in JSON; the caller's value stays, a second time too."""
    before = copy.deepcopy(value)
    event = {"event": "e", "x": value}
    once = scrub(None, "info", event)
    assert SECRET not in repr(once)
    assert MARK in repr(once)
    assert event == {"event": "e", "x": before}
    assert scrub(None, "info", once) == once


def test_harmless_texts_are_no_names() -> None:
    """Each name of a secret that an ASCII text can be holds a letter that harmless texts don't."""
    assert [key for key in DEFAULT_KEYS if key.isascii() and set(LETTERS_OF_NAMES).isdisjoint(key)] == []


@given(containers)
def test_what_holds_no_secret_is_handed_on(value: Any) -> None:
    """Without a secret the very same event comes back."""
    event = {"event": "e", "x": value}
    assert scrub(None, "info", event) is event


@given(st.dictionaries(st.text() | st.integers() | st.binary(), st.text() | st.binary() | containers))
def test_nothing_is_raised(event: Any) -> None:
    """Any event is returned, and can be encoded."""
    OTLPSpan()(None, "info", scrub(None, "info", event))


class Hostile:  # noqa: PLW1641 - it has one, below
    """An object of which every use raises."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError(SECRET)

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(SECRET)

    __hash__ = __bool__ = __str__ = __repr__ = __len__ = __iter__ = __eq__  # type: ignore[assignment]


class Lying(dict[str, Any]):
    """A dict whose methods raise."""

    def items(self) -> Any:
        """Raise."""
        raise RuntimeError(SECRET)

    __iter__ = __len__ = keys = values = __contains__ = get = __getitem__ = items  # type: ignore[assignment]


@dataclasses.dataclass
class Login:
    """A login."""

    user: str
    password: str


class Choice(Enum):
    """An enumeration."""

    SAFE = "safe"
    SECRET = f"token={SECRET}"


class Shown:
    """An object that shows a secret."""

    def __str__(self) -> str:
        return f"Shown(user='joe', password='{SECRET}')"


class Text(str):
    """A class of texts."""

    __slots__ = ()


class Code(IntEnum):
    """An enumeration of numbers."""

    PIN = 1234


class Address:
    """An object that is sent as its text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


def kinds_of(text: str) -> list[Any]:
    """Return values of many classes that are sent as this text."""
    member = getattr(Enum("Member", {"ONE": text}), "ONE")  # noqa: B009 - made at run time
    data = text.encode()
    return [text, Text(text), member, data, bytearray(data), memoryview(data), Address(text), PurePosixPath(text)]


Pair = namedtuple("Pair", "name password")  # noqa: PYI024 - as applications write it


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Login("joe", SECRET), {"user": "joe", "password": MARK}),
        (Pair("joe", SECRET), ("joe", MARK)),
        (MappingProxyType({"password": SECRET}), {"password": MARK}),
        (Lying(password=SECRET), {"password": MARK}),
        (Choice.SECRET, f"token={MARK}"),
        (Shown(), f"Shown(user='joe', password='{MARK}')"),
        (ValueError(f"token={SECRET}"), f"ValueError: token={MARK}"),
        ({f"token={SECRET}"}, [f"token={MARK}"]),
        (f"token={SECRET}".encode(), f"token={MARK}"),
        (bytearray(f"token={SECRET}".encode()), f"token={MARK}"),
        ([("Cookie", SECRET), ["x", "y"], (b"token", SECRET)], [("Cookie", MARK), ["x", "y"], (b"token", MARK)]),
        ({"name": "X-Api-Key", "value": SECRET}, {"name": "X-Api-Key", "value": MARK}),
        ({"name": "X-Other", "value": "x"}, {"name": "X-Other", "value": "x"}),
        ({"type": "password", "value": "x"}, {"type": "password", "value": MARK}),
        ({"name": "api_key", "default": RANDOM}, {"name": "api_key", "default": MARK}),
        ({"name": "get_token", "content": "It is fine"}, {"name": "get_token", "content": "It is fine"}),
        ({"tokens": [RANDOM, "an"]}, {"tokens": [MARK, "an"]}),
        (["run", "--password", SECRET, "x"], ["run", "--password", MARK, "x"]),
        (["run", "--session-id", RANDOM, "--key", "name"], ["run", "--session-id", MARK, "--key", "name"]),
        (("--token", SECRET), ("--token", MARK)),
        ([Text("--token"), Text(SECRET)], [Text("--token"), MARK]),
        ([b"--session-id", RANDOM.encode()], [b"--session-id", MARK]),
        (["app", "-p", RANDOM], ["app", "-p", MARK]),
        (["app", "-p", "8080:80"], ["app", "-p", "8080:80"]),
        (["mysql", "-uroot", f"-p{RANDOM}", "app"], ["mysql", "-uroot", MARK, "app"]),
        (["curl", "-u", f"joe:{RANDOM}", "http://h/"], ["curl", "-u", MARK, "http://h/"]),
        (["X-Api-Key", RANDOM, "Accept", "text/html"], ["X-Api-Key", MARK, "Accept", "text/html"]),
        *(({"session_id": kind}, {"session_id": MARK}) for kind in kinds_of(RANDOM)),
        *(({"cvv": kind}, {"cvv": MARK}) for kind in [*kinds_of("1234"), 1234, Code.PIN]),
        *(({"dsn": kind}, {"dsn": MARK}) for kind in kinds_of("host=h user=joe secret=x")),
        ({"X-Signature": [RANDOM, "v1"]}, {"X-Signature": [MARK, "v1"]}),
        ({"session_id": Text("main")}, {"session_id": Text("main")}),
        ({b"password": SECRET}, {b"password": MARK}),
        ({"password": {"deep": [SECRET]}}, {"password": MARK}),
        ({"password": 1, "token": None, "otp": False}, {"password": MARK, "token": None, "otp": False}),
        ({"pwd": ""}, {"pwd": ""}),
        (Hostile, Hostile),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_values_of_any_type(value: Any, expected: Any) -> None:
    """Objects are read as what would be sent of them, and kept if there is nothing secret in that."""
    assert scrubbed(value) == expected


@pytest.mark.parametrize(
    "value", [Login("joe", ""), Pair("a", None), Choice.SAFE, b"\xff\x00", {1, 2}, ValueError("x"), 1 + 2j]
)
def test_harmless_objects_are_kept(value: Any) -> None:
    """An object that holds no secret comes back itself."""
    assert scrubbed(value) is value


def test_objects_that_raise() -> None:
    """An object that can't be read becomes the mark or its type's name, and so does what holds it."""
    assert SECRET not in repr(OTLPSpan()(None, "info", scrub(None, "info", {"event": "e", "x": [Hostile()]})))
    assert scrub(None, "info", Lying(event="e", password=SECRET)) == {"event": "e", "password": MARK}
    assert scrub(None, "info", [SECRET]) == {}  # type: ignore[arg-type]


def test_depth_is_bounded() -> None:
    """A mark replaces values that are too deep or contain themselves."""
    value: Any = SECRET
    for _ in range(MAX_DEPTH + 5):
        value = [value]
    assert repr(scrubbed(value)) == "[" * MAX_DEPTH + repr(MARK) + "]" * MAX_DEPTH
    circle: list[Any] = [SECRET]
    circle[:] = [circle, circle]
    assert SECRET not in repr(scrubbed(circle))
    deep = "[" * 100_000 + "]" * 100_000 + f"token={SECRET}"
    assert SECRET not in scrubbed(deep)


def test_size_is_bounded() -> None:
    """A mark replaces each value beyond ten thousand of a field, and the rest of a long text."""
    value = scrubbed([str(number) for number in range(MAX_NODES + 5)])
    assert value[MAX_NODES - 2 :] == [str(MAX_NODES - 2), *[MARK] * 6]
    text = scrubbed("word " * (MAX_TEXT // 5) + f"a token={SECRET}")
    assert text.endswith(f"word{MARK}")
    assert len(text) <= MAX_TEXT + len(MARK)
    assert scrubbed("x" * (MAX_TEXT + 1)) == "x" * (MAX_TEXT - 4096) + MARK
    assert SECRET not in scrubbed(json.dumps([*range(MAX_NODES), *"x" * MAX_NODES, {"password": SECRET}]))


def test_names_are_bounded() -> None:
    """Many names without a secret are left; the rest of a text that holds little else is replaced."""
    many = "The token: none, and so on for a line or two of text.\n" * 2_000
    assert scrubbed(many) == many
    nothing_else = "key: a " * 20_000
    text = scrubbed(f"{nothing_else} password: {SECRET}")
    assert text.startswith("key: a key: a")
    assert text.endswith(MARK)
    assert len(text) < len(nothing_else)


@pytest.mark.parametrize(
    "piece",
    [
        *("a", " ", "\\", '"', "'", "`", "=", ":", "%3D", ",", ",a", "-", "--a ", "-token ", "<a>", "<token>", "</"),
        *("{", "[", "(", "://", "://a", "@", "?sig=", "&", "eyJ-", "eyJa.", "sk-a", "bearer ", "Basic ", "token=(]"),
        *("token=", 'token="', "token='", 'token=\\"', "token:[", "token:[\n", "token: ", "token:\n", "token:,a"),
        *("cookie: ", "cookie: '", "password: str = ", "\\u0061", '{"token":', "1:AA", "MMMMM.", "M.", "0-us"),
        *("-----BEGIN PRIVATE KEY-----", "AccountKey=", "api_key ", "pass", "token token "),
*("password is ", "пароль: ", "kind: Secret\ndata:\n a: b\n", "insert into t (a,", "a:b@", "token=['a',", "login a "),
    ],
)  # fmt: skip
@pytest.mark.slow
@pytest.mark.timeout(60)
def test_time_is_linear(piece: str) -> None:
    """A long hostile text takes time in proportion: if it took the square, this test would not end in time."""
    text = piece * (100_000 // len(piece))
    scrubbed(text)
    scrubbed(f"token=x {text}\n{text} password: y")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_time_is_linear_for_each_rule() -> None:
    """The same for texts of what each rule looks for, several of them in one text."""
    hints = sorted({hint for rule in RULES for hint in rule.hints})
    for first in range(0, len(hints), 8):
        some = hints[first : first + 8]
        scrubbed(
            "".join(hint * (2_000 // len(hint)) for hint in some) + "\n" + "".join(f"{hint} a " * 200 for hint in some)
        )


def test_lists_of_ones_own() -> None:
    """Keys and expressions of a configuration replace the defaults or add to them; a group may narrow what goes."""
    more = Scrub(extra_keys=["badge no"], extra_patterns=[r"BADGE-\d+", r"desk (?P<secret>\d+)"])
    assert scrubbed({"badgeNo": "7", "password": "x"}, more) == {"badgeNo": MARK, "password": MARK}
    assert scrubbed("BADGE-17 at desk 42", more) == f"{MARK} at desk {MARK}"
    own = Scrub(keys=["badge"], patterns=[], mark="***")
    text = "badge=7 password=x ghp_" + "a" * 36
    assert scrubbed(text, own) == text.replace("7", "***")
    assert scrubbed({"eos_token": "x"}, Scrub(extra_keys=["eos token"])) == {"eos_token": MARK}
    assert scrubbed({"password": "x"}, Scrub(keys=[], patterns=[])) == {"password": "x"}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("page token", "next_page_token"),
        ("token", "eosToken"),
        ("public key", "MY_PUBLIC_KEY"),
        ("tax data", "tax_data"),
        ("badge 7", "badge7"),
        ("007", "agent 007"),
        ("employee id", "employeeId"),
        ("name of the first pet of joe", "nameOfTheFirstPetOfJoe"),
        ("x" * 80, "x" * 80),
    ],
)
def test_a_given_name_outweighs_all_that_is_known(name: str, key: str) -> None:
    """Any value under a name from a configuration goes: under a key that is harmless otherwise, and in text."""
    given = Scrub(extra_keys=[name])
    assert scrubbed({key: "blue"}) == {key: "blue"}
    assert scrubbed({key: "blue"}, given) == {key: MARK}
    for text in (f"{name}: blue", f"{key}=blue", f"the {name}: blue, and"):
        assert "blue" not in scrubbed(text, given)


def test_a_given_name_outweighs_a_shorter_one() -> None:
    """Under a name that ends with a default one, every value in text is a secret too."""
    text = "visitor password: optional"
    assert scrubbed(text) == text
    assert scrubbed(text, Scrub(extra_keys=["visitor password"])) == f"visitor password: {MARK}"


@pytest.mark.parametrize("mark", ["", "x", "s3", "***", "<secret>"])
def test_any_mark_replaces_a_secret(mark: str) -> None:
    """A secret that begins as the mark does, or with nothing where the mark is empty, goes too."""
    processor = Scrub(mark=mark)
    secret = "s3cr3tX9tigerQ"  # noqa: S105 - it is planted
    for text in (f"Bearer {secret}", f"mysql -uroot -p{secret} app", f"password={secret}", f"curl -u joe:{secret} h"):
        once = scrubbed(text, processor)
        assert once == text.replace(secret, mark)
        assert scrubbed(once, processor) == once


def test_a_secret_behind_many_candidates_goes() -> None:
    """In one long word, such as minified CSS or JSON, a key is found behind any number of others that are none."""
    key = "pk-Zq8xK2vLm4Rt7Wn3"
    for separator in (",", ";", "|", "&", "<", ">", "(", ")", "{", "}", "[", "]", '"', "'", "`", ":"):
        text = separator.join(["pk-a"] * 100 + [key, "pk-b"])
        assert key not in scrubbed(text), separator


@pytest.mark.parametrize(
    ("arguments", "error", "expected"),
    [
        ({"keys": "password"}, TypeError, ["keys", "'password'", "list"]),
        ({"extra_keys": [5]}, TypeError, ["extra_keys", "5"]),
        ({"extra_keys": ["!"]}, ValueError, ["extra_keys", "'!'", "api key"]),
        ({"patterns": "x"}, TypeError, ["patterns", "'x'", "list"]),
        ({"extra_patterns": 5}, TypeError, ["extra_patterns", "5"]),
        ({"extra_patterns": [b"x"]}, TypeError, ["extra_patterns", "b'x'"]),
        ({"extra_patterns": ["(x"]}, ValueError, ["extra_patterns", "'(x'", "must be a regular expression"]),
        ({"patterns": ["x*"]}, ValueError, ["patterns", "'x*'", "empty"]),
        ({"mark": None}, TypeError, ["mark", "None"]),
    ],
    ids=str,
)
def test_mistakes_are_reported_at_once(arguments: Any, error: type[Exception], expected: list[str]) -> None:
    """The constructor names the parameter and the value."""
    with pytest.raises(error) as caught:
        Scrub(**arguments)
    for part in ["Scrub(", *expected]:
        assert part in str(caught.value)


def test_defaults_are_sound() -> None:
    """The default lists pass their own checks, and none of the expressions matches nothing."""
    import re

    assert len(set(DEFAULT_KEYS)) == len(DEFAULT_KEYS)
    for pattern in DEFAULT_PATTERNS:
        assert re.compile(pattern).search("") is None
