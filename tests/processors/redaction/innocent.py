"""Texts and values that hold no secret: prose in fifteen languages, IDs, hashes, numbers, images and pieces of code."""

from __future__ import annotations

import base64
import string
import uuid
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

PROSE: Final = (
    "The password must have at least 12 characters, and the token expires after 30 minutes. Ask an admin for a new key.",
    "Cookies: chocolate chip, oatmeal and 2 of ginger. Secret ingredient: a pinch of salt. The key: patience.",
    "Session 3: authentication. Token: a piece of text that stands for a user. Password: the word that opens a door.",
    "Das Passwort muss mindestens 12 Zeichen haben. Der Schlüssel liegt unter der Matte, das Geheimnis bleibt gewahrt.",
    "Le mot de passe : il doit contenir 8 caractères. La clé du succès : la patience, et 3 cafés par jour.",
    "La contraseña debe tener 10 caracteres. La clave: trabajar cada día. El secreto: no rendirse nunca.",
    "A senha deve ter 8 caracteres. A chave: paciência. O segredo: dormir 7 horas por noite, todos os dias.",
    "La password deve avere 8 caratteri. La chiave: la calma. Il segreto: l'olio, il sale e 200 grammi di farina.",
    "Het wachtwoord moet 8 tekens hebben. De sleutel: oefening. Het geheim: elke dag 10 minuten lezen.",
    "Hasło musi mieć 8 znaków. Klucz: cierpliwość. Sekret: dobry sen przez 8 godzin każdej nocy.",
    "Пароль должен содержать 8 символов. Ключ: терпение. Секрет: хороший сон и 2 литра воды в день.",
    "Lösenordet måste ha 8 tecken. Nyckeln: tålamod. Hemligheten: att sova 8 timmar varje natt.",
    "Parola en az 8 karakter olmalıdır. Anahtar: sabır. Sır: her gece 8 saat uyumak ve 2 litre su içmek.",
    "密码必须至少有8个字符。关键：耐心。秘密：每晚睡8小时。令牌30分钟后过期。",
    "パスワードは8文字以上にしてください。鍵：忍耐。秘密：毎晩8時間眠ること。トークンは30分で失効します。",
    "비밀번호는 8자 이상이어야 합니다. 열쇠: 인내. 비결: 매일 밤 8시간 자는 것. 토큰은 30분 후에 만료됩니다.",
    "يجب أن تتكون كلمة المرور من 8 أحرف. المفتاح: الصبر. السر: النوم 8 ساعات كل ليلة.",
    "पासवर्ड में कम से कम 8 अक्षर होने चाहिए। कुंजी: धैर्य। रहस्य: हर रात 8 घंटे की नींद।",
)  # fmt: skip
"""Paragraphs that speak of secrets and tell none."""

SNIPPETS: Final = (
    "token = next(it)",
    "session = requests.Session()",
    'secret = os.environ["SECRET"]',
    "https://example.com/?code=BR&state=open",
    "Cookies: chocolate chip",
    "def login(user: str, password: str, token: str | None = None) -> Session:",
    "client = Client(api_key=settings.api_key, password=getpass.getpass())",
    'parser.add_argument("--password", help="the password of the user", default=None)',
    'headers = {"Authorization": f"Bearer {token}", "X-Api-Key": key}',
    "if token == self.token and not password: raise ValueError('wrong password')",
    "password: ${DB_PASSWORD}\ntoken: {{ .Values.token }}\nsecret: <your secret>",
    "const { password, token } = req.body; this.secret = secret;",
    "SELECT password, token FROM users WHERE key = ? AND session_id = :session_id",
    '<input type="password" name="password" placeholder="Password">',
    'export API_KEY=$(cat key.txt); curl -u "$USER:$PASSWORD" https://example.com',
)


def values(random: Random) -> Iterator[str]:
    """Yield IDs, hashes, numbers and images."""
    letters = string.ascii_letters + string.digits
    made = uuid.UUID(int=random.getrandbits(128), version=random.choice((1, 4, 5)))
    yield from (str(made), made.hex, str(made).upper(), f"urn:uuid:{made}")
    for size in (7, 16, 20, 32, 64):
        yield random.randbytes(size).hex()
    yield f"sha256:{random.randbytes(32).hex()}"
    for name, size in (("sha256", 32), ("sha384", 48), ("sha512", 64)):
        yield f"{name}-{base64.b64encode(random.randbytes(size)).decode()}"
    yield f"h1:{base64.b64encode(random.randbytes(32)).decode()}"
    yield f"0x{random.randbytes(20).hex()}"
    yield from (
        str(random.getrandbits(64)),
        str(random.random()),
        f"{random.random():.3e}",
        "+49 170 1234567",
        "v1.22.333",
    )
    yield from ("2024-05-01T12:00:00.123456Z", "192.168.1.17", "fe80::1ff:fe23:4567:890a", "00:1b:44:11:3a:b7")
    for prefix, size in (("call_", 24), ("chatcmpl-", 29), ("toolu_01", 22), ("msg_01", 22)):
        yield prefix + "".join(random.choices(letters, k=size))
    yield "01HV" + "".join(random.choices("0123456789ABCDEFGHJKMNPQRSTVWXYZ", k=22))
    image = b"\x89PNG\r\n\x1a\n" + random.randbytes(900)
    yield from (base64.b64encode(image).decode(), base64.encodebytes(image).decode())
    yield f"data:image/png;base64,{base64.b64encode(image).decode()}"


def pieces(root: Path, suffix: str, random: Random, count: int, *, lines: int = 60) -> list[str]:
    """Return pieces of 60 lines from files below a folder."""
    files = sorted(root.rglob(f"*{suffix}"))
    made: list[str] = []
    for path in random.sample(files, min(len(files), count)):
        if path.stat().st_size > 300_000:
            continue
        text = path.read_text(encoding="utf-8", errors="replace").splitlines()
        start = random.randrange(max(1, len(text) - lines + 1))
        made.append("\n".join(text[start : start + lines]))
    return made
