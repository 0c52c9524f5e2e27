"""Keys of dicts: of secrets, and of other things."""

from __future__ import annotations

from typing import Final

BUILD: Final = (
    *("password", "db_password", "userPassword", "NEW-PASSWORD", "passwd", "pwd", "pass", "smtp_pass", "passphrase", "passcode"),
    *("api_key", "apiKey", "APIKEY", "X-Api-Key", "OPENAI_API_KEY", "OPENAI_KEY", "stripeKey", "SENDGRID-KEY", "openai.api.key"),
    *("secret", "clientSecret", "AWS_SECRET_ACCESS_KEY", "aws_access_key_id", "jwt_secret", "SECRET_KEY", "app-secret", "secretKey"),
    *("token", "access_token", "refreshToken", "ID_TOKEN", "bot-token", "csrfToken", "x-auth-token", "slack_token", "bearer"),
    *("authorization", "Authorization", "proxy-authorization", "auth", "cookie", "Set-Cookie", "session", "session_id", "sessionId"),
    *("credentials", "creds", "private_key", "privateKeyPem", "ssh_key", "signing_key", "encryption-key", "connection_string"),
    *("dsn", "SENTRY_DSN", "database_url", "DATABASE_URL", "redisUrl", "mongo_uri", "pin", "cvv", "cvc", "otp", "totp_secret"),
    *("signature", "sig", "hmac", "mnemonic", "seed_phrase", "recovery_codes", "webhook_url", "webhookSecret", "license_key"),
    *("senha", "contraseña", "passwort", "mot_de_passe", "motDePasse", "wachtwoord", "hasło", "пароль", "密码", "パスワード", "비밀번호"),
)  # fmt: skip

CHECK: Final = (
    *("loginPassword", "OLD_PASSWORD", "password-confirm", "password2", "mysql.password", "rootPw", "mail_pwd", "dbPass", "wifi_passphrase"),
    *("ANTHROPIC_KEY", "mapsKey", "google-api-key", "algolia_admin_key", "datadogAppKey", "subscription-key", "Ocp-Apim-Subscription-Key"),
    *("client-secret", "consumerSecret", "SHARED_SECRET", "oauth_token_secret", "webhook-signing-secret", "secretAccessKey", "hmacKey"),
    *("accessToken", "github_token", "GH_PAT", "deviceToken", "token_v2", "API_TOKEN_PROD", "personal-access-token", "xsrf-token", "sasToken"),
    *("auth_header", "AuthToken", "sessionToken", "PHPSESSID", "connect.sid", "sid", "service_account_credentials", "masterKey"),
    *("rsaPrivateKey", "sshPrivateKey", "storage_account_key", "primaryConnectionString", "postgres_url", "AMQP_URL", "broker_url"),
    *("cardPin", "securityCode", "verification_code", "backup-codes", "recoveryPhrase", "walletSeed", "x-signature", "deploy_key"),
    *("clave", "contrasena", "kennwort", "mdp", "jelszó", "şifre", "salasana", "lösenord", "heslo", "סיסמה", "كلمة المرور", "mật_khẩu"),
    *("clé_api", "api_schlüssel", "chave_api", "clave_secreta", "密钥", "令牌", "токен", "секретный_ключ", "パスワード", "รหัสผ่าน", "adgangskode"),
)  # fmt: skip

INNOCENT: Final = (
    *("token_count", "max_tokens", "prompt_tokens", "tokenizer", "token_type", "eos_token", "next_page_token_count", "author", "authority"),
    *("keyboard", "key_id", "keyword", "primary_key", "foreign_key", "cache_key", "sort_key", "public_key_count", "secretary", "passage"),
    *("compass", "passenger", "bypass", "passed", "monkey", "cookie_count", "cookiecutter", "password_length", "secret_name", "accession"),
    *("session_count", "session_start", "code", "status_code", "country_code", "zip_code", "pinned", "shipping", "opinion", "signature_count"),
    *("name", "model", "role", "content", "id", "url", "version", "seed", "finish_reason", "temperature", "design", "signal", "codec"),
)  # fmt: skip
