"""Event classes with declared fields, like dataclasses, at a fraction of the import time."""

from __future__ import annotations

import datetime as dt
import keyword
import logging
import re
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, TypeVar, cast, dataclass_transform, overload

from automagik_processors._scalars import flag_of
from automagik_processors.kinds import Count, Duration, Flag, Measure, Word
from automagik_telemetry.handlers._record import NOT_FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from enum import Enum
    from types import EllipsisType

    from automagik_processors import Kind

_Text = TypeVar("_Text", bound="str | Enum")

EVENT_NAME: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
FIELD_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_MAX_NAME_CHARACTERS: Final = 100
_CARRIED: Final = frozenset({"event", "level", "timestamp", "sample_rate", "trace_id", "span_id", "parent_span_id"})
"""Keys that have a meaning of their own in every event."""
_REQUIRED_KINDS: Final[dict[str, type[Kind]]] = {"success": Flag, "duration_ms": Duration}
"""The kinds of the fields from which the status and the times of an event are computed."""
_WAY_OUT: Final = "Declare the field with count, duration, measure, word or flag"


class Field(NamedTuple):
    """A declared field: its kind (None if it is never sent), a sentence, and its default (`...` for none)."""

    kind: Kind | None
    sentence: str
    default: Any
    kw_only: bool


def unsent(sentence: str, *, default: Any = ..., kw_only: bool = False) -> Any:
    """Declare a field that is never sent."""
    return Field(None, sentence, default, kw_only)


def count(
    sentence: str, *, maximum: int = 10**12, default: int | EllipsisType | None = ..., kw_only: bool = False
) -> int:
    """Declare a field of whole numbers from 0, which are sent with three significant digits.

    Args:
        sentence: Description of the field, for documentation.
        maximum: The largest count that is sent; a larger one is dropped. The default is 10**12.
        default: Default of the argument. By default the argument is required.
        kw_only: Accept the argument by its name only. The default is False.

    Returns:
        A declaration, which the class replaces with the values.
    """
    return cast("int", _field(Count(_number(maximum, "maximum", int)), sentence, default, kw_only=kw_only))


def duration(
    sentence: str,
    *,
    maximum: float = 86_400_000.0,
    default: float | EllipsisType | None = ...,
    kw_only: bool = False,
) -> float:
    """Declare a field of durations in milliseconds, which are sent with three significant digits.

    Args:
        sentence: Description of the field, for documentation.
        maximum: The largest duration that is sent, in milliseconds; a longer one is capped. The default is a day.
        default: Default of the argument. By default the argument is required.
        kw_only: Accept the argument by its name only. The default is False.

    Returns:
        A declaration, which the class replaces with the values.
    """
    return cast("float", _field(Duration(_number(maximum, "maximum", float)), sentence, default, kw_only=kw_only))


def measure(
    sentence: str,
    *,
    minimum: float,
    maximum: float,
    default: float | EllipsisType | None = ...,
    kw_only: bool = False,
) -> float:
    """Declare a field of numbers, which are sent with three significant digits.

    Args:
        sentence: Description of the field, for documentation.
        minimum: The smallest number that is sent; a smaller one is raised to it.
        maximum: The largest number that is sent; a larger one is lowered to it.
        default: Default of the argument. By default the argument is required.
        kw_only: Accept the argument by its name only. The default is False.

    Returns:
        A declaration, which the class replaces with the values.
    """
    kind = Measure(_number(minimum, "minimum", float), _number(maximum, "maximum", float))
    if not kind.minimum < kind.maximum:
        raise ValueError(f"minimum must be less than maximum, got {minimum!r} and {maximum!r}")
    return cast("float", _field(kind, sentence, default, kw_only=kw_only))


@overload
def word(sentence: str, *, default: str | EllipsisType | None = ..., kw_only: bool = False) -> str: ...


@overload
def word(
    sentence: str,
    *,
    allowed: Iterable[_Text],
    default: _Text | EllipsisType | None = ...,
    kw_only: bool = False,
) -> _Text: ...


def word(sentence: str, *, allowed: Any = None, default: Any = ..., kw_only: bool = False) -> Any:
    """Declare a field of short strings. A string is sent verbatim if it is an allowed value, else as a keyed hash.

    Args:
        sentence: Description of the field, for documentation.
        allowed: The allowed values: strings, or an Enum of strings. By default those on the allowlist, which
            `automagik_telemetry.declare` adds to.
        default: Default of the argument. By default the argument is required.
        kw_only: Accept the argument by its name only. The default is False.

    Returns:
        A declaration, which the class replaces with the values.
    """
    return _field(Word(allowed), sentence, default, kw_only=kw_only)


