"""Made-up secrets of well-known shapes: a template for each, filled with random characters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.processors.redaction.filling import filled

if TYPE_CHECKING:
    from random import Random

# <A36> stands for 36 random characters of an alphabet. Prefixes stand apart from their bodies, so that no scanner of
# repositories takes this file for a leak.
TEMPLATES = {
    "age": "AGE-SECRET-KEY-1<U58>",
    "airtable": "pat<A14>.<H64>",
    "anthropic": "sk-ant-api03-<A40>7-<A40>",
    "atlassian": "ATATT3<A180>",
    "aws access key": "AKIA<U16>",
    "aws session key": "ASIA<U16>",
    "aws bedrock": "ABSK<A110>",
    "azure storage": "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=<A86>==;EndpointSuffix=core",
    "artifactory": "AKC<A60>",
    "basic auth header": "Authorization: Basic <A24>7==",
    "basic auth url": "https://someone:<A16>@host.example/path",
    "bearer": "Bearer <A20>7<A10>",
    "databricks": "dapi<H32>",
    "database url": "postgresql+psycopg://app:<A20>@db.internal:5432/app",
    "digitalocean": "dop_v1_<H64>",
    "discord bot": "M<A23>.<A6>.<A27>",
    "discord webhook": "https://discord.com/api/webhooks/<D18>/<A68>",
    "docker": "dckr_pat_<A27>",
    "doppler": "dp.pt.<A43>",
    "figma": "figd_<A40>",
    "github pat": "ghp_<A36>",
    "github app": "ghs_<A36>",
    "github fine-grained": "github_pat_<A22>_<A59>",
    "gitlab pat": "glpat-<A20>",
    "gitlab job": "glcbt-64_<A20>",
    "gitlab runner": "GR1348941<A20>",
    "google api": "AIza<A35>",
    "google oauth": "ya29.<A60>",
    "google client": "GOCSPX-<A28>",
    "grafana": "glsa_<A32>_<H8>",
    "groq": "gsk_<A51>7",
    "hugging face": "hf_<A33>7",
    "jwt": "eyJ<A30>.eyJ<A60>.<A43>",
    "langsmith": "lsv2_pt_<H31>7_<H10>",
    "langwatch": "sk-lw-<A40>7",
    "langwatch personal": "pat-lw-<A40>7",
    "linear": "lin_api_<A40>",
    "mailchimp": "<H32>-us12",
    "mailgun": "key-<L32>",
    "new relic": "NRAK-<U27>",
    "npm": "npm_<A36>",
    "npm rc": "//registry.example/:_authToken=<H36>",
    "openai": "sk-<A19>7T3BlbkFJ<A20>",
    "openai project": "sk-proj-<A47>7",
    "openrouter": "sk-or-v1-<H63>7",
    "package index": "pypi-AgEIcHlwaS5vcmc<A70>",
    "pem": "-----BEGIN RSA PRIVATE KEY-----\n<A64>\n<A64>\n-----END RSA PRIVATE KEY-----",
    "pem cut off": "-----BEGIN PRIVATE KEY-----\n<A64>\n<A20>",
    "openssh": "-----BEGIN OPENSSH PRIVATE KEY-----\n<A70>\n-----END OPENSSH PRIVATE KEY-----",
    "perplexity": "pplx-<A48>",
    "pgp": "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n<A64>\n-----END PGP PRIVATE KEY BLOCK-----",
    "planetscale": "pscale_tkn_<A43>",
    "postman": "PMAK-<H24>-<H34>",
    "rubygems": "rubygems_<H48>",
    "sendgrid": "SG.<A22>.<A43>",
    "shopify": "shpat_<H32>",
    "slack bot": "xoxb-<D12>-<D12>-<L24>",
    "slack app": "xapp-1-<U11>-<D12>-<H64>",
    "slack webhook": "https://hooks.slack.com/services/T<U8>/B<U8>/<A24>",
    "square": "sq0csp-<A43>",
    "stripe": "sk_live_<A24>",
    "stripe restricted": "rk_test_<A24>",
    "stripe webhook": "whsec_<A32>",
    "supabase": "sbp_<H40>",
    "tavily": "tvly-<A32>",
    "telegram": "<D9>:AA<A33>",
    "terraform": "<A14>.atlasv1.<A60>",
    "twilio": "SK<H32>",
    "vault": "hvs.<A24>",
    "xai": "xai-<A80>",
}


def secret(name: str, random: Random) -> str:
    """Return a fresh secret of the shape `name`."""
    return filled(TEMPLATES[name], random)[0]


def parts(name: str, random: Random) -> tuple[str, list[str]]:
    """Return a fresh secret and those random parts of it that must not stay: of 12 characters or more."""
    whole, bodies = filled(TEMPLATES[name], random)
    return whole, [body for body in bodies if len(body) >= 12]
