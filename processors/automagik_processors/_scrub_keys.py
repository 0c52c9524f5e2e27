"""Recognizes keys of secrets in any spelling: `apiKey`, `X-Api-Key`, `OPENAI_APIKEY`, `Contraseña`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from typing import Final


class Kind(Enum):
    """The values that are secrets under a key."""

    ANY = "any"
    """Any value: a name from a configuration."""
    PASSWORD = "password"  # noqa: S105 - the name of a kind
    """In data any value, in text any literal, short words and several words included."""
    TOKEN = "token"  # noqa: S105 - as above
    """In data any value, in text a literal that is not a plain word."""
    STRANGE = "strange"
    """A text that looks random: the name has other meanings."""
    DIGITS = "digits"
    """A few digits, or a text that looks random."""
    ADDRESS = "address"
    """A URL or connection string that holds more than an address."""


CERTAIN: Final = frozenset({Kind.ANY, Kind.PASSWORD, Kind.TOKEN})
"""Kinds of which any value in data is a secret."""

_PASSWORDS: Final = (
    *("password", "passwords", "passwd", "passphrase", "passcode", "passwort", "pwd", "db pass", "user pass"),
    *("smtp pass", "mail pass", "email pass", "key pass", "store pass", "root pass", "admin pass", "become pass"),
    *("ssh pass", "login pass", "sudo pass", "mysql pass", "pg pass", "pgpass"),
    *("psk", "pass phrase", "preshared key", "requirepass", "masterauth", "kennwort", "senha", "contraseña"),
    *("contrasena", "mot de passe", "motdepasse", "mdp", "parola", "parola chiave", "wachtwoord", "hasło"),
    *("haslo", "lösenord", "losenord", "adgangskode", "passord", "salasana", "heslo", "jelszó", "jelszo", "şifre"),
    *(
        "sifre",
        "parolă",
        "пароль",
        "паролі",
        "парола",
        "лозинка",
        "κωδικός",
        "κωδικός πρόσβασης",
        "mật khẩu",
        "mat khau",
    ),
    *("kata sandi", "sandi", "รหัสผ่าน", "पासवर्ड", "कूटशब्द", "密码", "密碼", "口令", "パスワード"),
    *("暗証番号", "비밀번호", "암호", "كلمة المرور", "كلمة السر", "סיסמה", "סיסמא", "رمز عبور", "lozinka", "geslo"),
    *("slaptažodis", "parool", "fjalëkalimi", "lykilorð", "pasahitza", "contrasenya", "palavra passe"),
)
_TOKENS: Final = (
    *("secret", "secrets", "app secret", "client secret", "secret id", "secret access key", "shared secret", "token"),
    *(
        "auth token",
        "access token",
        "access tokens",
        "refresh tokens",
        "auth tokens",
        "api tokens",
        "bot token",
        "bearer",
    ),
    *("csrf token", "csrf", "xsrf", "api key", "api keys", "app key", "access key", "access keys", "access key id"),
    *("account key", "auth key", "admin key", "deploy key", "encryption key", "license key", "master key"),
    *("private key", "private keys", "private pem", "secret key", "secret keys", "service role key", "session key"),
    *("shared access key", "shared key", "signing key", "ssh key", "storage key", "subscription key", "webhook key"),
    *(
        "hmac key",
        "consumer key",
        "function key",
        "instrumentation key",
        "ingestion key",
        "symmetric key",
        "wallet key",
    ),
    *("recovery key", "connection string", "connection str", "conn str", "authorization", "auth", "credential"),
    *(
        "credentials",
        "creds",
        "cred",
        "jwt",
        "otp",
        "totp",
        "cookie",
        "cookies",
        "session",
        "connect sid",
        "jsessionid",
    ),
    *("phpsessid", "sessid", "mnemonic", "seed phrase", "recovery phrase", "secret phrase", "recovery code"),
    *("recovery codes", "backup code", "backup codes", "security answer", "dockerconfigjson"),
    *(
        "credentials json",
        "code verifier",
        "client assertion",
        "saml response",
        "clave",
        "segredo",
        "secreto",
        "secreta",
        "geheimnis",
    ),
    *("geheim", "segreto", "jeton", "zugangsdaten", "anmeldedaten", "credenciales", "credenciais", "credenziali"),
    *(
        "identifiants",
        "inloggegevens",
        "clave api",
        "clave de api",
        "clave secreta",
        "clave privada",
        "clave de acceso",
    ),
    *("llave api", "llave secreta", "llave privada", "chave api", "chave de api", "chave da api", "chave secreta"),
    *("chave privada", "chave de acesso", "clé api", "clé d api", "clé secrète", "clé privée", "clé d accès"),
    *("chiave api", "chiave segreta", "chiave privata", "api schlüssel", "geheimer schlüssel", "privater schlüssel"),
    *("zugangsschlüssel", "geheimschlüssel", "api sleutel", "geheime sleutel", "klucz api", "klucz prywatny"),
    *(
        "tajny klucz",
        "sekret",
        "hemlighet",
        "api nyckel",
        "api nøgle",
        "api nøkkel",
        "api avain",
        "api klíč",
        "api kulcs",
    ),
    *("api anahtarı", "gizli anahtar", "токен", "секрет", "секретный ключ", "ключ api", "api ключ", "приватный ключ"),
    *(
        "закрытый ключ",
        "ключ доступа",
        "密钥",
        "密鑰",
        "私钥",
        "秘钥",
        "金鑰",
        "令牌",
        "トークン",
        "秘密鍵",
        "シークレット",
    ),
    *(
        "apiキー",
        "アクセスキー",
        "토큰",
        "비밀키",
        "api키",
        "시크릿",
        "مفتاح api",
        "المفتاح السري",
        "אסימון",
        "מפתח api",
    ),
    *("khóa api", "khóa bí mật", "kunci api", "kunci rahasia", "คีย์ api", "โทเค็น", "टोकन", "गुप्त कुंजी"),
)
_STRANGE: Final = (
    *(
        "key",
        "keys",
        "session id",
        "sessionid",
        "sid",
        "signature",
        "sig",
        "hmac",
        "pass",
        "pw",
        "pat",
        "sas",
    ),
    *("auth code", "oauth code", "code", "seed", "salt", "pepper", "webhook", "webhook url"),
    *(
        "hook url",
        "security token",
        "tokens",
        "phrase",
        "schlüssel",
        "sleutel",
        "ключ",
        "llave",
        "chave",
        "clé",
        "chiave",
        "klucz",
    ),
    *("nyckel", "avain", "klíč", "kulcs", "anahtar", "firma", "signatur", "assinatura", "parole", "подпись", "签名"),
    *("署名", "서명", "رمز"),
)
_DIGITS: Final = (
    *("pin", "pin code", "cvv", "cvc", "csc", "card code", "security code", "verification code"),
    *("mfa code", "otp code", "sms code", "two factor code", "one time code", "пин код", "geheimzahl", "código pin"),
    *("prüfnummer", "código de seguridad", "código de segurança", "ssn", "puk"),
)
_ADDRESSES: Final = (
    *("dsn", "database url", "database uri", "db url", "db uri", "redis url", "mongo url", "mongo uri", "mongodb url"),
    *("mongodb uri", "postgres url", "postgresql url", "mysql url", "amqp url", "rabbitmq url", "broker url"),
    *("jdbc url", "connection url", "connection uri", "proxy url", "http proxy", "https proxy"),
)
_KINDS: Final = {
    name: kind
    for kind, names in (
        (Kind.PASSWORD, _PASSWORDS),
        (Kind.TOKEN, _TOKENS),
        (Kind.STRANGE, _STRANGE),
        (Kind.DIGITS, _DIGITS),
        (Kind.ADDRESS, _ADDRESSES),
    )
    for name in names
}

DEFAULT_KEYS: Final = tuple(_KINDS)
"""Keys are matched by their last words, so `token` matches `access_token` and not `token_count`."""

# Words after the name of a secret that, like digits, are ignored: password2, tokenB64, API_KEY_PROD.
_TRAILERS: Final = frozenset(
    {"value", "header", "plain", "plaintext", "raw", "b", "base", "hash", "digest", "hex", "v", "enc", "str", "text"}
    | {"confirm", "confirmation", "again", "encrypted", "prod", "production", "staging", "stage", "dev", "live"}
    | {"sandbox", "new", "old", "current", "previous", "primary", "secondary", "backup", "main", "default", "repeat"}
    | {"test", "local", "env", "bytes", "clear", "cleartext", "pem", "input", "temp", "tmp", "data"}
)
# Names of other things: tokens of tokenizers and models, keys of tables and dicts, public keys.
_HARMLESS: Final = frozenset(
    {"bostoken", "clstoken", "endtoken", "eostoken", "firsttoken", "lasttoken", "masktoken", "padtoken", "pertoken"}
    | {"septoken", "specialtoken", "starttoken", "stoptoken", "unktoken", "nexttoken", "pagetoken", "nextpagetoken"}
    | {"continuationtoken", "synctoken", "cursortoken", "currenttoken", "previoustoken", "prevtoken", "outputtoken"}
    | {"inputtoken", "prompttoken", "completiontoken", "canceltoken", "cancellationtoken", "eottoken"}
    | {"publickey", "pubkey", "primarykey", "foreignkey", "cachekey", "sortkey", "partitionkey", "rowkey", "dictkey"}
    | {"hashkey", "rangekey", "groupkey", "objectkey", "bucketkey", "routingkey", "messagekey", "eventkey", "mapkey"}
    | {"lookupkey", "indexkey", "uniquekey", "compositekey", "surrogatekey", "naturalkey", "dedupkey", "dedupekey"}
    | {"deduplicationkey", "idempotencykey", "translationkey", "i18nkey", "configkey", "settingkey", "fieldkey"}
    | {"columnkey", "itemkey", "elementkey", "datakey", "attributekey", "metakey", "tagkey", "labelkey", "storekey"}
    | {"filekey", "imagekey", "blobkey", "s3key", "issuekey", "projectkey", "teamkey", "spacekey", "boardkey", "hotkey"}
    | {"statekey", "reducerkey", "querykey", "mutationkey", "reactkey", "artistkey", "songkey"}
    | {"musickey", "majorkey", "minorkey", "arrowkey", "sitekey", "recaptchasitekey"}
    | {"lockkey", "shardkey", "joinkey", "distkey", "resourcekey", "registrykey", "answerkey", "keykey", "templatekey"}
    | {"statuscode", "errorcode", "countrycode", "zipcode", "postcode", "postalcode", "langcode", "languagecode"}
    | {"currencycode", "sourcecode", "exitcode", "returncode", "responsecode", "httpcode", "colorcode", "charcode"}
    | {"keycode", "areacode", "qrcode", "barcode", "shortcode", "promocode", "discountcode", "couponcode", "opcode"}
    | {"geocode", "unicode", "bytecode", "encode", "decode", "vscode", "claudecode", "regioncode", "airportcode"}
    | {"requestsession", "currentsession", "dbsession", "randomseed", "publicsession", "methodsignature"}
    | {"functionsignature", "callsignature", "typesignature", "timesignature", "keysignature", "mouseauth", "noauth"}
    | {"ssopass", "boardingpass", "lowpass"}
    | {"highpass", "bandpass", "bypass", "compass", "testpass", "firstpass", "secondpass", "renderpass", "linkpass"}
)
_WORD: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[^\WA-Z\d_]+|[A-Z]+|\d+")
_LONGEST: Final = 64  # characters at the end of a key that are checked
_IN_ALL_TEXTS: Final = frozenset({"id", "url", "uri", "str", "string"})
"""Last words of names that are too common to look for what stands before each of them."""
_END: Final = 3  # characters at the end of a key that are checked first
_MAX_WORDS: Final = 6  # of a key that are checked
_MAX_REMEMBERED: Final = 4_096  # keys
_UNMISTAKABLE: Final = 8  # letters: a name of this length is recognized at the end of a longer word too


class SecretKeys:
    """Matches keys against names, phrases of one or more words: those of a list, and those that are added to it."""

    def __init__(self, names: Iterable[str], added: Iterable[str] = ()) -> None:
        kinds = {_folded(name): _KINDS.get(name, Kind.ANY) for name in names}
        kinds.update((_folded(name), Kind.ANY) for name in added)
        phrases = {name: [word.lower() for word in _WORD.findall(name)] for name in kinds}
        self._kinds = {"".join(phrases[name]): kind for name, kind in kinds.items()}
        self._given = frozenset(name for name, kind in self._kinds.items() if kind is Kind.ANY)
        """Names from a configuration, which outweigh what is known of others."""
        longer = {
            joined: kind
            for name, kind in kinds.items()
            if len(joined := "".join(phrases[name])) >= _UNMISTAKABLE or len(phrases[name]) > 1 or not joined.isascii()
        }
        self._suffixes = tuple(sorted(longer, key=len, reverse=True))
        self._given_suffixes = tuple(suffix for suffix in self._suffixes if longer[suffix] is Kind.ANY)
        self._ends = _ENDS_OF_TRAILERS.union(
            *(
                {_end(words[-1]), _end("".join(words))} for words in phrases.values()
            )  # "badge 7" ends with "7", and with "e"
        )
        self.may_be_number = "" in self._ends
        """True if a name is, or ends with, a number."""
        several = [name for name in kinds if len(phrases[name]) > 1]
        self._given_last_words = frozenset(phrases[name][-1] for name in several if kinds[name] is Kind.ANY)
        self._last_words = frozenset(phrases[name][-1] for name in several) - _IN_ALL_TEXTS | self._given_last_words
        self.max_words = max(_MAX_WORDS, *map(len, phrases.values())) if phrases else _MAX_WORDS
        """Maximum number of words of a name."""
        self.longest = max(_LONGEST, 2 * max(map(len, kinds), default=0))
        """Maximum number of characters at the end of a key that are checked."""
        self._known: dict[int, Kind | None] = {}
        """The kinds of some of the last keys, by their hashes. The keys are content, and are not kept."""

    def kind(self, key: str) -> Kind | None:
        """Return the kind of secret that `key` is the name of, or None."""
        place = hash(key)
        if place in self._known:
            return self._known[place]
        kind = self._judge(key[-self.longest :])
        if len(self._known) >= _MAX_REMEMBERED:
            self._known.clear()
        self._known[place] = kind
        return kind

    def may_end(self, word: str) -> bool:
        """Return False if `word` can't end with the name of a secret. Faster than `kind`."""
        end = _end(word)
        return end in self._ends or end[1:] in self._ends or end[2:] in self._ends or not end.isascii()

    def ends_phrase(self, word: str, kind: Kind | None) -> bool:
        """Return whether a name of several words, which outweighs `kind`, ends with `word`."""
        last = _folded(word).lower()
        return last in (self._last_words if kind in (None, Kind.STRANGE) else self._given_last_words)

    def _judge(self, key: str) -> Kind | None:
        words = [word.lower() for word in _WORD.findall(_folded(key))]
        if self._is_given(words):
            return Kind.ANY
        while words and (words[-1] in _TRAILERS or words[-1].isdigit()) and words[-1] not in self._kinds:
            words.pop()
        if self._is_given(words):
            return Kind.ANY
        ends = self._ends_of(words)
        if not ends or not _HARMLESS.isdisjoint(ends):
            return None
        for end in ends:
            if end in self._kinds:
                return self._kinds[end]
        if words[-1].endswith(self._suffixes):
            return next(self._kinds[suffix] for suffix in self._suffixes if words[-1].endswith(suffix))
        return None

    def _is_given(self, words: list[str]) -> bool:
        """Return whether a key of these words ends with a name from a configuration."""
        return bool(self._given and words) and (
            not self._given.isdisjoint(self._ends_of(words)) or words[-1].endswith(self._given_suffixes)
        )

    def _ends_of(self, words: list[str]) -> list[str]:
        """Return the last words joined, the most of them first."""
        return ["".join(words[-count:]) for count in range(min(len(words), self.max_words), 0, -1)]


