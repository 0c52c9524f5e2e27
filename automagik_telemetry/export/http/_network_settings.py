"""Proxies and trusted certificates as the environment sets them, as curl and requests read it.

Where the two differ:

- HTTP_PROXY counts in upper case too, as in requests, unless this is a CGI script.
- A port in NO_PROXY is compared, as in requests; the port that a scheme implies counts as one.
- NO_PROXY may hold IPv6 networks, and the end of an IP address is not taken for a domain, as in curl.
- SSL_CERT_FILE and SSL_CERT_DIR count, as in curl; without them REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE, as in requests.

A setting that can't be used is an error that names the variable. It is never ignored: otherwise a request would go past
the proxy, or certificates would be trusted that the user did not choose.
"""

from __future__ import annotations

import errno
import importlib.util
import ipaddress
import os
import re
import ssl
import urllib.request
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httpx

_MAX_PATH: Final = 100  # characters that are shown
_PORT_LIMIT: Final = 65_536
_PORTS: Final = {"http": 80, "https": 443}
_BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
TRUST: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", *_BUNDLES)
"""Variables that name trusted certificates."""


class ProxySetting(NamedTuple):
    """A proxy, and the variable that names it."""

    variable: str
    url: httpx.URL


def proxy_for(url: str) -> ProxySetting | None:
    """Return the proxy for a URL; None if there is none.

    Raises:
        httpx.ProxyError: The variable names one that can't be used.
    """
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    name = next((name for name in (parts.scheme, "all") if proxies.get(name, "").strip()), None)
    host = parts.hostname or ""
    if name is None or is_excluded(host, parts.port or _PORTS[parts.scheme], proxies.get("no", "")):
        return None
    if not urllib.request.getproxies_environment() and urllib.request.proxy_bypass(host):  # of Windows and macOS
        return None
    return _checked(_variable(f"{name}_proxy"), proxies[name].strip())


def is_excluded(host: str, port: int, no_proxy: str) -> bool:
    """Return whether NO_PROXY names a host: itself, a domain above, its address or network, each with a port or not."""
    host = host.lower().rstrip(".")
    address = _address(host)
    return any(_matches(entry, host, address, port) for entry in re.split(r"[,\s]+", no_proxy.lower()) if entry)


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _matches(entry: str, host: str, address: _Address | None, port: int) -> bool:
    if entry == "*":
        return True
    found = re.fullmatch(r"(\[.*\]|[^:]*):(\d+)", entry)
    if found is not None:
        if int(found[2]) != port:
            return False
        entry = found[1]
    entry = entry.strip("[]")
    if address is None:
        domain = entry.strip(".")
        return bool(domain) and (host == domain or host.endswith(f".{domain}"))
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _variable(name: str) -> str:
    """Return the variable of the environment that sets a proxy, in lower case if there are two, as `getproxies`."""
    if os.environ.get(name):
        return name
    return next((known for known in os.environ if known.lower() == name), "the system's settings")


def _checked(variable: str, text: str) -> ProxySetting:
    url = _url(text)
    if url is None:  # without the text, which may hold a password
        raise httpx.ProxyError(f"{variable} is not a usable proxy: it is not a URL such as http://proxy:3128")
    if url.scheme not in {"http", "https", "socks5", "socks5h"}:
        raise httpx.ProxyError(
            f"{variable} is not a usable proxy: it begins with {url.scheme[:20]}://; "
            "allowed are http://, https://, socks5:// and socks5h://"
        )
    if url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise httpx.ProxyError(
            f"{variable} is not a usable proxy: {url.scheme}:// needs the package socksio (pip install 'httpx[socks]')"
        )
    return ProxySetting(variable, url)


def _url(text: str) -> httpx.URL | None:
    """Return the URL of a proxy, whose scheme is http if it has none; None if it is not valid."""
    try:
        url = httpx.URL(text if "://" in text else f"http://{text.lstrip('/')}")
    except (httpx.InvalidURL, ValueError, TypeError):
        return None
    usable = bool(url.host) and 0 < (url.port or 1) < _PORT_LIMIT and re.search(r"[\s%]", url.host) is None
    return url if usable else None


def trusted() -> ssl.SSLContext:
    """Return a context that trusts the certificates which the environment names, else those of certifi.

    It is kept, because reading them takes 30 ms and half a megabyte; `forget_trusted` lets it be read anew.

    Raises:
        httpx.ConnectError: A variable names none that can be read.
    """
    return _trusted(*map(os.environ.get, TRUST))


def forget_trusted() -> None:
    """Read the trusted certificates anew, at the next connection."""
    _trusted.cache_clear()


@lru_cache(maxsize=1)
def _trusted(file: str | None, directory: str | None, *bundles: str | None) -> ssl.SSLContext:
    named = [(variable, path) for variable, path in zip(TRUST, (file, directory), strict=False) if path]
    if not named:
        named = [(variable, path) for variable, path in zip(_BUNDLES, bundles, strict=True) if path][:1]
    if not named:
        return httpx.create_ssl_context(trust_env=False)
    context = _read(*named[0])
    for variable, path in named[1:]:
        _add(context, variable, path)
    return context


def _read(variable: str, path: str) -> ssl.SSLContext:
    """Return a context that trusts what a variable names, and nothing else."""
    try:
        if _are_directories(variable, path):
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise _unreadable(variable, path, error) from error


def _add(context: ssl.SSLContext, variable: str, path: str) -> None:
    try:
        context.load_verify_locations(**({"capath": path} if _are_directories(variable, path) else {"cafile": path}))
    except OSError as error:
        raise _unreadable(variable, path, error) from error


def _are_directories(variable: str, path: str) -> bool:
    """Return whether a path, or a list of them, is of directories. Raises OSError if none of these can be listed."""
    if variable != "SSL_CERT_DIR" and not os.path.isdir(path):
        return False
    listed = [place for place in path.split(os.pathsep) if os.path.isdir(place)]
    if not listed:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if not any(os.listdir(place) for place in listed):
        raise FileNotFoundError(errno.ENOENT, "the directory is empty")
    return True


def _unreadable(variable: str, path: str, error: OSError) -> httpx.ConnectError:
    reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror or type(error).__name__
    return httpx.ConnectError(f"{variable}={path[:_MAX_PATH]} names no certificates that can be read: {reason}")
