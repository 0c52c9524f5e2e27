"""Error messages of integrations: a wrong object, or a framework that is missing or too old."""

from __future__ import annotations

import importlib.metadata
import re
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, MethodType, WrapperDescriptorType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from types import ModuleType

_RELEASE = re.compile(r"\d+(?:\.\d+)*")
_ROUTINES = (FunctionType, BuiltinFunctionType, MethodType, WrapperDescriptorType, MethodDescriptorType)


def described(value: object) -> str:
    """Describe an object: "the class Agent", "the function run", or "an instance of agno.agent.agent.Agent"."""
    if value is None:
        return "None"
    kind = type(value)
    if issubclass(kind, type):
        return f"the class {_of_class('__qualname__', cast('type', value))}"
    if issubclass(kind, _ROUTINES):
        return f"the function {cast('Any', value).__qualname__}"
    return f"an instance of {type_name(value)}"


def type_name(value: object) -> str:
    """Return the name of an object's type, with its module unless it is a built-in one."""
    name, module = _of_class("__qualname__", type(value)), _of_class("__module__", type(value))
    return name if module == "builtins" else f"{module}.{name}"


def _of_class(attribute: str, kind: type) -> str:
    """Return an attribute that each class has, without calling its metaclass."""
    return str(type.__dict__[attribute].__get__(kind))


def unusable(module: str, extra: str, distributions: tuple[str, ...], cause: ImportError) -> ImportError:
    """Return the error of an integration whose framework can't be imported: it is missing, too old or broken.

    The oldest version that works is the lower bound of this package's extra, read from its metadata. `distributions`
    are the names under which the framework may be installed, the one that the extra requires first.
    """
    name = distributions[-1]
    install = f"pip install --upgrade 'automagik-telemetry[{extra}]'"
    found = next(filter(None, map(_installed, distributions)), None)
    needed = _lower_bound(distributions[0])
    if found is None:
        return ImportError(f"{module} needs {name}: {install}")
    if needed is not None and _release(found) < _release(needed):
        return ImportError(f"{module} needs {name} >= {needed}, found {found}: {install}")
    return ImportError(f"{module} can't use {name} {found} ({cause}); repair it: {install}")


def _installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _lower_bound(distribution: str) -> str | None:
    """Return the lowest version of a dependency that this package's metadata allows; None if it can't be read."""
    try:
        needs = importlib.metadata.requires("automagik-telemetry") or ()
    except importlib.metadata.PackageNotFoundError:  # a frozen application has no metadata
        return None
    pattern = re.compile(rf"{re.escape(distribution)}\s*\(?>=\s*(\d[\w.]*)")
    return next((found.group(1) for need in needs if (found := pattern.match(need))), None)


def _release(version: str) -> tuple[int, ...]:
    found = _RELEASE.match(version)
    return tuple(map(int, found.group().split("."))) if found else ()


def exception_names(module: ModuleType) -> list[str]:
    """Return the names of a framework's own exceptions, which are public."""
    return [name for name, one in vars(module).items() if isinstance(one, type) and issubclass(one, BaseException)]
