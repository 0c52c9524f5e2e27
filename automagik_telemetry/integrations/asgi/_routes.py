"""The template of the route that served a request: from the application's own table, never from the path."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from automagik_telemetry.events._allowlist import declare

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, MutableMapping

UNMATCHED = "unmatched"
_MAX_UNKNOWN = 1_000
"""Endpoints that stand in no table, as of a framework that makes one for each request, which are remembered."""


class _Known(NamedTuple):
    endpoint: object  # held, so that its id stays its own
    templates: tuple[str, ...]


class Routes:
    """The templates of an application: those of Starlette's and FastAPI's tables, with what they are mounted under.

    `app` is what the middleware wraps. The table is read once, and again when an endpoint is not in it.
    """

    def __init__(self, app: object) -> None:
        self._app = app
        self._known: dict[int, _Known] = {}
        self._ordered: list[str] | None = None

    def template(self, scope: MutableMapping[str, Any], outer: object, path: str) -> str:
        """Return the template for a request that was served, or "unmatched".

        `outer` is the application and `path` the path without the server's prefix, both as the scope said at first.
        """
        endpoint = scope.get("endpoint")
        if endpoint is None:
            template = getattr(scope.get("route"), "path", None)
            return _declared(template) if isinstance(template, str) else UNMATCHED
        known = self._known.get(id(endpoint)) or self._look_up(endpoint, outer)
        if not known.templates:
            return UNMATCHED
        if len(known.templates) == 1:
            return known.templates[0]
        return next((each for each in known.templates if _pattern(each).fullmatch(path)), known.templates[0])

    def matching(self, outer: object, path: str) -> str:
        """Return the template that a path matches, for a request that no route was seen to serve."""
        if self._ordered is None:
            self._read(outer)
        return next((each for each in self._ordered or () if _pattern(each).fullmatch(path)), UNMATCHED)

    def _look_up(self, endpoint: object, outer: object) -> _Known:
        if len(self._known) > _MAX_UNKNOWN:
            self._known.clear()
        self._read(outer)
        return self._known.setdefault(id(endpoint), _Known(endpoint, ()))

    def _read(self, outer: object) -> None:
        """Read the application's table."""
        found: dict[int, tuple[object, list[str]]] = {}
        for each, template in _walk(_table(outer) or _table(self._app), ""):
            found.setdefault(id(each), (each, []))[1].append(_declared(template))
        for key, (each, templates) in found.items():
            self._known[key] = _Known(each, tuple(sorted(dict.fromkeys(templates), key=_generality)))
        everything = {template for _, templates in found.values() for template in templates}
        self._ordered = sorted(everything, key=_generality)


def _table(app: object) -> Iterable[Any]:
    """Return the routes of an application, or of the one that it wraps."""
    for _ in range(100):  # of layers of middleware; it might go in a circle
        routes = getattr(app, "routes", None)
        if routes is not None:
            return list(routes)
        if (app := getattr(app, "app", None)) is None:
            break
    return ()


def _walk(routes: Iterable[Any], prefix: str) -> Iterator[tuple[object, str]]:
    """Yield each endpoint with its template."""
    for route in _flat(routes):
        path = prefix + (getattr(route, "path", None) or "")
        within = getattr(route, "routes", None)
        endpoint = getattr(route, "endpoint", None)
        if endpoint is not None:
            yield endpoint, path
        elif within:
            yield from _walk(within, path)
        elif hasattr(route, "app"):
            yield route.app, path


def _flat(routes: Iterable[Any]) -> Iterable[Any]:
    """Return the routes with those of included routers, which newer versions of FastAPI keep apart."""
    flat = getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", None)
    return routes if flat is None else flat(routes)


def _generality(template: str) -> tuple[int, int, int, str]:
    """Return what puts one template before another that takes in its paths: first the deep ones, and those of words."""
    return -template.count("/"), template.count("{"), -len(template), template


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """Return what matches the paths of a template, and those below it if something is mounted there."""
    parts = re.split(r"(\{[^}]*\})", template)
    pattern = "".join(
        (".*" if part.endswith(":path}") else "[^/]+") if part[:1] == "{" else re.escape(part) for part in parts
    )
    return re.compile(pattern + "(?:/.*)?")


def _declared(template: str) -> str:
    """Declare a template, which is code, if it can be; else it leaves as a hash."""
    with suppress(ValueError):
        declare(template)
    return template
