"""The template of the route that served a request: from the application's own table, never from the path."""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from automagik_telemetry.events._names import declare_if_open

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, MutableMapping

UNMATCHED = "unmatched"
_MAX_ROUTES = 10_000
"""Maximum number of routes that are read, because an application may have an endless table."""
_ROUTES_PER_REQUEST = 64
"""Number of routes that a request to an unknown endpoint may read on average."""


class _Known(NamedTuple):
    endpoint: object  # held, so that its id stays its own
    templates: tuple[str, ...]

    def has(self, ending: str) -> bool:
        """Return whether one of the first templates ends so. Those of mounted routes begin with a prefix."""
        return any(template.endswith(ending) for template in self.templates[:_ROUTES_PER_REQUEST])

    def matches(self, path: str) -> bool:
        """Return whether one of the first templates matches a path."""
        return any(_pattern(template).fullmatch(path) for template in self.templates[:_ROUTES_PER_REQUEST])

    def template(self, path: str) -> str:
        """Return the template that a path matches; the only one, if there are no others."""
        if len(self.templates) == 1:
            return self.templates[0]
        first = self.templates[:_ROUTES_PER_REQUEST]
        return next((template for template in first if _pattern(template).fullmatch(path)), UNMATCHED)


class Routes:
    """The templates of an application: those of Starlette's and FastAPI's tables, with the prefixes of their mounts.

    `app` is what the middleware wraps. The table is read once, and its templates are declared if the allowlist is
    open then. A route that is added later has a template that is not declared, so it is sent as a hash.
    """

    def __init__(self, app: object) -> None:
        self._app = app
        self._known: dict[int, _Known] = {}
        self._late: dict[int, _Known] = {}
        self._by_route: dict[int, _Known] = {}
        self._ordered: list[str] | None = None
        self._size = self._credit = 0

    def declare(self, outer: object) -> None:
        """Read the table and declare its templates, unless it was read before."""
        if self._ordered is None:
            self._read(outer)

    def templates(self) -> list[str]:
        """Return the templates of the table of the application inside, as it is now."""
        return [template for _, _, template in islice(_walk(_table(self._app), ""), _MAX_ROUTES)]

    def template(self, scope: MutableMapping[str, Any], outer: object, path: str) -> str:
        """Return the template for a request that was served, or "unmatched".

        `outer` is the application and `path` the path without the server's prefix, both from the original scope.
        """
        self.declare(outer)
        endpoint, route = scope.get("endpoint"), scope.get("route")
        template = getattr(route, "path", None)
        if not isinstance(template, str):
            template = None
        if endpoint is None:
            return UNMATCHED if template is None else template
        if route is not None and (found := self._by_route.get(id(route))) is not None:
            return found.templates[0]
        known = self._known.get(id(endpoint))
        if known is not None and (known.has(template) if template else known.matches(path)):
            return known.template(path)
        if template and not getattr(route, "routes", None):  # a later route, perhaps to a known endpoint
            return template
        return self._look_up(endpoint, outer, path)

    def matching(self, outer: object, path: str) -> str:
        """Return the template that a path matches, for a request whose route was not observed."""
        self.declare(outer)
        return next((each for each in self._ordered or () if _pattern(each).fullmatch(path)), UNMATCHED)

    def _look_up(self, endpoint: object, outer: object, path: str) -> str:
        """Return the template of an endpoint that was not in the table with a template for this path.

        The table is read again at the first such request, and then once for every `size / _ROUTES_PER_REQUEST` of
        them: a single one may read it all, but their average does not grow with the table.
        """
        found = self._late.get(id(endpoint))
        if found is None or not found.matches(path):
            self._credit += _ROUTES_PER_REQUEST
            if self._credit < self._size:
                return UNMATCHED
            self._credit = 0
            self._late = self._entries(outer)
            found = self._late.setdefault(id(endpoint), _Known(endpoint, ()))
        return found.template(path)

    def _read(self, outer: object) -> None:
        """Read the application's table."""
        self._known = self._entries(outer)
        self._credit = self._size
        everything = {template for known in self._known.values() for template in known.templates}
        for template in everything:
            declare_if_open(template)
        self._ordered = sorted(everything, key=_generality)

    def _entries(self, outer: object) -> dict[int, _Known]:
        found: dict[int, tuple[object, list[str]]] = {}
        self._size = 0
        for route, each, template in islice(_walk(_table(outer) or _table(self._app), ""), _MAX_ROUTES):
            self._size += 1
            found.setdefault(id(each), (each, []))[1].append(template)
            if self._ordered is None:
                self._by_route[id(route)] = _Known(route, (template,))
        return {
            key: _Known(each, tuple(sorted(dict.fromkeys(templates), key=_generality)))
            for key, (each, templates) in found.items()
        }


def _table(app: object) -> Iterable[Any]:
    """Return the routes of an application, or of the one that it wraps."""
    for _ in range(100):  # layers of middleware, which may form a cycle
        routes = getattr(app, "routes", None)
        if routes is not None:
            return list(islice(routes, _MAX_ROUTES))
        if (app := getattr(app, "app", None)) is None:
            break
    return ()


def _walk(routes: Iterable[Any], prefix: str) -> Iterator[tuple[object, object, str]]:
    """Yield each route with its endpoint and its template."""
    for route in _flat(routes):
        path = prefix + (getattr(route, "path", None) or "")
        within = getattr(route, "routes", None)
        endpoint = getattr(route, "endpoint", None)
        if endpoint is not None:
            yield route, endpoint, path
        elif within:
            yield from _walk(within, path)
        elif hasattr(route, "app"):
            yield route, route.app, path


def _flat(routes: Iterable[Any]) -> Iterable[Any]:
    """Return the routes with those of included routers, which newer versions of FastAPI keep apart."""
    flat = getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", None)
    return routes if flat is None else flat(routes)


def _generality(template: str) -> tuple[int, int, int, str]:
    """Return the sort key that puts specific templates first: by depth, then by the fewest placeholders."""
    return -template.count("/"), template.count("{"), -len(template), template


@lru_cache(_MAX_ROUTES)
def _pattern(template: str) -> re.Pattern[str]:
    """Return the pattern of a template's paths, and of those below it if something is mounted there."""
    parts = re.split(r"(\{[^}]*\})", template)
    pattern = "".join(
        (".*" if part.endswith(":path}") else "[^/]+") if part[:1] == "{" else re.escape(part) for part in parts
    )
    return re.compile(pattern + "(?:/.*)?")
