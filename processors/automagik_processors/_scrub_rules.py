"""Rules for secrets that are recognized by their shape: the issuer's name, the shape, an example and the source.

The shapes are those that the issuers document; the expressions are wider where an issuer may lengthen a key. In an
example, `<A36>` stands for 36 random characters, so that the example itself is not a key: of A letters and digits, B
those of base64url, D digits, H and X hex digits, L and U letters of one case and digits; `<G>` is a random UUID.

An expression takes time linear in the text: a repetition is bounded, or its characters can't begin another match.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple


class Rule(NamedTuple):
    """A kind of secret, and how to find it."""

    name: str
    where: Literal["start", "after", "word", "anywhere"]
    """The way in which a match is found: see the four functions below."""
    hints: tuple[str, ...]
    """Texts of which one stands in, at or before each match."""
    pattern: str
    """The regular expression. If it has a group `secret`, that alone is replaced."""
    example: str
    source: str
    """Publisher and title of the documentation."""


def _prefixed(name: str, starts: str, body: str, example: str, source: str) -> Rule:
    """Return a rule for secrets that begin with one of `starts`."""
    prefixes = tuple(starts.split())
    choice = "|".join(re.escape(prefix) for prefix in prefixes)
    return Rule(name, "start", prefixes, rf"(?<![A-Za-z0-9])(?:{choice}){body}", example, source)


def _after(name: str, words: str, pattern: str, example: str, source: str) -> Rule:
    """Return a rule for secrets some way after one of `words`, with which the match begins, in any case."""
    return Rule(name, "after", tuple(words.split()), rf"(?i)(?<![\w-])-{{0,2}}{pattern}", example, source)


def _composed(name: str, hints: str, pattern: str, example: str, source: str) -> Rule:
    """Return a rule for words with a random part of 20 characters that hold one of `hints`, which a bar separates."""
    return Rule(name, "word", tuple(hints.split("|")), pattern, example, source)


def _anywhere(name: str, hints: str, pattern: str, example: str, source: str) -> Rule:
    """Return a rule for what stands in a text with one of `hints`, in any case: words, or other characters alone."""
    return Rule(name, "anywhere", tuple(hints.split()), pattern, example, source)


# fmt: off - a rule stands in as few lines as it can
_VENDORS: Final = (
    # Models, agents and their observability
    _prefixed(
        "OpenAI",
        "sk-proj- sk-svcacct- sk-admin- sk-None-",
        r"[\w-]{20,}",
        "sk-proj-<B74>T3Blbk<B60>",
        "OpenAI: API keys",
    ),
    _prefixed(
        "keys with sk-",
        "sk- pk- rk- ak-",
        r"[A-Za-z0-9][\w-]{15,}",
        "sk-<A48>",
        "OpenAI, Anthropic, DeepSeek, OpenRouter, Langfuse, LangWatch: API keys",
    ),
    _prefixed("Anthropic", "sk-ant-", r"[\w-]{20,}", "sk-ant-api03-<B93>AA", "Anthropic: Admin and API keys"),
    _prefixed("personal access token", "pat-", r"[A-Za-z0-9][\w-]{15,}", "pat-na1-<G>", "HubSpot: Private apps"),
    _prefixed("Google API", "AIza", r"[\w-]{30,}", "AIza<B35>", "Google Cloud: Manage API keys"),
    _prefixed("Google AI Studio", "AQ.", r"[\w-]{30,}", "AQ.Ab<B48>", "Gemini API: Using API keys"),
    _prefixed("Groq", "gsk_", r"[A-Za-z0-9]{20,}", "gsk_<A52>", "Groq: API keys"),
    _prefixed("Hugging Face", "hf_ api_org_", r"[A-Za-z0-9]{20,}", "hf_<A34>", "Hugging Face Hub: User access tokens"),
    _prefixed("Replicate", "r8_", r"[A-Za-z0-9]{20,}", "r8_<A37>", "Replicate: HTTP API, authentication"),
    _prefixed("Fireworks", "fw_ fpk_", r"[A-Za-z0-9]{16,}", "fw_<A24>", "Fireworks: API keys"),
    _prefixed("Together", "tgp_v1_", r"[\w-]{20,}", "tgp_v1_<B43>", "Together: API keys"),
    _prefixed("Perplexity", "pplx-", r"[A-Za-z0-9]{20,}", "pplx-<A48>", "Perplexity: API keys"),
    _prefixed("xAI", "xai-", r"[A-Za-z0-9]{20,}", "xai-<A80>", "xAI: Authentication"),
    _prefixed("NVIDIA", "nvapi-", r"[\w-]{20,}", "nvapi-<B64>", "NVIDIA API catalog: API keys"),
    _prefixed("Cerebras", "csk-", r"[a-z0-9]{20,}", "csk-<L48>", "Cerebras Inference: Quickstart"),
    _prefixed("Pinecone", "pcsk_", r"[\w-]{20,}", "pcsk_<A5>_<A63>", "Pinecone: Manage API keys"),
    _prefixed(
        "LangSmith",
        "lsv2_pt_ lsv2_sk_",
        r"[0-9a-f]{20,}(?:_[0-9a-f]+)?",
        "lsv2_pt_<H32>_<H10>",
        "LangSmith: Create an account and API key",
    ),
    _prefixed("Weights and Biases", "wandb_v1_", r"[\w-]{20,}", "wandb_v1_<A27>_<A48>", "Weights & Biases: API keys"),
    _prefixed("Tavily", "tvly-", r"[\w-]{16,}", "tvly-dev-<A32>", "Tavily: Quickstart"),
    _prefixed("Firecrawl", "fc-", r"[0-9a-f]{32}", "fc-<H32>", "Firecrawl: Authentication"),
    _prefixed("Jina", "jina_", r"[\w-]{20,}", "jina_<H32><A28>", "Jina: API keys"),
    _prefixed("Voyage", "pa-", r"[\w-]{30,}", "pa-<B43>", "Voyage AI: API key and client"),
    _prefixed("RunPod", "rpa_", r"[A-Za-z0-9]{20,}", "rpa_<U42>", "Runpod: API keys"),
    _prefixed("LlamaCloud", "llx-", r"[A-Za-z0-9]{20,}", "llx-<A48>", "LlamaCloud: API keys"),
    _prefixed("E2B", "e2b_", r"[0-9a-f]{30,}", "e2b_<H40>", "E2B: API key"),
    _prefixed("Browserbase", "bb_live_ bb_test_", r"[\w-]{12,}", "bb_live_<B27>", "Browserbase: Settings"),
    _prefixed("Mem0", "m0-", r"[A-Za-z0-9]{20,}", "m0-<A40>", "Mem0: Platform quickstart"),
    _prefixed("Apify", "apify_api_", r"[A-Za-z0-9]{20,}", "apify_api_<A36>", "Apify: API integration"),
    _prefixed("Cursor", "crsr_ key_", r"[0-9a-f]{40,}", "key_<H64>", "Cursor: API keys"),
    _prefixed("Composio", "ak_ uak_", r"[\w-]{16,}", "ak_<B20>", "Composio: API keys"),
    _prefixed("Chutes", "cpk_", r"[0-9a-f]{32}\.[\w.-]{20,}", "cpk_<H32>.<H32>.<A32>", "Chutes: Authentication"),
    _prefixed("Friendli", "flp_", r"[A-Za-z0-9]{20,}", "flp_<A46>", "Friendli: Personal access tokens"),
    _prefixed("Roboflow", "rf_", r"[A-Za-z0-9]{16,}", "rf_<A28>", "Roboflow: Authentication"),
    _composed(
        "Zhipu",
        ".",
        r"(?<![A-Za-z0-9])[0-9a-f]{32}\.[A-Za-z0-9]{16}(?![A-Za-z0-9])",
        "<H32>.<A16>",
        "Zhipu: HTTP API, authentication",
    ),
    _composed(
        "fal",
        ":",
        r"(?<![A-Za-z0-9])[0-9a-f]{8}-[0-9a-f-]{27}:[0-9a-f]{32}(?![A-Za-z0-9])",
        "<G>:<H32>",
        "fal: Authentication",
    ),
    _prefixed("Brave Search", "BSA", r"[\w-]{24,}", "BSA<B28>", "Brave Search API: Authentication"),
    _prefixed(
        "Logfire", "pylf_v", r"[0-9]_[a-z]{2,8}_[A-Za-z0-9]{20,}", "pylf_v1_us_<A43>", "Logfire: Create write tokens"
    ),
    # Clouds and hosting
    _prefixed(
        "AWS access key ID",
        "AKIA ASIA ABIA ACCA A3T",
        r"[A-Z0-9]{15,17}(?![A-Za-z0-9])",
        "AKIA<U16>",
        "AWS IAM: Unique identifiers",
    ),
    _prefixed(
        "AWS session token",
        "IQoJb3JpZ2lu FwoGZXIvYXdz FQoGZXIvYXdz",
        r"[\w+/=-]{40,}",
        "IQoJb3JpZ2luX2Vj<A300>",
        "AWS STS: Temporary security credentials",
    ),
    _prefixed("Amazon Bedrock", "ABSK", r"[A-Za-z0-9+/]{60,}={0,2}", "ABSK<A109>=", "Amazon Bedrock: API keys"),
    _prefixed(
        "Amazon Bedrock, short",
        "bedrock-api-key-",
        r"[\w+/=-]{20,}",
        "bedrock-api-key-<A80>",
        "Amazon Bedrock: API keys",
    ),
    _prefixed("Amazon MWS", "amzn.mws.", r"[0-9a-f-]{36}", "amzn.mws.<G>", "Amazon MWS: Developer guide"),
    _prefixed(
        "Amazon OAuth",
        "amzn1.oa2-cs.v1.",
        r"[0-9a-f]{30,}",
        "amzn1.oa2-cs.v1.<H64>",
        "Login with Amazon: Security profile",
    ),
    _prefixed("Google OAuth", "ya29.", r"[\w-]{20,}", "ya29.<B120>", "Google Identity: OAuth 2.0"),
    _prefixed("Google OAuth client", "GOCSPX-", r"[\w-]{20,}", "GOCSPX-<B28>", "Google Identity: OAuth 2.0"),
    _prefixed("Google refresh token", "1//0", r"[\w-]{30,}", "1//0<B90>", "Google Identity: OAuth 2.0"),
    _prefixed("Google OAuth code", "4/0", r"[\w-]{30,}", "4/0A<B60>", "Google Identity: OAuth 2.0"),
    _prefixed("Google HMAC", "GOOG1E GOOG", r"[A-Z0-9]{20,}", "GOOG1E<U55>", "Cloud Storage: HMAC keys"),
    _composed(
        "Azure client secret",
        "Q~",
        r"[\w~.-]{3}\dQ~[\w~.-]{31,34}",
        "<A3>8Q~<A34>",
        "Microsoft Entra: Application credentials",
    ),
    _composed(
        "Azure identifiable key",
        "JQQJ99|AzFu|AzSe|AzCa|APIM|+ASt|+ASb|+AEh|+ARm|+ACR|ACDb|AIoT|AZDO|AzCP",
        r"(?<![A-Za-z0-9])[A-Za-z0-9+/]{30,90}(?:JQQJ99|AzFu|AzSe|AzCa|APIM|\+ASt|\+ASb|\+AEh|\+ARm"
        r"|\+ACR|ACDb|AIoT|AZDO|AzCP)[A-Za-z0-9+/]{4,40}={0,2}",
        "<A52>JQQJ99<A16>",
        "Azure: Identifiable keys",
    ),
    _composed(
        "Azure DevOps",
        "AZDO",
        r"(?<![A-Za-z0-9])[A-Za-z0-9]{70,80}AZDO[A-Za-z0-9]{4}",
        "<A76>AZDO<A4>",
        "Azure DevOps: Personal access tokens",
    ),
    _prefixed("Alibaba", "LTAI", r"[A-Za-z0-9]{12,}", "LTAI5t<A18>", "Alibaba Cloud: AccessKey pair"),
    _prefixed("Tencent", "AKID", r"[A-Za-z0-9]{13,}", "AKID<A32>", "Tencent Cloud: CAM, access keys"),
    _prefixed(
        "DigitalOcean",
        "dop_v1_ doo_v1_ dor_v1_ sdo_v1_",
        r"[0-9a-f]{40,}",
        "dop_v1_<H64>",
        "DigitalOcean: Personal access tokens",
    ),
    _prefixed("DigitalOcean Spaces", "DO00", r"[A-Z0-9]{16}", "DO00<U16>", "DigitalOcean Spaces: Access keys"),
    _prefixed("Scaleway", "SCW", r"[A-Z0-9]{17}(?![A-Za-z0-9])", "SCW<U17>", "Scaleway: API keys"),
    _prefixed("Exoscale", "EXO", r"[0-9a-f]{24}(?![A-Za-z0-9])", "EXO<H24>", "Exoscale: IAM API keys"),
    _prefixed("UpCloud", "ucat_", r"[A-Z0-9]{20,}", "ucat_<U26>", "UpCloud: API tokens"),
    _anywhere("Fly", "flyv1", r"FlyV1 [\w+/=,-]{20,}", "FlyV1 fm2_<A120>", "Fly: Access tokens"),
    _prefixed("Fly, bare", "fm1r_ fm1a_ fm2_ fo1_", r"[\w+/=-]{20,}", "fm2_<A120>", "Fly: Access tokens"),
    _prefixed("Heroku", "HRKU-", r"[\w-]{20,}", "HRKU-AA<B58>", "Heroku: OAuth, tokens"),
    _prefixed("Render", "rnd_", r"[A-Za-z0-9]{16,}", "rnd_<A28>", "Render: API"),
    _prefixed("Vercel", "vcp_ vci_ vca_ vcr_ vck_ vc_", r"[\w-]{16,}", "vcp_<A56>", "Vercel: New token formats"),
    _prefixed("Netlify", "nfp_ nfo_ nfc_ nfb_ nfu_", r"[A-Za-z0-9]{20,}", "nfp_<A36>", "Netlify: API, authentication"),
    _prefixed("Cloudflare", "cfut_ cfat_ cfk_ cfw_", r"[\w-]{20,}", "cfut_<A40><H8>", "Cloudflare: API token formats"),
    _prefixed(
        "Cloudflare origin CA",
        "v1.0-",
        r"[0-9a-f]{24}-[0-9a-f]{40,}",
        "v1.0-<H24>-<H146>",
        "Cloudflare: Origin CA keys",
    ),
    _prefixed(
        "Akamai", "akab-", r"[a-z0-9]{12,}-[a-z0-9]{12,}", "akab-<L16>-<L16>", "Akamai: Authenticate with EdgeGrid"
    ),
    _prefixed("Tailscale", "tskey-", r"[\w-]{16,}", "tskey-auth-k<A12>CNTRL-<A32>", "Tailscale: Key prefixes"),
    _prefixed(
        "Doppler", "dp.", r"(?:audit|ct|pt|sa|said|scim|st)\.[\w.-]{20,}", "dp.pt.<A43>", "Doppler: Auth token formats"
    ),
    _prefixed(
        "Infisical",
        "st.",
        r"[0-9a-f]{20,}\.[0-9a-f]{20,}\.[0-9a-f]{20,}",
        "st.<H24>.<H32>.<H32>",
        "Infisical: Service token",
    ),
    _prefixed("1Password", "ops_eyJ", r"[\w+/=-]{40,}", "ops_eyJ<A280>", "1Password: Service accounts"),
    _prefixed(
        "1Password key",
        "A3-",
        r"[A-Z0-9]{6}-(?:[A-Z0-9]{5,11}-){3,4}[A-Z0-9]{5}",
        "A3-<U6>-<U11>-<U5>-<U5>-<U5>",
        "1Password: Secret Key",
    ),
    _composed(
        "Bitwarden",
        "0.",
        r"(?<![A-Za-z0-9.])0\.[0-9a-f-]{36}\.[A-Za-z0-9]{20,}(?::[\w+/=]{16,})?",
        "0.<G>.<A30>:<A22>==",
        "Bitwarden Secrets Manager: Access tokens",
    ),
    _prefixed("Vault", "hvs. hvb. hvr.", r"[\w-]{20,}", "hvs.<B90>", "Vault: Tokens"),
    _composed(
        "Terraform",
        ".atlasv1.",
        r"(?<![A-Za-z0-9])[A-Za-z0-9]{14}\.atlasv1\.[\w-]{40,}",
        "<A14>.atlasv1.<B67>",
        "HCP Terraform: API tokens",
    ),
    _prefixed("Pulumi", "pul-", r"[0-9a-f]{30,}", "pul-<H40>", "Pulumi: Access tokens"),
    _prefixed("Backblaze", "K00", r"[\w+/]{28}(?![A-Za-z0-9])", "K004<A27>", "Backblaze: Application keys"),
    _prefixed("Tigris", "tid_ tsec_", r"[\w+-]{16,}", "tsec_<A52>", "Tigris: Access keys"),
    _prefixed("Databricks", "dapi", r"[0-9a-f]{32}(?:-\d)?", "dapi<H32>-2", "Databricks: Personal access tokens"),
    _prefixed("Databricks OAuth", "dose", r"[0-9a-f]{32}", "dose<H32>", "Databricks: OAuth secrets"),
    _prefixed("Yandex Cloud", "AQVN", r"[\w-]{30,}", "AQVN<B36>", "Yandex Cloud: API key"),
    _prefixed("Yandex IAM", "t1.", r"[\w-]{8,}={0,2}\.[\w-]{60,}={0,2}", "t1.9<A24>.<B86>", "Yandex Cloud: IAM token"),
    _prefixed("Yandex OAuth", "y0_ y1_ y2_ y3_", r"[\w-]{30,}", "y0_Ag<B54>", "Yandex ID: OAuth token"),
    _prefixed("OpenShift", "sha256~", r"[\w-]{40,}", "sha256~<B43>", "OpenShift: OAuth tokens"),
    _after(
        "Kubernetes bootstrap",
        "token",
        r"token[ =:]{1,3}(?P<secret>[a-z0-9]{6}\.[a-z0-9]{16})(?![\w.])",
        "--token <L6>.<L16>",
        "Kubernetes: Bootstrap tokens",
    ),
    # Code, packages and delivery
    _prefixed("GitHub", "ghp_ gho_ ghu_ ghs_ ghr_", r"[A-Za-z0-9_]{30,}", "ghp_<A36>", "GitHub: Token formats"),
    _prefixed(
        "GitHub, fine-grained", "github_pat_", r"[A-Za-z0-9_]{22,}", "github_pat_<A22>_<A59>", "GitHub: Token formats"
    ),
    _prefixed(
        "GitLab",
        "glagent- glcbt- gldt- glffct- glft- glimt- gloas- glpat- glptt- glrt- glrtr- glsoat- glwt-",
        r"[\w.-]{20,}",
        "glpat-<B20>",
        "GitLab: Token prefixes",
    ),
    _prefixed("GitLab runner", "GR1348941", r"[\w-]{20,}", "GR1348941<B20>", "GitLab: Token prefixes"),
    _prefixed("Bitbucket", "ATBB ATCTT3", r"[\w=-]{24,}", "ATBB<A32>", "Bitbucket Cloud: App passwords"),
    _prefixed("Atlassian", "ATATT3 ATSTT3", r"[\w=-]{20,}", "ATATT3<B180>=<H8>", "Atlassian: API tokens"),
    _prefixed("Trello", "ATTA", r"[0-9a-f]{50,}", "ATTA<H72>", "Trello: Authorizing"),
    _prefixed("npm", "npm_", r"[A-Za-z0-9]{30,}", "npm_<A36>", "npm: About access tokens"),
    _after(
        "npm, other",
        "_auth _authtoken",
        r'_auth(?:Token)?=[ \t]{0,8}"?(?P<secret>[\w/+=.-]{8,})',
        "_authToken=<G>",
        "npm: .npmrc",
    ),
    _prefixed(
        "Python package index", "pypi-", r"[\w-]{16,}", "pypi-AgEIcHlwaS5vcmc<B140>", "Python package index: API tokens"
    ),
    _prefixed("RubyGems", "rubygems_", r"[0-9a-f]{40,}", "rubygems_<H48>", "RubyGems: API key scopes"),
    _prefixed("NuGet", "oy2", r"[a-z0-9]{43}(?![A-Za-z0-9])", "oy2<L43>", "NuGet: Scoped API keys"),
    _prefixed("crates", "cio", r"[A-Za-z0-9]{32}(?![A-Za-z0-9])", "cio<A32>", "Cargo: Registries"),
    _prefixed("Docker", "dckr_pat_ dckr_oat_", r"[\w-]{20,}", "dckr_pat_<B27>", "Docker: Personal access tokens"),
    _prefixed("JFrog", "AKC cmVmdGtu", r"[A-Za-z0-9]{20,}(?![A-Za-z0-9])", "AKCp<A69>", "JFrog: Access tokens"),
    _prefixed("Packagist", "packagist_", r"[\w-]{20,}", "packagist_out_<H64>", "Private Packagist: API"),
    _prefixed("Clojars", "CLOJARS_", r"[0-9a-f]{40,}", "CLOJARS_<H60>", "Clojars: Deploy tokens"),
    _prefixed("SonarQube", "sqp_ squ_ sqa_ sqb_", r"[0-9a-f]{30,}", "squ_<H40>", "SonarQube: User tokens"),
    _prefixed(
        "Sourcegraph",
        "sgp_ slk_ sgd_ sgs_",
        r"(?:[A-Za-z0-9]{16}_|local_)?[0-9a-f]{40,}",
        "sgp_<H16>_<H40>",
        "Sourcegraph: Access tokens",
    ),
    _prefixed(
        "CircleCI", "CCIPAT_ CCIPRJ_", r"[A-Za-z0-9]{16,}_[0-9a-f]{40}", "CCIPAT_<A22>_<H40>", "CircleCI: API tokens"
    ),
    _prefixed("Buildkite", "bkua_ bkaj_ bkct_", r"[\w-]{30,}", "bkua_<H40>", "Buildkite: API access tokens"),
    _composed(
        "Jenkins",
        "11",
        r"(?<![A-Za-z0-9])11[0-9a-f]{32}(?![A-Za-z0-9])",
        "11<H32>",
        "Jenkins: Authenticating scripted clients",
    ),
    _prefixed("Chromatic", "chpt_", r"[0-9a-f]{12,}", "chpt_<H15>", "Chromatic: Configure"),
    _prefixed("Snyk", "snyk_uat. snyk_sat.", r"[\w.-]{20,}", "snyk_uat.<H8>.<B80>", "Snyk: API tokens"),
    _prefixed("Socket", "sktsec_", r"[\w-]{20,}", "sktsec_<B46>_api", "Socket: API tokens"),
    _prefixed(
        "LaunchDarkly",
        "sdk- mob- api-",
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f-]{21}",
        "sdk-<G>",
        "LaunchDarkly: SDK credentials",
    ),
    _prefixed("Flagsmith", "ser.", r"[A-Za-z0-9]{20,}", "ser.<A22>", "Flagsmith: Server-side SDKs"),
    _prefixed(
        "ConfigCat",
        "configcat-",
        r"(?:sdk|proxy)-[0-9]/[\w-]{20,}/[\w-]{20,}",
        "configcat-sdk-1/<B22>/<B22>",
        "ConfigCat: SDK keys",
    ),
    _composed(
        "Unleash",
        ":",
        r"(?<![\w*-])(?:[\w*-]{1,40}|\[\]):(?:[\w-]{1,40}|\*)\.(?P<secret>[0-9a-f]{50,})",
        "*:development.<H60>",
        "Unleash: API tokens and client keys",
    ),
    _prefixed("age", "AGE-SECRET-KEY-1", r"[0-9A-Z]{20,}", "AGE-SECRET-KEY-1<U58>", "age: Key format"),
    _prefixed("WakaTime", "waka_ sec_", r"[0-9a-f]{8}-[0-9a-f-]{27}", "waka_<G>", "WakaTime: API, authentication"),
    _prefixed(
        "Deno, Gitpod, Val Town",
        "gitpod_pat_ ddp_ ddo_ vtwn_ csb_v1_",
        r"[\w.-]{20,}",
        "ddp_<A36>",
        "Deno Deploy: Access tokens",
    ),
    _prefixed("Prefect", "pnu_ pnb_", r"[A-Za-z0-9]{30,}", "pnu_<A36>", "Prefect Cloud: API keys"),
    _prefixed("dbt", "dbtc_ dbtu_ dbts_", r"[\w-]{20,}", "dbtc_<B43>=", "dbt: Service account tokens"),
    _prefixed("Anaconda", "an-", r"[0-9a-f]{8}-[0-9a-f-]{27}", "an-<G>", "Anaconda: Tokens"),
    # Data
    _prefixed("Supabase", "sbp_ sb_secret_ sbs_", r"[\w-]{20,}", "sb_secret_<B22>_<A8>", "Supabase: API keys"),
    _prefixed("Neon", "napi_", r"[a-z0-9]{30,}", "napi_<L64>", "Neon: Manage API keys"),
    _prefixed(
        "PlanetScale",
        "pscale_tkn_ pscale_oauth_ pscale_pw_",
        r"[\w.=-]{20,}",
        "pscale_tkn_<B43>",
        "PlanetScale: Service tokens",
    ),
    _prefixed("MongoDB Atlas", "mdb_sa_sk_", r"[\w-]{20,}", "mdb_sa_sk_<B40>", "MongoDB Atlas: Service accounts"),
    _prefixed("CockroachDB", "CCDB1_", r"[A-Za-z0-9_]{30,}", "CCDB1_<A22>_<A40>", "CockroachDB Cloud: API access"),
    _prefixed("ClickHouse", "4b1d", r"[A-Za-z0-9]{38}(?![A-Za-z0-9])", "4b1d<A38>", "ClickHouse Cloud: API keys"),
    _prefixed("Tinybird", "p.eyJ", r"[\w-]{20,}(?:\.[\w-]+)*", "p.eyJ<B90>.<B43>", "Tinybird: Auth tokens"),
    _prefixed("Xata, Fauna", "xau_ fnA", r"[\w-]{30,}", "xau_<A40>", "Xata: API keys"),
    _prefixed(
        "Airtable", "pat", r"[A-Za-z0-9]{14}\.[0-9a-f]{40,}", "pat<A14>.<H64>", "Airtable: Personal access tokens"
    ),
    _prefixed("Notion", "secret_ ntn_", r"[A-Za-z0-9]{30,}", "ntn_<D11><A35>", "Notion: Authorization"),
    _prefixed("Contentful", "CFPAT-", r"[\w-]{30,}", "CFPAT-<B43>", "Contentful: Personal access tokens"),
    _prefixed(
        "keys with sk_",
        "sk_ pk_ rk_ ek_",
        r"(?:(?:live|test|prod|dev)_)?[\w+/=-]{16,}",
        "sk_<H48>",
        "ElevenLabs, Clerk, Stripe: API keys",
    ),
    _after(
        "Algolia, keyed",
        "algolia",
        r"algolia[\w .:=-]{1,40}?(?P<secret>(?<![A-Za-z0-9])[0-9a-f]{32}(?![A-Za-z0-9]))",
        "Algolia admin: <H32>",
        "Algolia: API keys",
    ),
    _prefixed("Elastic", "essu_", r"[\w+/=]{20,}", "essu_<A80>", "Elastic Cloud: API keys"),
    _prefixed("Confluent", "cflt", r"[A-Za-z0-9+/]{40,}", "cflt<A60>", "Confluent Cloud: API keys"),
    # Messages and people
    _prefixed(
        "Slack",
        "xoxa- xoxb- xoxc- xoxd- xoxe- xoxo- xoxp- xoxr- xoxs- xoxe.",
        r"(?:xox[a-z]-)?[\w%+/-]{10,}",
        "xoxb-<D12>-<D12>-<A24>",
        "Slack: Token types",
    ),
    _prefixed("Slack app", "xapp-", r"\d-[\w-]{10,}", "xapp-1-<U11>-<D12>-<H64>", "Slack: Token types"),
    _anywhere(
        "Slack webhook",
        "hooks",
        r"hooks\.slack\.com/(?P<secret>[\w+/-]{20,})",
        "https://hooks.slack.com/services/T<U8>/B<U8>/<A24>",
        "Slack: Incoming webhooks",
    ),
    _composed(
        "Discord",
        ".",
        r"(?<![\w-])[MNO][\w-]{23,27}\.[\w-]{6,7}\.[\w-]{27,}",
        "M<A25>.<A6>.<B38>",
        "Discord: Reference, authentication",
    ),
    _anywhere(
        "Discord webhook",
        "webhooks",
        r"discord(?:app)?\.com/api/webhooks/(?P<secret>\d{1,24}/[\w-]{20,})",
        "https://discord.com/api/webhooks/<D18>/<B68>",
        "Discord: Webhook resource",
    ),
    _anywhere(
        "any webhook",
        "hooks webhook webhooks hook webhookb2 office logic zapier ifttt",
        r"(?i:https?://[\w.-]{0,80}(?:hook|office\.com|logic\.azure|zapier|pipedream"
        r"|ifttt)[\w.-]{0,80}/)(?P<secret>[\w/@.-]{24,})",
        "https://example.webhook.office.com/webhookb2/<G>@<G>/IncomingWebhook/<H32>/<G>",
        "Microsoft Teams, Zapier: Incoming webhooks",
    ),
    _composed("Telegram", ":", r"(?<!\w)\d{8,10}:[A-Za-z0-9_-]{35}(?![\w-])", "<D10>:AA<B33>", "Telegram: Bots"),
    _composed(
        "Twilio", "AC|SK", r"(?<![A-Za-z0-9])(?:AC|SK)[0-9a-f]{32}(?![A-Za-z0-9])", "SK<H32>", "Twilio: API keys"
    ),
    _prefixed("SendGrid", "SG.", r"[\w-]{16,32}\.[\w-]{16,64}", "SG.<B22>.<B43>", "SendGrid: API keys"),
    _prefixed("Mailgun", "key- pubkey-", r"[0-9a-z]{32}(?![A-Za-z0-9])", "key-<H32>", "Mailgun: API keys"),
    _composed(
        "Mailgun, newer",
        "-",
        r"(?<![A-Za-z0-9])[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8}(?![A-Za-z0-9])",
        "<H32>-<H8>-<H8>",
        "Mailgun: API keys",
    ),
    _composed(
        "Mailchimp",
        "-us",
        r"(?<![A-Za-z0-9])[0-9a-z]{32}-us\d{1,2}(?![A-Za-z0-9])",
        "<H32>-us12",
        "Mailchimp: API keys",
    ),
    _prefixed("Mandrill", "md-", r"[\w-]{20,}", "md-<B22>", "Mailchimp Transactional: API keys"),
    _prefixed("Resend", "re_", r"[A-Za-z0-9]{8}_[A-Za-z0-9]{20,}", "re_<A8>_<A24>", "Resend: API keys"),
    _prefixed(
        "Brevo", "xkeysib- xsmtpsib-", r"[0-9a-f]{40,}-[A-Za-z0-9]{10,}", "xkeysib-<H64>-<A16>", "Brevo: API keys"
    ),
    _prefixed("Telnyx", "KEY", r"[0-9A-F]{30,}(?:_[A-Za-z0-9]+)?", "KEY<X32>_<A22>", "Telnyx: API keys"),
    _prefixed("Facebook", "EAA", r"[A-Za-z0-9]{30,}", "EAA<A160>", "Meta: Access tokens"),
    _prefixed("Instagram", "IGAA IGQV", r"[\w-]{40,}", "IGQV<A120>", "Instagram Platform: Access tokens"),
    _prefixed("X", "AAAAAAAAAAAAAAAAAAAAA", r"[\w%]{30,}", "AAAAAAAAAAAAAAAAAAAAA<A80>", "X API: Bearer tokens"),
    _prefixed("LinkedIn", "WPL_AP1. AQX AQV", r"[\w.=-]{14,}", "WPL_AP1.<A16>.<A6>==", "LinkedIn: Authentication"),
    _prefixed("VK", "vk1.a.", r"[\w-]{40,}", "vk1.a.<B180>", "VK: Access token"),
    _prefixed("Mapbox", "sk.eyJ tk.eyJ", r"[\w-]{20,}\.[\w-]{16,}", "sk.eyJ<A60>.<B22>", "Mapbox: Access tokens"),
    _composed(
        "Asana",
        "1/|2/",
        r"(?<![\w/])[12]/\d{13,}(?:/\d{13,})?:[0-9a-f]{32}(?![A-Za-z0-9])",
        "2/<D16>/<D16>:<H32>",
        "Asana: Personal access token",
    ),
    _prefixed("ClickUp", "pk_", r"\d{6,9}_[A-Z0-9]{32}", "pk_<D8>_<U32>", "ClickUp: Authentication"),
    _prefixed("Linear", "lin_api_ lin_oauth_ lin_wh_", r"[A-Za-z0-9]{30,}", "lin_api_<A40>", "Linear: Authentication"),
    _prefixed("Figma", "figd_ figo_ figu_ figoh_", r"[\w-]{20,}", "figd_<B40>", "Figma: Personal access tokens"),
    _prefixed("Dropbox", "sl. sl.u.", r"[\w-]{60,}", "sl.<B138>", "Dropbox: OAuth guide"),
    _prefixed("Postman", "PMAK- PMAT-", r"[0-9a-f-]{24,}", "PMAK-<H24>-<H34>", "Postman: API keys"),
    _composed(
        "RapidAPI",
        "msh",
        r"(?<![A-Za-z0-9])[0-9a-f]{10}msh[0-9a-f]{15}p1[0-9a-f]{5}jsn[0-9a-f]{12}",
        "<H10>msh<H15>p1<H5>jsn<H12>",
        "RapidAPI: API keys",
    ),
    _prefixed("Typeform", "tfp_", r"[\w-]{30,}", "tfp_<B44>_<A14>", "Typeform: Personal access token"),
    _prefixed("Cal", "cal_live_ cal_", r"[0-9a-f]{32}", "cal_live_<H32>", "Cal.com: API keys"),
    _prefixed("ReadMe", "rdme_", r"[a-z0-9]{40,}", "rdme_<L70>", "ReadMe: API keys"),
    _composed(
        "Ghost", ":", r"(?<![A-Za-z0-9])[0-9a-f]{24}:[0-9a-f]{64}(?![A-Za-z0-9])", "<H24>:<H64>", "Ghost: Admin API"
    ),
    _prefixed("PubNub", "sec-c- sub-c- pub-c-", r"[\w-]{30,}", "sec-c-<A48>", "PubNub: Keysets"),
    _composed("Ably", ":", r"(?<![\w.-])[\w-]{6}\.[\w-]{6}:[\w-]{20,}(?![\w-])", "<A6>.<A6>:<B43>", "Ably: API keys"),
    _prefixed("Intercom", "dG9r", r"[A-Za-z0-9+/]{40,}={0,2}", "dG9r<A56>", "Intercom: Access tokens"),
    _prefixed("Salesforce", "00D", r"[A-Za-z0-9]{12,15}![\w.]{40,}", "00D<A12>!<A96>", "Salesforce: Session ID"),
    _composed("Okta", "00", r"(?<![\w-])00[\w-]{40}(?![\w-])", "00<B40>", "Okta: API tokens"),
    _prefixed("Stytch", "secret-live- secret-test- secret-", r"[\w-]{20,}=?", "secret-live-<B36>=", "Stytch: API keys"),
    _prefixed("Persona", "persona_", r"[\w-]{20,}", "persona_sandbox_<G>", "Persona: API keys"),
    _prefixed(
        "Onfido", "api_live. api_live_us. api_sandbox.", r"[\w.-]{20,}", "api_live.<A11>.<A32>", "Onfido: API tokens"
    ),
    _prefixed("Ory", "ory_pat_ ory_st_ ory_at_ ory_rt_ ory_wak_", r"[\w.-]{20,}", "ory_pat_<A32>", "Ory: API keys"),
    # Payments, shops and money
    _prefixed(
        "Stripe",
        "sk_live_ sk_test_ rk_live_ rk_test_ pk_live_ sk_prod_ sk_org_",
        r"[\w-]{10,}",
        "sk_live_<A24>",
        "Stripe: API keys",
    ),
    _prefixed(
        "webhook secret", "whsec_", r"[\w+/=]{20,}", "whsec_<A32>", "Stripe: Webhook signatures; Standard Webhooks"
    ),
    _prefixed("Square", "sq0atp- sq0csp- sq0idp- EAAA", r"[\w-]{20,}", "sq0csp-<B43>", "Square: Access tokens"),
    _prefixed(
        "Braintree",
        "access_token$",
        r"(?:production|sandbox)\$[0-9a-z]{16}\$[0-9a-f]{32}",
        "access_token$production$<L16>$<H32>",
        "Braintree: Credentials",
    ),
    _prefixed("Adyen", "AQE", r"[\w+/=]{40,}-[\w+/=]{30,}-.{8,20}", "AQE<A60>-<A44>=-<A16>", "Adyen: API credentials"),
    _prefixed(
        "Plaid",
        "access- public- link-",
        r"(?:sandbox|development|production)-[0-9a-f-]{36}",
        "access-sandbox-<G>",
        "Plaid: API tokens",
    ),
    _prefixed("Flutterwave", "FLWSECK", r"(?:_TEST)?-[\w-]{12,}", "FLWSECK-<H32>-X", "Flutterwave: Authentication"),
    _prefixed("Razorpay", "rzp_live_ rzp_test_", r"[A-Za-z0-9]{12,}", "rzp_live_<A14>", "Razorpay: API keys"),
    _prefixed(
        "Mollie, Lob, GoCardless",
        "live_ test_",
        r"[\w-]{24,}",
        "live_<A30>",
        "Mollie, Lob, GoCardless: API keys",
    ),
    _prefixed("Paddle", "pdl_live_ pdl_sdbx_", r"[\w-]{20,}", "pdl_live_apikey_<L26>_<A22>_<A3>", "Paddle: API keys"),
    _prefixed("EasyPost", "EZAK EZTK", r"[A-Za-z0-9]{50,}", "EZAK<A54>", "EasyPost: Authentication"),
    _prefixed(
        "Shippo, Duffel",
        "shippo_live_ shippo_test_ duffel_live_ duffel_test_",
        r"[\w-]{30,}",
        "shippo_live_<H40>",
        "Shippo: Authentication",
    ),
    _prefixed(
        "Shopify",
        "shpat_ shpca_ shppa_ shpss_ shptka_ shpua_",
        r"[0-9a-zA-Z_]{30,}",
        "shpat_<H32>",
        "Shopify: Authentication",
    ),
    _prefixed(
        "Coinbase",
        "organizations/",
        r"[0-9a-f-]{36}/apiKeys/[0-9a-f-]{36}",
        "organizations/<G>/apiKeys/<G>",
        "Coinbase: API keys",
    ),
    # Operations
    _prefixed("Grafana", "glsa_ glc_ glsat_", r"[\w+/=-]{24,}", "glsa_<A32>_<H8>", "Grafana: Service account tokens"),
    _prefixed(
        "New Relic", "NRAK- NRIQ- NRII- NRRA- NRJS- NRAL- NRAA-", r"[\w-]{19,}", "NRAK-<U27>", "New Relic: API keys"
    ),
    _composed(
        "New Relic licence",
        "NRAL",
        r"(?<![A-Za-z0-9])(?:eu01xx|us01xx|gov01xx)?[0-9a-f]{32,36}(?:FFFF)?NRAL",
        "<H36>NRAL",
        "New Relic: API keys",
    ),
    _prefixed("Sentry", "sntrys_ sntryu_ sntrya_ sntryi_", r"[\w+/=]{20,}", "sntryu_<H64>", "Sentry: Auth tokens"),
    _prefixed(
        "Datadog",
        "ddapp_ ddpat_ ddpub_ ddsat_",
        r"[A-Za-z0-9_]{20,}",
        "ddapp_<A34>",
        "Datadog: API and application keys",
    ),
    _prefixed(
        "Honeycomb",
        "hcaik_ hcxik_ hcbik_ hcalk_ hcamk_ hcxlk_",
        r"[A-Za-z0-9]{20,}",
        "hcaik_<L58>",
        "Honeycomb: API keys",
    ),
    _prefixed(
        "Dynatrace",
        "dt0c01. dt0s01. dt0s02. dt0s03. dt0s04. dt0s06. dt0s08. dt0s16.",
        r"[A-Z0-9]{8,24}\.[A-Z0-9]{40,}",
        "dt0c01.<U24>.<U64>",
        "Dynatrace: Token formats",
    ),
    _prefixed("PostHog", "phx_ phc_ phs_ pha_ phr_", r"[A-Za-z0-9]{30,}", "phx_<A43>", "PostHog: Personal API keys"),
    _prefixed("Honeybadger", "hbp_ hbd_", r"[A-Za-z0-9]{30,}", "hbp_<A36>", "Honeybadger: Authentication"),
    _anywhere(
        "PagerDuty", "u+", r"(?<![A-Za-z0-9])u\+[A-Za-z0-9_-]{18}(?!\w)", "u+<A18>", "PagerDuty: API access keys"
    ),
    _prefixed("Checkly", "cu_ hcw_ hcr_", r"[\w-]{24,}", "cu_<H32>", "Checkly: API keys"),
    _composed(
        "UptimeRobot",
        "u|m",
        r"(?<![A-Za-z0-9])[um]\d{5,10}-[0-9a-f]{24,32}(?![A-Za-z0-9])",
        "u<D7>-<H24>",
        "UptimeRobot: API",
    ),
    _prefixed("Frame.io", "fio-u- lok_", r"[\w-]{30,}", "fio-u-<B64>", "Frame.io: Developer tokens"),
    _prefixed("Adobe", "p8e-", r"[\w-]{30,}", "p8e-<B32>", "Adobe: OAuth credentials"),
    _prefixed(
        "Authress",
        "sc_ ext_ scauth_ authress_",
        r"[a-z0-9]{5,30}\.[a-z0-9]{4,6}\.acc[_-][a-z0-9-]{10,32}\.[\w+/=-]{30,}",
        "sc_<L20>.<L4>.acc_<L20>.<A43>",
        "Authress: Service clients",
    ),
    _prefixed(
        "SettleMint, Thunderstore",
        "sm_aat_ sm_pat_ sm_sat_ tss_",
        r"[A-Za-z0-9_]{16,}",
        "sm_aat_<A16>",
        "SettleMint: Access tokens",
    ),
)

_ARGUMENTS = r"(?:[ \t]{1,8}[^\s|;&]{1,80}+){0,12}?[ \t]{1,8}"  # of a command

_PLACES: Final = (
    # Private keys: PEM with its body (to the end, if it was cut), PuTTY, and base64 of PEM.
    _anywhere(
        "PEM",
        "private",
        r"(?s)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?.*?(?:-----END [A-Z0-9 ]{0,40}KEY(?: BLOCK)?-----|\Z)",
        "-----BEGIN RSA PRIVATE KEY-----\n<A64>\n-----END RSA PRIVATE KEY-----",
        "RFC 7468: Textual encodings",
    ),
    _anywhere(
        "SSH2",
        "private",
        r"(?s)BEGIN SSH2 ENCRYPTED PRIVATE KEY.*?(?:END SSH2 ENCRYPTED PRIVATE KEY|\Z)",
        "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n<A64>",
        "RFC 4716: Public key file format",
    ),
    _anywhere(
        "PuTTY",
        "putty-user-key-file-2 putty-user-key-file-3",
        r"(?s)PuTTY-User-Key-File-\d: .*?(?:Private-(?:MAC|Hash): ?[0-9a-f]+|\Z)",
        "PuTTY-User-Key-File-3: ssh-ed25519\n<A64>\nPrivate-MAC: <H64>",
        "PuTTY: PPK file format",
    ),
    _prefixed(
        "PEM in base64",
        "LS0tLS1CRUdJTiB",
        r"[\w+/]{40,}={0,2}",
        "LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0t<A64>",
        "Kubernetes: Secrets",
    ),
    _prefixed(
        "JWT",
        "eyJ",
        r"[\w-]{8,8192}\.[\w-]{8,}(?:\.[\w-]*){0,3}",
        "eyJ<A30>.eyJ<A60>.<A43>",
        "RFC 7519: JSON Web Token",
    ),
    _prefixed(
        "JSON in base64",
        "eyJhdXRo ewogICJ0eXBlIjog ewogICAg",
        r"[\w+/]{24,}={0,2}",
        "eyJhdXRocyI6<A60>",
        "Kubernetes: Pull an image from a private registry",
    ),
    # HTTP.
    _after(
        "bearer",
        "bearer",
        r"bearer[ \t,]{1,4}(?P<secret>(?=[\w.~+/=-]{0,64}\d)[\w.~+/=-]{8,})",
        "Bearer <A32>",
        "RFC 6750: Bearer token usage",
    ),
    _after(
        "basic",
        "basic",
        r"basic[ \t]{1,4}(?P<secret>(?=[\w+/]{0,64}[\d=])[\w+/]{8,}={0,2})",
        "Basic <A24>==",
        "RFC 7617: The Basic authentication scheme",
    ),
    # Command lines.
    _anywhere(
        "user option",
        "-u -a",
        r"-(?<=[\s'\"]-)[uUa][ \t]{0,3}=?['\"]?[^\s:'\"/]{1,80}:(?!\d{1,5}(?!\w))(?P<secret>[^\s'\"]+)",
        "curl -u joe:<A16> https://host.example",
        "curl: Manual page, --user",
    ),
    _after(
        "user option, long",
        "user proxy-user username auth creds login",
        r"(?:(?:proxy-)?user(?:name)?|auth|creds|login)[ \t=]{1,3}['\"]?[^\s:'\"/]{1,80}:(?P<secret>(?=\S{0,60}[\d!@#$%^&*+~?])[^\s'\"]{4,})",
        "curl --user joe:<A16> https://host.example",
        "curl: Manual page, --user",
    ),
    _after(
        "sshpass",
        "sshpass",
        r"sshpass[ \t]{1,8}-p[ \t]{0,8}['\"]?(?P<secret>[^\s'\"]+)",
        "sshpass -p <A12> ssh joe@h",
        "sshpass: Manual page",
    ),
    _after(
        "password option, attached",
        "mysql mysqldump mysqladmin mysqlimport mysqlsh mysqlcheck mysqlshow mariadb mariadb-dump 7z 7za unrar rar",
        r"[\w-]{2,14}" + _ARGUMENTS + r"-h?p(?!ass)['\"]?(?P<secret>[^\s'\"]{3,})",
        "mysql -u root -p<A12> app",
        "MySQL: Command-line client",
    ),
    _after(
        "password option",
        "login sqlcmd bcp mongo mongosh mongodump mongorestore mongoexport mongoimport cqlsh psexec ipmitool clickhouse-client"
        " influx twine zip unzip isql tsql xfreerdp impala-shell beeline",
        r"[\w-]{2,18}"
        + _ARGUMENTS
        + r"(?:-[pP](?!ass)|-pw|/p:)[ \t]{0,8}['\"]?(?P<secret>(?!\d{1,5}(?!\w))[^\s'\"-][^\s'\"]{2,})",
        "docker login -u joe -p <A16> registry.example",
        "Docker: docker login",
    ),
    _after(
        "other options",
        "redis-cli valkey-cli ldapsearch ldapmodify ldapadd ldapwhoami ldapdelete plink pscp psftp snmpwalk snmpget snmpset"
        " snmpbulkwalk security openssl ssh-keygen",
        r"[\w-]{4,14}" + _ARGUMENTS + r"-(?:a|w|pw|A|X|c|k|K|N)[ \t]{1,8}['\"]?(?P<secret>[^\s'\"-][^\s'\"]{2,})",
        "redis-cli -h host -a <A16> ping",
        "Redis: redis-cli",
    ),
    _after(
        "user and password",
        "smbclient lftp connect sqlplus expdp impdp sqlldr rman jdbc",
        r"(?:smbclient\b[^\n|]{0,120}?-U[ \t]{0,4}['\"]?[^\s%]{1,64}%|lftp\b[^\n|]{0,120}?-u[ \t]{0,4}['\"]?[^\s,]{1,64},"
        r"|jdbc:oracle:\w{1,8}:[^/\s]{1,64}/|(?:connect|sqlplus|expdp|impdp|sqlldr|rman)[ \t]{1,8}"
        r"(?:-\w{1,3}[ \t]{1,8}|target[ \t]{1,8}){0,3}['\"]?[\w.]{1,64}/)['\"]?(?P<secret>[^\s'\"@]{3,})",
        "smbclient //host/share -U joe%<A14>",
        "Samba: smbclient manual page",
    ),
    _anywhere(
        "password after a colon",
        "/p: /pw: pass: /password:",
        r"(?i)(?:[ \t]/(?:pass(?:word)?|p|pw):|[ \t=]pass:)(?=\S{0,40}\d)['\"]?(?P<secret>[^\s'\"]{3,})",
        "openssl rsa -in key.pem -passin pass:<A14>",
        "OpenSSL: Pass phrase options",
    ),
    _after(
        "password argument",
        "htpasswd wpa_passphrase alias vault cargo pypi-token add_user change_password net",
        r"(?:htpasswd[ \t]{1,8}(?:-\w{1,8}[ \t]{1,8}){1,4}(?:[\w./-]{1,120}[ \t]{1,8})?[\w.@-]{1,64}"
        r"|wpa_passphrase[ \t]{1,8}\S{1,64}|alias[ \t]set[ \t]\S{1,40}[ \t]\S{1,120}[ \t]\S{1,120}|(?:vault|cargo)[ \t]login|pypi-token\.\S{1,40}"
        r"|(?:add_user|change_password)[ \t]{1,8}\S{1,64}|net[ \t]user[ \t]{1,8}\S{1,64}"
        r"|net[ \t]use[ \t]{1,8}(?:\w:[ \t]{1,8})?\\\\\S{1,120})[ \t]{1,8}['\"]?(?P<secret>[^\s'\"/-][^\s'\"]{3,})",
        "htpasswd -b .htpasswd joe <A14>",
        "Apache: htpasswd",
    ),
    _after(
        "password through a pipe",
        "echo printf",
        r"(?:echo|printf)[ \t]{1,8}(?:-\w{1,3}[ \t]{1,8})?(?P<quote>['\"]?)(?:[\w.-]{1,40}:)?(?P<secret>[^\s'\"|$]{4,}?)"
        r"(?:\\n)?(?P=quote)[ \t]{0,8}\|[ \t]{0,8}[^\n|]{0,80}?(?:sudo|--password|passw|-stdin|login|cryptsetup|chpasswd|gpg)",
        "echo <A16> | docker login --password-stdin",
        "Docker: docker login",
    ),
    _after(
        "secure string",
        "convertto-securestring",
        r"convertto-securestring[ \t]{1,8}(?:-\w{1,12}[ \t]{1,8}){0,2}['\"](?P<secret>[^'\"\n]{3,})",
        "ConvertTo-SecureString '<A14>' -AsPlainText",
        "PowerShell: ConvertTo-SecureString",
    ),
    _anywhere(
        "here string",
        "<<<",
        r"<<<[ \t]{0,4}['\"]?(?P<secret>(?=[^\s'\"$]{0,40}\d)[^\s'\"$]{6,})",
        "sudo -S ls <<< <A14>",
        "Bash: Here strings",
    ),
    # Databases.
    _after(
        "SQL",
        "identified",
        r"identified[ \t\n]{1,8}(?:by(?:[ \t\n]{1,8}(?:password|values))?[ \t\n]{1,8}['\"]?"
        r"|(?:with[ \t\n]{1,8}\S{1,40}[ \t\n]{1,8})?(?:by|as)[ \t\n]{1,8}['\"])(?P<secret>(?=[^\s;'\"]{0,60}[\d!@#$%^&*+~?])[^\s;'\"]{3,128})",
        "CREATE USER joe IDENTIFIED BY '<A14>'",
        "MySQL: CREATE USER",
    ),
    *(
        _after(
            f"SQL insert, column {column + 1}",
            "insert",
            rf"insert[ \t\n]{{1,8}}into[ \t\n]{{1,8}}[^\s(]{{1,80}}[ \t\n]{{0,8}}\([^(),]{{0,60}}(?:,[^(),]{{0,60}}){{{column}}}"
            r"(?:(?<=password)|(?<=passwd)|(?<=token)|(?<=secret)|(?<=api_key))[\"`\]]?[ \t\n]{0,8}[,)][^()]{0,400}values[ \t\n]{0,8}\("
            rf"(?:[^(),]{{0,200}},){{{column}}}[ \t\n]{{0,8}}N?'(?P<secret>[^'\n]{{3,256}})'",
            "INSERT INTO users (" + "name, " * column + "password) VALUES (" + "'x', " * column + "'<A14>')",
            "PostgreSQL: INSERT",
        )
        for column in range(8)
    ),
    _after(
        "SQL literal",
        "password secret key_id passphrase session_token aws_secret_key",
        r"\w{6,14}(?:[ \t]for[ \t][^\s=]{1,80})?[ \t\n]{0,8}[=(]?[ \t\n]{0,8}(?:password\()?N?'(?P<secret>(?=[^'\n]{0,60}[\d!@#$%^&*+~?])[^'\n]{5,256})'",
        "ALTER ROLE joe PASSWORD '<A14>'",
        "PostgreSQL: ALTER ROLE",
    ),
    _after(
        "call with a user and a password",
        "login basicauth httpbasicauth basic_auth getconnection pdo mysqli mysqli_connect pg_connect networkcredential"
        " pscredential passwordauthentication usernamepasswordcredential authenticate setcredentials sp_addlogin",
        r"\w{3,28}(?:\(|[ \t])(?:[^()\n'\",]{0,80},|[ \t]{0,4}['\"][^'\"\n]{0,120}['\"][ \t]{0,4},){1,4}[ \t]{0,4}['\"]"
        r"(?P<secret>(?=[^'\"\n]{0,60}\d)[^'\"\s/]{5,128})['\"][ \t]{0,4}(?:\)|$)",
        "smtp.login('joe', '<A16>')",
        "Python: smtplib",
    ),
    _after(
        "SQL functions",
        "crypt",
        r"crypt\([ \t]{0,8}'(?P<secret>[^'\n]{3,128})'",
        "crypt('<A14>', gen_salt('bf'))",
        "PostgreSQL: pgcrypto",
    ),
    _after(
        "SQL functions, key",
        "pgp_sym_encrypt pgp_sym_decrypt aes_encrypt aes_decrypt encryptbypassphrase",
        r"\w{8,24}\([^()'\n]{0,60}(?:'[^'\n]{0,120}')?(?:,[ \t]{0,8})?'(?P<secret>[^'\n]{3,128})'",
        "pgp_sym_encrypt(name, '<A14>')",
        "PostgreSQL: pgcrypto",
    ),
    _anywhere(
        "driver address",
        "tcp unix udp",
        r":(?P<secret>[^\s:]{1,128})@(?:tcp|unix|udp)\(",
        "joe:<A14>@tcp(db.example:3306)/app",
        "Go MySQL driver: DSN",
    ),
    _composed(
        "address without a scheme",
        "@",
        r"(?<![\w/.:@%-])(?!mailto:|npm:|pkg:|git:)[A-Za-z][\w.-]{0,63}:(?P<secret>(?=[^\s@:/]{0,60}\d)[^\s:'\"<>@/]{6,128})@"
        r"[A-Za-z][\w.-]{0,100}(?::\d{2,5}|/)",
        "joe:<A20>@db.example:5432/app",
        "SQLAlchemy: Database URLs",
    ),
    _anywhere(
        "pgpass",
        ":5432: :*:",
        r"(?m)^[\w.*-]{1,80}:(?:\d{1,5}|\*):[\w.*-]{1,64}:[\w.*-]{1,64}:(?P<secret>\S{3,})$",
        "db.example:5432:app:joe:<A14>",
        "PostgreSQL: The password file",
    ),
    _anywhere(
        "password hash",
        ":$",
        r"(?m)^[\w.-]{1,64}:(?P<secret>\$(?:apr1|2[aby]|5|6|7|y|1|argon2\w{1,2})\$[^\s:]{12,})",
        "joe:$6$<A16>$<A86>",
        "Linux: shadow(5)",
    ),
    _anywhere(
        "directory password",
        "ssha ssha256 ssha512 sha sha256 sha512 md5 smd5 crypt",
        r"\{(?:S?SHA\d{0,3}|S?MD5|CRYPT|PBKDF2\S{0,12})\}(?P<secret>[\w+/=$.]{16,})",
        "{SSHA}<A40>",
        "OpenLDAP: Password storage",
    ),
    # Files.
    _after(
        "netrc",
        "login account machine",
        r"(?:login|account|machine)[ \t\n]{1,8}\S{1,100}[ \t\n]{1,8}(?:login[ \t\n]{1,8}\S{1,100}[ \t\n]{1,8})?"
        r"(?:password|passwd)[ \t\n]{1,8}(?P<secret>(?=\S{0,60}[\d!@#$%^&*+~?_])[^\s.,]{4,})",
        "machine h login joe password <A14>",
        "GNU Inetutils: The .netrc file",
    ),
    _after(
        "community",
        "community",
        r"community[ \t]{1,8}(?P<secret>(?=\S{0,60}\d)[^\s'\"=:]{5,})",
        "snmp-server community <A14>",
        "Cisco IOS: SNMP configuration",
    ),
    _after(
        "user in a configuration",
        "user username userpwd proxy-user proxyuser login credential credentials auth",
        r"[\w-]{4,12}[\"']?[ \t]{0,8}(?:[=:]|=>|[ \t])[ \t]{0,8}['\"]?[\w.@-]{1,64}:(?!//)"
        r"(?P<secret>(?=[^\s'\"]{0,60}\d)(?=[^\s'\"]{0,60}[A-Za-z])[^\s'\",;(){}<>\[\]]{6,})",
        "user = joe:<A14>",
        "curl: Config files",
    ),
    _anywhere(
        "Kubernetes secret",
        "secret",
        r"kind:[ \t]{0,8}Secret\b(?:(?!\n---)[^\0]){0,600}?\n(?:stringData|data):[ \t]{0,8}\n(?P<secret>(?:[ \t]+[^\n]+(?:\n|\Z))+)",
        "kind: Secret\ndata:\n  tls.key: <A64>\n",
        "Kubernetes: Secrets",
    ),
    _anywhere(
        "Kubernetes secret, kind last",
        "secret",
        r"(?m)^(?:stringData|data):[ \t]{0,8}\n(?P<secret>(?:[ \t]+[^\n]+\n){1,64})kind:[ \t]{0,8}Secret\b",
        "data:\n  tls.key: <A64>\nkind: Secret",
        "Kubernetes: Secrets",
    ),
    _anywhere(
        "wireless network",
        "wifi",
        r"WIFI:[^\s]{0,120}?;?P:(?P<secret>[^;\s]{3,128})",
        "WIFI:T:WPA;S:home;P:<A14>;;",
        "ZXing: Barcode contents",
    ),
)

RANDOM: Final = Rule(
    "a random word",
    "word",
    (),
    r"(?<![A-Za-z0-9_~+/-])[A-Za-z0-9_~+/-]{20,}",
    "Xq<A38>4z",
    "Base62 and base64url: Keys of any issuer, with a prefix or without",
)
"""A word that looks random. Its expression only finds it; code judges it, because an ID is no secret."""

RULES: Final = (*_PLACES, *_VENDORS, RANDOM)
"""All rules, in the order in which they are tried."""
# fmt: on