def _end(word: str) -> str:
    """Return the characters at the end of a key by which it is checked first; digits are ignored there."""
    return word.rstrip("0123456789_-")[-_END:].lower()


_ENDS_OF_TRAILERS: Final = frozenset(map(_end, _TRAILERS))


def _folded(name: str) -> str:
    """Return `name` without accents, which are often left out."""
    if name.isascii():
        return name
    return "".join(letter for letter in unicodedata.normalize("NFKD", name) if unicodedata.category(letter)[0] != "M")


@lru_cache(16)
def secret_keys(names: tuple[str, ...], added: tuple[str, ...]) -> SecretKeys:
    """Return a matcher of names, the same one for the same lists."""
    return SecretKeys(names, added)


def checked(parameter: str, names: object) -> tuple[str, ...]:
    """Return `names` as a tuple. Raises TypeError or ValueError with the parameter and the value."""
    texts = checked_texts(parameter, names, "string")
    for name in texts:
        if not _WORD.search(name):
            msg = f"Scrub({parameter}=...): {name!r} must have a letter or digit, such as 'api key'"
            raise ValueError(msg)
    return texts


def checked_texts(parameter: str, values: object, kind: str) -> tuple[str, ...]:
    """Return a list of strings as a tuple. Raises TypeError, in which `kind` names an element."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        msg = f"Scrub({parameter}={values!r}): must be a list of {kind}s"
        raise TypeError(msg)
    texts = tuple(values)
    for text in texts:
        if not isinstance(text, str):
            msg = f"Scrub({parameter}=...): {text!r} must be a {kind}"
            raise TypeError(msg)
    return texts
