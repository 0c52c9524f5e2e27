"""Classes whose fields are declared as those of a dataclass are, for a fraction of what ten of these cost to import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, dataclass_transform

from automagik_telemetry.handlers._record import NOT_FIELDS

if TYPE_CHECKING:
    from automagik_processors import Kind


class Field(NamedTuple):
    """A field as it is declared: its kind, None if it never leaves; what it says; its default, `...` for none."""

    kind: Kind | None
    sentence: str
    default: Any
    kw_only: bool


def field(kind: Kind | None, sentence: str = "", *, default: Any = ..., kw_only: bool = False) -> Any:  # noqa: ANN401 - it stands for its default
    """Declare a field."""
    return Field(kind, sentence, default, kw_only)


@dataclass_transform(field_specifiers=(field,))
class Declared:
    """Gives a subclass its `__init__`, with a call of its `__post_init__` if it has one, `repr` and `==`."""

    fields: ClassVar[dict[str, Field]] = {}
    """Each field as it is declared, inherited ones first."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Field)}
        for name, declared in own.items():
            if name in NOT_FIELDS:
                raise ValueError(f"{cls.__name__}.{name}: logging uses this name; choose another")
            if declared.default is ...:
                delattr(cls, name)
            else:
                setattr(cls, name, declared.default)
        if own:
            cls.fields = cls.fields | own
            _compile_init(cls)
            _compile_as_fields(cls)

    def as_fields(self) -> dict[str, Any]:
        """Return the fields that may leave and have a value, as a new dict."""
        return {}

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.fields)
        return f"{type(self).__name__}({values})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.fields)

    __hash__ = None  # type: ignore[assignment]  # it can be changed


def _compile_init(cls: type[Declared]) -> None:
    parameters: dict[bool, list[str]] = {False: [], True: ["*"]}
    for name, declared in cls.fields.items():
        parameters[declared.kw_only].append(name if declared.default is ... else f"{name}=fields[{name!r}].default")
    lines = [f"self.{name} = {name}" for name in cls.fields]
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    keywords = parameters[True] if len(parameters[True]) > 1 else []
    _compile(cls, "__init__", f"self, {', '.join(parameters[False] + keywords)}", lines)


def _compile_as_fields(cls: type[Declared]) -> None:
    leaving = [name for name, declared in cls.fields.items() if declared.kind is not None]
    steps = [f"if (value := get({name!r})) is not None: fields[{name!r}] = value" for name in leaving]
    _compile(cls, "as_fields", "self", ["fields, get = {}, self.__dict__.get", *steps, "return fields"])


def _compile(cls: type[Declared], method: str, parameters: str, lines: list[str]) -> None:
    """Give a class a method, made of the names of fields and nothing else, as `dataclass` does it."""
    names: dict[str, Any] = {"fields": cls.fields}
    exec("\n    ".join([f"def {method}({parameters}):", *lines]), names)  # noqa: S102 - see above
    setattr(cls, method, names[method])