def flag(sentence: str, *, default: bool | EllipsisType | None = ..., kw_only: bool = False) -> bool:
    """Declare a field of booleans.

    Args:
        sentence: Description of the field, for documentation.
        default: Default of the argument. By default the argument is required.
        kw_only: Accept the argument by its name only. The default is False.

    Returns:
        A declaration, which the class replaces with the values.
    """
    return cast("bool", _field(Flag(), sentence, default, kw_only=kw_only))


KINDS: Final[dict[str, Callable[..., Any]]] = {
    "count": count,
    "duration": duration,
    "measure": measure,
    "word": word,
    "flag": flag,
}
"""The kinds of fields by name."""


def _field(kind: Kind, sentence: str, default: Any, *, kw_only: bool) -> Any:
    if type(sentence) is not str or not sentence.strip():
        raise TypeError(f"a {kind.name} needs a description of the field, got {sentence!r}")
    return Field(kind, sentence, default, kw_only)


def _number(value: Any, name: str, kind: type) -> Any:
    if isinstance(value, bool) or not isinstance(value, kind if kind is int else (int, float)) or value != value:  # noqa: PLR0124 - NaN
        raise TypeError(f"{name} must be {'an integer' if kind is int else 'a number'}, got {value!r}")
    return value


@dataclass_transform(field_specifiers=(count, duration, measure, word, flag, unsent))
class Event:
    """Base class of events. A subclass declares one event, and its instances are the events.

    A subclass gets `__init__`, `repr` and `==` from its fields, as a dataclass does. `__post_init__` is called if there
    is one. A class without a `name` only passes its fields on to subclasses.

    Attributes:
        name: Name of the event, lower-case words joined by dots, such as "checkout.finished".
        level: The level of `logging` at which `track_event` logs it. The default is INFO. An event whose field
            `success` is False is logged at ERROR.
        owner: The team or person to ask about the event.
        since: The version or date since which it is sent.
        expires: The last day (UTC) on which it is sent, as a date or in ISO 8601. Afterwards it is dropped, and counted
            as `expired_event`. By default it does not expire.
        deprecated: True, or a sentence that names the replacement. It is shown in documentation.
        fields: The declared fields by name, inherited ones first.
    """

    name: ClassVar[str]
    level: ClassVar[int] = logging.INFO
    owner: ClassVar[str] = ""
    since: ClassVar[str] = ""
    expires: ClassVar[str | dt.date] = ""
    deprecated: ClassVar[str | bool] = False
    fields: ClassVar[dict[str, Field]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Field)}
        for name, declared in own.items():
            _check_field(cls, name, declared)
        for name in _annotated(cls):
            if name not in own:
                raise ValueError(f"{cls.__name__}.{name}: a field without a kind. {_WAY_OUT}.")
        _check_attributes(cls)
        for name, declared in own.items():
            if declared.default is ...:
                delattr(cls, name)
            else:
                setattr(cls, name, declared.default)
        inherited: dict[str, Field] = {}
        for base in reversed(cls.__mro__[1:]):
            inherited |= vars(base).get("fields", {})
        if own or inherited != cls.fields:
            cls.fields = inherited | own
            _check_order(cls)
            _compile_init(cls)
            _compile_as_fields(cls)

    @classmethod
    def kinds(cls) -> dict[str, Kind]:
        """Return the kind of each field that may be sent.

        Returns:
            A new dict, by the name of the field.
        """
        return {name: declared.kind for name, declared in cls.fields.items() if declared.kind is not None}

    @classmethod
    def levels(cls) -> str:
        """Return a description of the levels at which the event is logged.

        Returns:
            A text, such as "INFO, or ERROR for a failure".
        """
        usual: str = logging.getLevelName(cls.level)
        return f"{usual}, or ERROR for a failure" if "success" in cls.kinds() else usual

    @classmethod
    def expires_at(cls) -> float | None:
        """Return the time from which the event is dropped.

        Returns:
            Unix time in seconds, or None if the event does not expire.
        """
        last = _date(cls.expires)
        if last is None:
            return None
        return dt.datetime.combine(last, dt.time(), dt.UTC).timestamp() + 86_400.0

    def severity(self) -> int:
        """Return the level of this event: ERROR for a failure, else the usual level.

        Returns:
            A level of `logging`.
        """
        success = getattr(self, "success", True)
        return logging.ERROR if success is not True and flag_of(success) is False else self.level

    def as_fields(self) -> dict[str, Any]:
        """Return the fields that may be sent and have a value.

        Returns:
            A new dict, by the name of the field.
        """
        return {}

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.fields)
        return f"{type(self).__name__}({values})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.fields)

    __hash__ = None  # type: ignore[assignment]  # an event is mutable


_RESERVED: Final = frozenset(name for name in vars(Event) if not name.startswith("__")) | {"self"}
"""Names that the class uses itself."""


