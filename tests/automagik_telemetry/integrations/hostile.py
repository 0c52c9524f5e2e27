"""Objects of an application that break any code that inspects them: a table of factories by name."""

# mypy: ignore-errors
# pyright: basic, reportGeneralTypeIssues=false, reportArgumentType=false, reportAttributeAccessIssue=false
# ruff: noqa: N818, PLE0303, PLE0304, PLE0305, PLE0307, PLE0309 - these objects are wrong on purpose

from __future__ import annotations

import gc
import itertools
import types
import weakref
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock, Mock, create_autospec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Custom(Exception):
    """An exception of the application's."""


FAILURES: tuple[type[Exception], ...] = (
    *(ValueError, TypeError, AttributeError, KeyError, IndexError, RuntimeError, RecursionError, MemoryError, OSError),
    *(StopIteration, StopAsyncIteration, NotImplementedError, AssertionError, UnicodeError, EOFError, Custom),
)
METHODS = (
    *("__getattr__", "__getattribute__", "__bool__", "__str__", "__repr__", "__hash__", "__eq__", "__ne__", "__len__"),
    *("__iter__", "__next__", "__aiter__", "__anext__", "__await__", "__format__", "__index__", "__int__", "__float__"),
    *("__fspath__", "__contains__", "__getitem__", "__lt__", "__le__", "__gt__", "__ge__", "__add__", "__radd__"),
    *("__copy__", "__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__", "__dir__", "__sizeof__", "__bytes__"),
    *("__call__", "__enter__", "__exit__", "__get__", "__and__", "__rand__", "__sub__", "__mul__", "__instancecheck__"),
)
OWN = {
    str: ("lower", "upper", "startswith", "strip", "encode", "split", "partition", "replace", "isascii", "join"),
    bytes: ("decode", "startswith", "strip", "lower"),
    dict: ("get", "items", "keys", "values", "pop", "copy", "update"),
    list: ("copy", "append", "__reversed__"),
    tuple: (),
    set: ("copy", "union"),
    frozenset: (),
    int: ("bit_length", "__abs__", "__neg__", "__rsub__", "__floordiv__", "__truediv__", "__rtruediv__"),
    float: ("is_integer", "hex", "__truediv__"),
}
VALUES: dict[type, Any] = {
    str: "name", bytes: b"name", dict: {"key": 1}, list: [1], tuple: (1,), set: {1}, frozenset: {1}, int: 7, float: 0.5,
}  # fmt: skip


def raiser(failure: type[BaseException]) -> Callable[..., Any]:
    """Return a method that raises."""

    def method(*_args: Any, **_kwargs: Any) -> Any:
        raise failure("hostile")

    return method


def _object(failure: type[Exception], *methods: str, base: type = object, **members: Any) -> Any:
    """Return a class whose methods raise."""
    return type("Hostile", (base,), {**dict.fromkeys(methods, raiser(failure)), **members})


def _class_look_up(failure: type[Exception]) -> Any:
    return type("Hostile", (), {"__class__": property(raiser(failure))})()


class _Array:
    """Compares element by element, as numpy's arrays do, and has no truth value."""

    def _compared(self, _other: object) -> Any:
        return type(self)()

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __add__ = __sub__ = __and__ = _compared  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array with more than one element is ambiguous")

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: Any) -> Any:
        return type(self)()

    def __float__(self) -> float:
        raise TypeError("only length-1 arrays can be converted")

    __int__ = __index__ = __float__


class _Endless:
    """Has an endless chain of attributes of its own kind."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self, name + "_")

    def __str__(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return self == other

    def __hash__(self) -> int:
        return hash(self)

    def __bool__(self) -> bool:
        return bool(self)

    def __len__(self) -> int:
        return len(self)


def _forever(self: Any) -> Iterator[int]:
    del self
    return itertools.count()


class _Anything:
    """Has every attribute, each like itself, and endless items."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything()

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        return _Anything()

    def __getitem__(self, _key: Any) -> Any:
        return _Anything()


class _Slots:
    __slots__ = ("agent_id", "content", "framework", "name", "total_tokens")


class _WrongTypes:
    """Returns an invalid result from every method."""

    def __str__(self) -> Any:
        return 5

    __repr__ = __str__

    def __bool__(self) -> Any:
        return "yes"

    def __len__(self) -> Any:
        return -1

    def __hash__(self) -> Any:
        return "hash"

    def __iter__(self) -> Any:
        return 5

    def __index__(self) -> Any:
        return "1"

    def __eq__(self, other: object) -> Any:
        return NotImplemented

    __float__ = __fspath__ = __int__ = __index__
    __dict__ = 5  # type: ignore[assignment]
    __class__ = 5  # type: ignore[assignment]
    __name__ = 5
    __module__ = 5  # type: ignore[assignment]


