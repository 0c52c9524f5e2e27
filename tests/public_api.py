"""The public surface as text: `python -m tests.public_api` writes it to public_api.txt, which a test compares with.

A name is public if it and the path of its module have no leading underscore, and `__all__` lists it where there is one.
Of `automagik_telemetry.cli` the commands and options are public, and of `automagik_processors` what it exports.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, is_typeddict

import click
import yaml

import automagik_processors
import automagik_telemetry
from automagik_telemetry import cli, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

SNAPSHOT = Path(__file__).with_name("public_api.txt")
ROOT = Path(__file__).parent.parent
OURS = ("automagik_telemetry", "automagik_processors")
MAX_DEFAULT = 60
"""Characters of a default value that are shown."""


class Public(NamedTuple):
    """A public name: its path, the object, and whether it was listed before under another path."""

    path: str
    value: Any
    first: str


@cache
def modules() -> list[ModuleType]:
    """Return the public modules, the two packages first."""
    found = pkgutil.walk_packages(automagik_telemetry.__path__, "automagik_telemetry.")
    names = [
        each.name for each in found if "._" not in each.name and not each.name.startswith("automagik_telemetry.cli")
    ]
    return [automagik_telemetry, automagik_processors, *map(importlib.import_module, sorted(names))]


def exports(module: ModuleType) -> list[str]:
    """Return the public names of a module, sorted."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed)
    own = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return sorted(
        name
        for name, value in own.items()
        if getattr(value, "__module__", None) == module.__name__ and not isinstance(value, TypeVar)
    )


def names() -> Iterator[Public]:
    """Yield every public name."""
    seen: dict[int, str] = {}
    for module in modules():
        for name in exports(module):
            value, path = getattr(module, name), f"{module.__name__}.{name}"
            yield Public(path, value, seen.get(id(value), path))
            if isinstance(value, type) or inspect.isroutine(value):
                seen.setdefault(id(value), path)


@cache
def base(kind: type) -> type | None:
    """Return the class of ours that a class extends, if that is public."""
    public = {id(value) for _, value, _ in names()}
    return next((each for each in kind.__mro__[1:] if id(each) in public), None)


def members(kind: type) -> dict[str, Any]:
    """Return the public methods, properties and class attributes of a class that its public base doesn't have."""
    inherited = _all_members(outer) if (outer := base(kind)) is not None else {}
    found = _all_members(kind)
    return {name: value for name, value in sorted(found.items()) if not _same(value, inherited.get(name))}


def _all_members(kind: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in reversed(kind.__mro__):
        if each.__module__.partition(".")[0] in OURS:
            listed = {name: value for name, value in vars(each).items() if not name.startswith("_")}
            found |= listed | ({"__call__": each.__call__} if "__call__" in vars(each) else {})
    return found


def _same(value: Any, inherited: Any) -> bool:
    """Return whether a member of a class is declared as its base declares it."""
    if callable_(value) and callable_(inherited):
        return signature(inspect.unwrap(value)) == signature(inspect.unwrap(inherited))
    return value is inherited


def docstring(value: Any) -> str:
    """Return the docstring of a function or method; of a class, with that of its constructor."""
    said = [
        inspect.getdoc(value),
        inspect.getdoc(inspect.getattr_static(value, "__init__")) if isinstance(value, type) else None,
    ]
    return "\n\n".join(filter(None, said))


def callables() -> dict[str, Any]:
    """Return every public function, class and method by its path."""
    found: dict[str, Any] = {}
    for path, value, first in names():
        if path != first:
            continue
        if isinstance(value, type) or inspect.isroutine(value):
            found[path] = value
        if isinstance(value, type):
            methods = [name for name, each in members(value).items() if callable_(each) and not name.startswith("_")]
            found |= {f"{path}.{name}": getattr(value, name) for name in methods}
    return found


def arguments(value: Any) -> list[str]:
    """Return the names of the arguments of a function, method or class, as they are called; [] for a TypedDict."""
    if is_typeddict(value) or _is_plain_exception(value):
        return []
    parameters = list(inspect.signature(value).parameters.values())
    return [str(each.replace(default=each.empty, annotation=each.empty)) for each in parameters if each.name != "self"]


def returns_something(value: Any) -> bool:
    """Return whether a function or method returns something other than None."""
    if isinstance(value, type):
        return False
    return inspect.signature(value).return_annotation not in (None, "None", inspect.Signature.empty)


def _is_plain_exception(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException) and "__init__" not in vars(value)


def callable_(member: object) -> bool:
    """Return whether a member of a class is a method."""
    return inspect.isroutine(member) or isinstance(member, classmethod | staticmethod)


def signature(value: Any) -> str:
    """Return the signature of a function or a class, with short defaults."""
    if _is_plain_exception(value):
        return "(...)"
    found = inspect.signature(value.__func__ if isinstance(value, classmethod | staticmethod) else value)
    parameters = [
        each if each.default is each.empty else each.replace(default=_Default(each.default))
        for each in found.parameters.values()
    ]
    if isinstance(value, type):
        found = found.replace(return_annotation=found.empty)
    return re.sub(r"(?<=[:>] )'([^']*)'", r"\1", _plain(str(found.replace(parameters=parameters))))


class _Default:
    """A default value as it is shown."""

    def __init__(self, value: object) -> None:
        self._text = repr(value).replace("'", '"')

    def __repr__(self) -> str:
        return "..." if self._text.startswith("<") or len(self._text) > MAX_DEFAULT else self._text


def _plain(text: str) -> str:
    """Return a signature without what typing adds to annotations that are strings."""
    return re.sub(r"ForwardRef\((\"|')(.*?)\1[^)]*\)", r"\2", text)


def attributes(kind: type) -> dict[str, str]:
    """Return the keys of a TypedDict, or the attributes that the methods of a class set, with their annotations."""
    if is_typeddict(kind):
        return {name: str(getattr(value, "__forward_arg__", value)) for name, value in kind.__annotations__.items()}
    found: dict[str, str] = {}
    for each in kind.__mro__:
        if each.__module__.partition(".")[0] not in OURS or dataclasses.is_dataclass(each) or issubclass(each, tuple):
            continue
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(each)))):
            for target in _targets(node):
                if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self" and target.attr[0] != "_":
                    annotation = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
                    found[target.attr] = found.get(target.attr) or annotation
    inherited = attributes(outer) if (outer := base(kind)) is not None else {}
    return {name: annotation for name, annotation in sorted(found.items()) if name not in inherited}


