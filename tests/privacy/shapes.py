"""Made-up secrets of well-known shapes: a template for each, filled with random characters."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

_ALPHABETS = {
    "A": string.ascii_letters + string.digits,
    "D": string.digits,
    "H": "0123456789abcdef",
    "L": string.ascii_lowercase + string.digits,
    "U": string.ascii_uppercase + string.digits,
}
# <A*36> stands for 36 random characters of an alphabet. Prefixes stand apart from their bodies, so that no scanner of
# repositories takes this file for a leak.
TEMPLATES = {
    "age": "AGE-SECRET-KEY-1<U*58>",
    "airtable": "pat<A*14>.<H*64>",
    "anthropic": "sk-ant-api03-<A*40>7-<A*40>",
    "atlassian": "ATATT3<A*180>",
    "aws access key": "AKIA<U*16>",
    "aws session key": "ASIA<U*16>",
    "aws bedrock": "ABSK<A*110>",
    "azure storage": "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=<A*86>==;EndpointSuffix=core",
    "artifactory": "AKC<A*60>",
    "basic auth header": "Authorization: Basic <A*24>7==",
    "basic auth url": "https://someone:<A*16>@host.example/path",
    "bearer": "Bearer <A*20>7<A*10>",
    "databricks": "dapi<H*32>",
    "database url": "postgresql+psycopg://app:<A*20>@db.internal:5432/app",
    "digitalocean": "dop_v1_<H*64>",
    "discord bot": "M<A*23>.<A*6>.<A*27>",
    "discord webhook": "https://discord.com/api/webhooks/<D*18>/<A*68>",
    "docker": "dckr_pat_<A*27>",
    "doppler": "dp.pt.<A*43>",
    "figma": "figd_<A*40>",
    "github pat": "ghp_<A*36>",
    "github app": "ghs_<A*36>",
    "github fine-grained": "github_pat_<A*22>_<A*59>",
    "gitlab pat": "glpat-<A*20>",
    "gitlab job": "glcbt-64_<A*20>",
    "gitlab runner": "GR1348941<A*20>",
    "google api": "AIza<A*35>",
    "google oauth": "ya29.<A*60>",
    "google client": "GOCSPX-<A*28>",
    "grafana": "glsa_<A*32>_<H*8>",
    "groq": "gsk_<A*51>7",
    "hugging face": "hf_<A*33>7",
    "jwt": "eyJ<A*30>.eyJ<A*60>.<A*43>",
    "langsmith": "lsv2_pt_<H*31>7_<H*10>",
    "langwatch": "sk-lw-<A*40>7",
    "langwatch personal": "pat-lw-<A*40>7",
    "linear": "lin_api_<A*40>",
    "mailchimp": "<H*32>-us12",
    "mailgun": "key-<L*32>",
    "new relic": "NRAK-<U*27>",
    "npm": "npm_<A*36>",
    "npm rc": "//registry.example/:_authToken=<H*36>",
    "openai": "sk-<A*19>7T3BlbkFJ<A*20>",
    "openai project": "sk-proj-<A*47>7",
    "openrouter": "sk-or-v1-<H*63>7",
    "package index": "pypi-AgEIcHlwaS5vcmc<A*70>",
    "pem": "-----BEGIN RSA PRIVATE KEY-----\n<A*64>\n<A*64>\n-----END RSA PRIVATE KEY-----",
    "pem cut off": "-----BEGIN PRIVATE KEY-----\n<A*64>\n<A*20>",
    "openssh": "-----BEGIN OPENSSH PRIVATE KEY-----\n<A*70>\n-----END OPENSSH PRIVATE KEY-----",
    "perplexity": "pplx-<A*48>",
    "pgp": "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n<A*64>\n-----END PGP PRIVATE KEY BLOCK-----",
    "planetscale": "pscale_tkn_<A*43>",
    "postman": "PMAK-<H*24>-<H*34>",
    "rubygems": "rubygems_<H*48>",
    "sendgrid": "SG.<A*22>.<A*43>",
    "shopify": "shpat_<H*32>",
    "slack bot": "xoxb-<D*12>-<D*12>-<L*24>",
    "slack app": "xapp-1-<U*11>-<D*12>-<H*64>",
    "slack webhook": "https://hooks.slack.com/services/T<U*8>/B<U*8>/<A*24>",
    "square": "sq0csp-<A*43>",
    "stripe": "sk_live_<A*24>",
    "stripe restricted": "rk_test_<A*24>",
    "stripe webhook": "whsec_<A*32>",
    "supabase": "sbp_<H*40>",
    "tavily": "tvly-<A*32>",
    "telegram": "<D*9>:AA<A*33>",
    "terraform": "<A*14>.atlasv1.<A*60>",
    "twilio": "SK<H*32>",
    "vault": "hvs.<A*24>",
    "xai": "xai-<A*80>",
}


def secret(name: str, random: Random) -> str:
    """Return a fresh secret of the shape `name`."""
    return re.sub(r"<(\w)\*(\d+)>", lambda found: _fill(found, random), TEMPLATES[name])


def parts(name: str, random: Random) -> tuple[str, list[str]]:
    """Return a fresh secret and those random parts of it that must not stay: of 12 characters or more."""
    made: list[str] = []

    def fill(found: re.Match[str]) -> str:
        made.append(_fill(found, random))
        return made[-1]

    whole = re.sub(r"<(\w)\*(\d+)>", fill, TEMPLATES[name])
    return whole, [part for part in made if len(part) >= 12]


def _fill(found: re.Match[str], random: Random) -> str:
    return "".join(random.choices(_ALPHABETS[found[1]], k=int(found[2])))