def _trap(failure: type[Exception], *names: str) -> Any:
    """Return a class whose metaclass raises."""
    return type("Trap", (type,), dict.fromkeys(names, raiser(failure)))("Trapped", (), {})


def _nameless() -> Any:
    meta = type(
        "Nameless", (type,), {"__name__": property(raiser(ValueError)), "__module__": property(raiser(KeyError))}
    )
    return meta("Trapped", (), {})


def _lying(kind: Any) -> Any:
    """Return an object that claims to be of another class."""
    return type("Liar", (), {"__class__": property(lambda _self: kind)})()


def _dead() -> Any:
    proxy = weakref.proxy(_Anything())
    gc.collect()
    return proxy


def _cycle() -> Any:
    held: list[Any] = []
    held.append(held)
    return held


def _deep() -> Any:
    held: Any = []
    for _ in range(2_000):
        held = [held]
    _kept.append(held)  # whose end, by recursion, is the interpreter's responsibility
    return held


_kept: list[Any] = []


def objects() -> dict[str, Callable[[], Any]]:
    """Return factories of hostile objects, by name."""
    found: dict[str, Callable[[], Any]] = {}
    for number, method in enumerate(METHODS):
        for failure in {FAILURES[number % len(FAILURES)], ValueError}:
            found[f"{method} raises {failure.__name__}"] = _object(failure, method)
    for failure in FAILURES:
        found[f"everything raises {failure.__name__}"] = _object(failure, *METHODS)
        found[f"__class__ raises {failure.__name__}"] = lambda failure=failure: _class_look_up(failure)
    for kind, own in OWN.items():
        for failure in (ValueError, StopIteration):
            hostile = _object(failure, *(name for name in (*METHODS, *own) if name != "__get__"), base=kind)
            found[f"{kind.__name__} raises {failure.__name__}"] = lambda hostile=hostile, kind=kind: hostile(
                VALUES[kind]
            )
        endless = type("Endless", (kind,), {"__iter__": _forever, "__len__": lambda _self: 2**62})
        found[f"{kind.__name__} without end"] = lambda endless=endless, kind=kind: endless(VALUES[kind])
        array = type("Array", (kind,), {name: member for name, member in vars(_Array).items() if name != "__dict__"})
        found[f"{kind.__name__} as an array"] = lambda array=array, kind=kind: array(VALUES[kind])
    for names in (
        ("__instancecheck__", "__subclasscheck__"),
        ("__getattribute__",),
        ("__eq__", "__hash__"),
        ("__call__",),
        ("__bool__", "__len__", "__iter__", "__str__", "__repr__"),
    ):
        found[f"metaclass {' '.join(names)}"] = lambda names=names: _trap(Custom, *names)
        if "__call__" not in names:
            found[f"of metaclass {' '.join(names)}"] = lambda names=names: object.__new__(_trap(Custom, *names))
    for kind in (
        *(types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType, type, str, int, dict, list, bool),
        *(Exception, SystemExit, types.FunctionType, None, "text", Enum),
    ):
        found[f"says it is {kind!r}"] = lambda kind=kind: _lying(kind)
    found |= {
        "array": _Array,
        "array in a list": lambda: [_Array(), _Array()],
        "array in a dict": lambda: {"role": _Array(), "content": _Array()},
        "endless": _Endless,
        "anything": _Anything,
        "slots": _Slots,
        "wrong types": _WrongTypes,
        "class of wrong types": lambda: _WrongTypes,
        "no name": lambda: object.__new__(_nameless()),
        "class without a name": _nameless,
        "dead proxy": _dead,
        "cycle": _cycle,
        "deep": _deep,
        "mock": Mock,
        "magic mock": MagicMock,
        "asynchronous mock": AsyncMock,
        "mock of str": lambda: Mock(spec=str),
        "mock of a coroutine": lambda: Mock(spec=types.CoroutineType),
        "autospec": lambda: create_autospec(_Anything),
        "sealed": lambda: Mock(spec=[]),
        "surrogate": lambda: "na\udcffme",
        "empty": lambda: "",
        "nul": lambda: "a\0b\x1b[31m",
        "bytes": lambda: b"\xff\x00",
        "memory": lambda: memoryview(b"abc"),
        "long": lambda: "x" * 30_000,
        "huge": lambda: 10**5_000,
        "nan": lambda: float("nan"),
        "infinite": lambda: float("-inf"),
        "complex": lambda: 1j,
        "ellipsis": lambda: ...,
        "not implemented": lambda: NotImplemented,
        "enum": lambda: Enum("Color", {"RED": _Array()}).RED,  # type: ignore[attr-defined]
        "str enum": lambda: StrEnum("Color", {"RED": "red"}).RED,  # type: ignore[attr-defined]
        "none": lambda: None,
        "iterator": lambda: iter([1, 2]),
        "keys that raise": lambda: {_object(ValueError, "__eq__", "__str__", "__repr__", __hash__=lambda _: 1)(): 1},
    }
    return found