def _check_attributes(cls: type[Event]) -> None:
    """Raise TypeError or ValueError for a wrong attribute of the class, other than a field."""
    given, where = vars(cls), cls.__name__
    if "name" in given:
        name = given["name"]
        if type(name) is not str or not EVENT_NAME.fullmatch(name) or len(name) > _MAX_NAME_CHARACTERS:
            raise ValueError(
                f"{where}.name: an event's name must be lower-case words joined by dots, such as "
                f'"checkout.finished", with at most {_MAX_NAME_CHARACTERS} characters, got {name!r}'
            )
    if type(cls.level) is not int or not logging.DEBUG <= cls.level <= logging.CRITICAL:
        raise ValueError(f"{where}.level: must be a level of logging, from DEBUG to CRITICAL, got {cls.level!r}")
    for attribute in ("owner", "since"):
        if type(text := getattr(cls, attribute)) is not str:
            raise TypeError(f"{where}.{attribute}: must be a string, got {text!r}")
    if type(cls.deprecated) not in {bool, str}:
        raise TypeError(f"{where}.deprecated: must be a sentence or True, got {cls.deprecated!r}")
    try:
        _date(cls.expires)
    except ValueError:
        raise ValueError(
            f'{where}.expires: must be the last day on which the event is sent, such as "2027-01-01", '
            f"got {cls.expires!r}"
        ) from None


def _check_field(cls: type[Event], name: str, declared: Field) -> None:
    where = f"{cls.__name__}.{name}"
    if name in NOT_FIELDS:
        raise ValueError(f"{where}: logging uses this name. Choose another.")
    if name in _CARRIED:
        raise ValueError(f"{where}: every event has this key with a meaning of its own. Choose another.")
    if name in _RESERVED:
        raise ValueError(f"{where}: Event uses this name. Choose another.")
    if not FIELD_NAME.fullmatch(name) or keyword.iskeyword(name) or len(name) > _MAX_NAME_CHARACTERS:
        raise ValueError(
            f"{where}: a field's name must be lower-case letters, digits and underscores, begin with a letter, "
            f"not be a keyword, and have at most {_MAX_NAME_CHARACTERS} characters. Choose another."
        )
    kind = _REQUIRED_KINDS.get(name)
    if kind is not None and not isinstance(declared.kind, kind):
        raise ValueError(
            f"{where}: must be a {kind.name}, because the event's status and times are computed from it. "
            f"Declare it with {kind.name}(...), or choose another name."
        )


def _check_order(cls: type[Event]) -> None:
    optional = ""
    for name, declared in cls.fields.items():
        if declared.kw_only:
            continue
        if declared.default is not ...:
            optional = name
        elif optional:
            raise ValueError(
                f"{cls.__name__}.{name}: a required field follows {optional}, which has a default. "
                "Put it first, or give it a default or kw_only=True."
            )


def _date(expires: object) -> dt.date | None:
    """Return a date that is written as one or in ISO 8601; None if there is none. Raises ValueError."""
    if expires == "":
        return None
    if type(expires) is dt.date:
        return expires
    if type(expires) is not str:
        raise ValueError
    return dt.date.fromisoformat(expires)


def _annotated(cls: type[Event]) -> list[str]:
    """Return the names that are annotated as fields in the body of a class."""
    try:
        annotations = cls.__annotations__
    except Exception:  # Python 3.14 and later evaluates them, and some names are imported for type checkers only
        return []
    return [name for name, kind in annotations.items() if "ClassVar" not in str(kind) and name not in vars(Event)]


def _compile_init(cls: type[Event]) -> None:
    parameters: dict[bool, list[str]] = {False: [], True: ["*"]}
    for name, declared in cls.fields.items():
        parameters[declared.kw_only].append(name if declared.default is ... else f"{name}=fields[{name!r}].default")
    lines = [f"self.{name} = {name}" for name in cls.fields]
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    keywords = parameters[True] if len(parameters[True]) > 1 else []
    _compile(cls, "__init__", f"self, {', '.join(parameters[False] + keywords)}", lines)
    says = "\n".join(f"    {name}: {declared.sentence}" for name, declared in cls.fields.items())
    cls.__init__.__doc__ = f"Make the event.\n\nArgs:\n{says}"


def _compile_as_fields(cls: type[Event]) -> None:
    sent = [name for name, declared in cls.fields.items() if declared.kind is not None]
    steps = [f"if (value := get({name!r})) is not None: fields[{name!r}] = value" for name in sent]
    _compile(cls, "as_fields", "self", ["fields, get = {}, self.__dict__.get", *steps, "return fields"])


def _compile(cls: type[Event], method: str, parameters: str, lines: list[str]) -> None:
    """Compile a method of a class from the names of its fields, as `dataclass` does."""
    names: dict[str, Any] = {"fields": cls.fields}
    exec("\n    ".join([f"def {method}({parameters}):", *lines]), names)  # noqa: S102 - built from the names of fields alone
    setattr(cls, method, names[method])
