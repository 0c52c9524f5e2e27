"""Where a sink's requests go: what a configured URL means for a signal."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

Signal = Literal["traces", "logs"]


def signal_of(endpoint: str) -> Signal:
    """Return which signal an endpoint takes: logs if its path ends in /v1/logs, else traces."""
    return "logs" if urlsplit(endpoint).path.rstrip("/").endswith("/v1/logs") else "traces"


def url_for(endpoint: str, signal: Signal) -> str:
    """Return the URL to post `signal` to: a base URL gets the signal's path (OTLP exporter specification).

    Raises ValueError if the endpoint is for the other signal.
    """
    parts = urlsplit(endpoint)
    path = parts.path.rstrip("/")
    for named in ("traces", "logs"):
        if path.endswith(f"/v1/{named}"):
            if named != signal:
                raise ValueError(f"endpoint: {endpoint} takes {named}, but the chain's last processor makes {signal}")
            return endpoint
    return parts._replace(path=f"{path}/v1/{signal}").geturl()