class Chatty(Exception):
    """Raises in every method."""

    def __str__(self) -> str:
        raise Custom("no str")

    __repr__ = __str__
    args = property(raiser(Custom))  # type: ignore[assignment]
    exit_code = property(raiser(Custom))
    code = property(raiser(Custom))
    errno = property(raiser(Custom))
    status_code = property(raiser(Custom))
    exceptions = property(raiser(Custom))
    __notes__: Any = property(raiser(Custom))
    __class__ = property(raiser(Custom))  # type: ignore[assignment]


class Unlike(Exception):
    """Can't be compared."""

    __eq__ = __bool__ = __len__ = raiser(Custom)  # type: ignore[assignment]
    __hash__ = raiser(Custom)  # type: ignore[assignment]


class Odd(OSError):
    """Has an odd error number."""

    errno = _Array()  # type: ignore[assignment]


class Endless(Exception):
    """Has an endless chain of causes."""

    @property  # type: ignore[override]
    def __cause__(self) -> Any:
        return Endless()

    __context__ = __cause__  # type: ignore[assignment]


def _circle() -> BaseException:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    one.__context__, other.__context__ = other, one
    return one


def _group() -> BaseException:
    return ExceptionGroup("several", [Chatty(), ExceptionGroup("more", [Unlike()])])


def _long_traceback() -> BaseException:
    def down(depth: int) -> None:
        if not depth:
            raise ValueError("deep")
        down(depth - 1)

    try:
        down(200)
    except ValueError as error:
        return error
    raise AssertionError


def _trapped() -> BaseException:
    meta = type("Nameless", (type,), {"__name__": property(raiser(Custom)), "__module__": property(raiser(Custom))})
    error: BaseException = meta("Trapped", (Exception,), {})("trapped")
    return error


class Base(BaseException):
    """Is not an Exception, and raises when its class is read."""

    __class__ = property(raiser(Custom))  # type: ignore[assignment]


def errors() -> dict[str, Callable[[], BaseException]]:
    """Return factories of hostile exceptions, by name."""
    click_like = type("Exit", (Exception,), {"__module__": "click.exceptions", "exit_code": _Array()})
    nowhere = type("Nowhere", (Exception,), {"__module__": 5, "__qualname__": "a\udcffb", "__name__": "x" * 500})
    return {
        "chatty": Chatty,
        "unlike": Unlike,
        "odd": Odd,
        "endless": Endless,
        "circle": _circle,
        "group": _group,
        "deep": _long_traceback,
        "trapped": _trapped,
        "base": Base,
        "exit": click_like,
        "nowhere": nowhere,
        "arguments": lambda: ValueError(_Array(), _Endless()),
        "surrogate": lambda: ValueError("\udcff"),
        "recursion": lambda: RecursionError("maximum recursion depth exceeded"),
        "memory": MemoryError,
        "stop": lambda: KeyError(_object(Custom, *METHODS)()),
        "system exit": lambda: SystemExit(_Array()),
        "system exit of a code": lambda: SystemExit(_object(Custom, *METHODS, base=int)(3)),
        "interrupt": KeyboardInterrupt,
    }


class Witness:
    """Counts every use."""

    touched: list[str]

    def __getattribute__(self, name: str) -> Any:
        object.__getattribute__(self, "_touch")(name)
        raise AttributeError(name)

    def _touch(self, name: str) -> None:
        type(self).touched.append(name)

    def __bool__(self) -> bool:
        object.__getattribute__(self, "_touch")("__bool__")
        return True

    def __str__(self) -> str:
        object.__getattribute__(self, "_touch")("__str__")
        return ""

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        object.__getattribute__(self, "_touch")("__eq__")
        return self is other

    def __hash__(self) -> int:
        object.__getattribute__(self, "_touch")("__hash__")
        return 1

    def __len__(self) -> int:
        object.__getattribute__(self, "_touch")("__len__")
        return 1

    def __iter__(self) -> Iterator[Any]:
        object.__getattribute__(self, "_touch")("__iter__")
        return iter(())


def witness() -> Witness:
    """Return an object without any use yet."""
    made: Witness = type("Witness", (Witness,), {"touched": []})()
    return made
