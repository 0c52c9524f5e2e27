"""The version of the distribution that a package belongs to, without `importlib.metadata`.

The import of `importlib.metadata` takes 20 ms, and its `packages_distributions` another 100 ms. This module lists the
directories of `sys.path`, and reads few files.
"""

from __future__ import annotations

import json
import os
import re
import sys
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from automagik_telemetry._descriptors import standard_descriptors_kept
from automagik_telemetry.settings import MAX_NAME_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_DISTRIBUTIONS = 2_000
_MAX_BYTES = 1_000_000


@cache
def version_of(package: str | None) -> str | None:
    """Return the version of the distribution that a top-level package belongs to, or None."""
    if package is None or package in sys.stdlib_module_names:
        return None
    try:
        with standard_descriptors_kept():
            return _version_at(os.path.realpath(_place(package) or ""), package)
    except Exception:  # metadata of other distributions, in any state
        return None


def _version_at(place: str, package: str) -> str | None:
    if not os.path.exists(place):  # in a zip
        return None
    infos = list(_infos(package))
    for is_owner in (_is_named_like, _lists, _is_editable):
        for info in infos:
            if is_owner(info, package, place) and (version := _version(info)):
                return version
    return None


def _place(package: str) -> str | None:
    """Return the file of a module, or the directory of a package."""
    module = sys.modules.get(package)
    paths = list(getattr(module, "__path__", None) or ())
    found = paths[0] if paths else getattr(module, "__file__", None)
    return found if isinstance(found, str) else None


def _infos(package: str) -> Iterator[str]:
    """Yield the directories of metadata on `sys.path`, those named after the package first."""
    found = []
    for folder in dict.fromkeys(os.path.realpath(entry) for entry in sys.path if isinstance(entry, str)):
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        found += [os.path.join(folder, name) for name in names if name.endswith((".dist-info", ".egg-info"))]
    ordered = sorted(found, key=lambda path: _normalized(package) not in _normalized(os.path.basename(path)))
    yield from ordered[:_MAX_DISTRIBUTIONS]


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _has_name(info: str, package: str) -> bool:
    stem = os.path.basename(info).rpartition(".")[0]
    return _normalized(stem.partition("-")[0]) == _normalized(package)


def _is_named_like(info: str, package: str, place: str) -> bool:
    """Return whether metadata has the name of the package, and is installed with it or refers to its source."""
    return _has_name(info, package) and (_is_beside(info, place) or _is_editable(info, package, place))


def _lists(info: str, package: str, place: str) -> bool:
    """Return whether metadata lists the package as its own."""
    if not _is_beside(info, place):
        return False
    if package.encode() in _read(info, "top_level.txt").split():
        return True
    lines = b"\n" + _read(info, "RECORD")
    return f"\n{package}/".encode() in lines or f"\n{package}.py,".encode() in lines


def _is_editable(info: str, _package: str, place: str) -> bool:
    """Return whether metadata is that of an editable installation of the source at `place`."""
    text = _read(info, "direct_url.json")
    if b'"editable"' not in text:
        return False
    root = os.path.realpath(unquote(urlsplit(json.loads(text)["url"]).path))
    return place.startswith(root + os.sep)


def _is_beside(info: str, place: str) -> bool:
    return bool(place) and os.path.dirname(info) == os.path.dirname(place)


def _read(info: str, name: str) -> bytes:
    try:
        with open(os.path.join(info, name), "rb", buffering=0) as file:
            return file.read(_MAX_BYTES)
    except OSError:
        return b""


def _version(info: str) -> str | None:
    found = re.search(rb"^Version: *(\S+)", _read(info, "METADATA") or _read(info, "PKG-INFO"), re.MULTILINE)
    version = found.group(1)[:MAX_NAME_CHARACTERS].decode() if found else ""
    return version if version.isprintable() and version else None