def _targets(node: ast.AST) -> list[ast.expr]:
    """Return what a statement assigns to."""
    if isinstance(node, ast.AnnAssign):
        return [node.target]
    given = node.targets if isinstance(node, ast.Assign) else []
    return [part for each in given for part in (each.elts if isinstance(each, ast.Tuple) else [each])]


def describe_class(kind: type) -> Iterator[str]:
    """Yield a line for each public member of a class."""
    listed = members(kind)
    for name, annotation in attributes(kind).items():
        if name not in listed:
            yield f"{name}: {annotation}" if annotation else name
    for name, value in listed.items():
        if isinstance(value, property):
            yield f"{name} (property)"
        elif callable_(value):
            yield f"{name}{signature(getattr(kind, name))}"
        elif not (issubclass(kind, tuple) or dataclasses.is_dataclass(kind)):
            yield name


def factories() -> list[str]:
    """Return what logging.yaml names as factories and processors of ours."""
    text = (ROOT / "logging.yaml").read_text(encoding="utf-8")
    yaml.safe_load(text)
    return sorted(set(re.findall(rf"(?:\(\): |ext://)((?:{'|'.join(OURS)})\.\w+)", text)))


def commands() -> Iterator[str]:
    """Yield each command with its options."""
    context = click.Context(cli.main, info_name="automagik-telemetry")
    for name in cli.main.list_commands(context):
        command = cli.main.get_command(context, name)
        assert command is not None
        yield " ".join(["automagik-telemetry", name, *(option for each in command.params for option in each.opts)])


def text() -> str:
    """Return the public surface, one name a line."""
    lines = ["# The public surface. `make api` writes this file; a change in it is a change for applications.", ""]
    module = ""
    for path, value, first in names():
        if (parent := path.rpartition(".")[0]) != module:
            module = parent
            lines += ["", f"## {module}", ""]
        name = path.rpartition(".")[2]
        if path != first:
            lines.append(f"{name} = {first}")
        elif isinstance(value, type):
            outer = base(value)
            lines.append(f"class {name}{'' if is_typeddict(value) else signature(value)}")
            lines += [] if outer is None else [f"    (extends {outer.__name__})"]
            lines += [f"    {line}" for line in describe_class(value)]
        elif inspect.isroutine(value):
            lines.append(f"{name}{signature(value)}")
        else:
            lines.append(f"{name}: {type(value).__name__}")
    lines += ["", "## Factories and processors that logging.yaml names", "", *factories()]
    lines += ["", "## Commands", "", *commands()]
    lines += ["", "## Environment variables", "", *sorted(row[0] for row in settings.describe())]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"{SNAPSHOT.relative_to(ROOT)} is written\n")
