"""Tracks a whole tree of commands, click's or Typer's, under their names in the tree."""

from __future__ import annotations

import time
import weakref
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from automagik_telemetry._failsafe import attempt
from automagik_telemetry.events._names import MAX_NAMES, declare_if_open, declare_later, is_closed
from automagik_telemetry.integrations._runtime import is_on, record
from automagik_telemetry.integrations._wrapping import wrap_call
from automagik_telemetry.integrations.click import _run as command_run
from automagik_telemetry.integrations.click._run import exit_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CommandT = TypeVar("CommandT")

_TRACKED = "_automagik_tracked"
_PLAIN = "_automagik_plain_class"
_given: weakref.WeakSet[Any] = weakref.WeakSet()
"""Commands that the application has instrumented."""
_found: weakref.WeakKeyDictionary[Any, weakref.WeakSet[Any]] = weakref.WeakKeyDictionary()
"""For each tracked group, the commands that are tracked because they were found in it."""
_MAX_COMMANDS = 10_000
"""Maximum number of a group's commands that are searched for a name."""
_MAX_DEPTH = 10
"""Maximum depth of a tree whose names are declared."""
_STANDALONE = 3
"""Position of the argument `standalone_mode` of `main`."""
_ROOT = "main"
"""The name of a tree's root that has none of its own."""


def instrument_click(command: CommandT) -> CommandT:
    """Track every command of a click group, nested and lazily loaded ones too.

    Their names are those of the tree, without the root's, such as "agents list"; a usage error counts with the command
    that it belongs to, and the root's with the root's own name. `--help` is not counted. Names of
    registered commands are declared, and those that a group lists before the first event or request. Any other name is
    sent as a hash. Doing it twice changes nothing, and a
    function with `track_cli_command` keeps the name given there.

    Args:
        command: A click command or group.

    Returns:
        The same command.

    Raises:
        TypeError: The object is not a click command.
    """
    if not is_command(command):
        hint = "; instrument_typer is for a Typer app" if type(command).__module__.startswith("typer") else ""
        raise TypeError(f"instrument_click takes a click command or group, not {type(command).__name__}{hint}")
    attempt(track, command)  # its class may be one that can't be extended
    attempt(_given.add, command)  # it may be one that can't be hashed
    declare_later(command, _names_of)
    return command


def uninstrument_click(command: CommandT) -> CommandT:
    """Undo `instrument_click`, for the commands of the group too, and return the group.

    A command that was instrumented by itself stays tracked. Raises TypeError if the object is not a click command.
    """
    if not is_command(command):
        raise TypeError(f"uninstrument takes a click command or group, not {type(command).__name__}")
    attempt(_given.discard, command)
    attempt(_untrack, command)
    return command


instrument, uninstrument = instrument_click, uninstrument_click


def is_command(value: object) -> bool:
    """Return whether this is a command of click, or of Typer's own copy of click."""
    return (
        not issubclass(type(value), type) and attempt(_has_all, value, ("callback", "make_context", "invoke")) is True
    )


def _has_all(value: object, names: tuple[str, ...]) -> bool:
    return all(hasattr(value, name) for name in names)


def track(command: Any) -> None:
    """Let a command track itself, and a group its commands when they are found."""
    kind: Any = type(command)
    command.__class__ = tracked_class(kind)


def _untrack(command: Any) -> None:
    """Restore the classes of a command and of the commands that were found in it."""
    command.__class__ = getattr(type(command), _PLAIN, type(command))
    for each in attempt(_found.pop, command, (), default=()):
        if each not in _given:
            _untrack(each)


def _track_found(group: Any, found: tuple[Any, Any, Any]) -> None:
    """Track a command that was found in a group, and remember that."""
    command = found[1]
    if command is not None and not hasattr(type(command), _TRACKED):
        track(command)
        _found.setdefault(group, weakref.WeakSet()).add(command)


@cache
def tracked_class(base: Any) -> Any:
    """Return the tracking subclass, which looks like the class itself. A tracking class is returned unchanged."""
    if hasattr(base, _TRACKED):
        return base

    class Tracked(base):  # type: ignore[misc]
        def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
            def parse() -> Any:
                return super(Tracked, self).make_context(info_name, args, parent, **extra)

            if extra.get("resilient_parsing"):  # for completion, which runs nothing
                return parse()
            return _make_context(self, info_name, parent, parse)

        def invoke(self, ctx: Any) -> Any:
            return _invoke(self, ctx, super().invoke)

        def main(self, *args: Any, **kwargs: Any) -> Any:
            standalone = kwargs.get("standalone_mode", args[_STANDALONE] if len(args) > _STANDALONE else True)
            token = command_run.is_standalone.set(attempt(bool, standalone, default=True))
            try:
                return super().main(*args, **kwargs)
            finally:
                command_run.is_standalone.reset(token)

    tracked: Any = Tracked
    if hasattr(base, "resolve_command"):

        class TrackedGroup(Tracked):
            def resolve_command(self, ctx: Any, args: list[str]) -> Any:
                found = super().resolve_command(ctx, args)
                attempt(_track_found, self, found)
                return found

        tracked = TrackedGroup
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(tracked, name, getattr(base, name))
    setattr(tracked, _TRACKED, True)
    setattr(tracked, _PLAIN, base)
    return tracked


def _record(step: Callable[..., Any], *args: Any) -> Any:
    """Return the result of a step, or None if nothing is on.

    It does not close the allowlist, because a command such as `serve` may make an application with routes and agents.
    """
    return record(step, *args) if is_on() else None


def _make_context(command: Any, info_name: str | None, parent: Any, parse: Callable[[], Any]) -> Any:
    """Parse the arguments. A failure is recorded as the command's failure."""
    started = time.perf_counter()
    _record(_name_run, command, info_name, parent)
    try:
        return parse()
    except BaseException as error:
        _record(_log_failure, command, info_name, parent, started, error)
        raise


def _name_run(command: Any, info_name: str | None, parent: Any) -> None:
    """Set the name of a group's run to that of the selected subcommand."""
    run = _run_of(parent)
    if run is not None and not _is_chain(parent):
        run.name = _name(command, info_name, parent)


def _log_failure(command: Any, info_name: str | None, parent: Any, started: float, error: BaseException) -> None:
    """Log a command that could not be parsed, unless it only printed its help, or leave it to its group's run."""
    run, ran = _run_of(parent), attempt(exit_code, error, default=1) != 0
    if run is not None:
        run.is_counted = ran
        run.name = _name(command, info_name, parent)
    elif ran and (run := command_run.begin(lambda: _name(command, info_name, parent))) is not None:
        run.started = started
        run.end(error)


def _invoke(command: Any, context: Any, invoke: Callable[[Any], Any]) -> Any:
    """Run the command. A subcommand continues the run of its group."""
    run = _record(_run_for, command, context)
    return invoke(context) if run is None else wrap_call(run, lambda: invoke(context), follows_streams=False)


def _run_for(command: Any, context: Any) -> command_run.CommandRun | None:
    """Return a run that has begun; None for a command that continues the run of its group."""
    run = _run_of(context.parent)
    if run is not None and not _is_chain(context.parent):
        run.claim = _mark(command)
        return None
    run = command_run.begin(lambda: _name(command, context.info_name, context.parent))
    if run is not None:
        run.context = context
        run.claim = _mark(command)
    return run


def _mark(command: Any) -> object:
    return attempt(getattr, command.callback, "__automagik_mark__", None)


def _is_chain(context: Any) -> bool:
    """Return whether several subcommands run in turn, as parts of one run."""
    return attempt(lambda: bool(getattr(context.command, "chain", False))) is True


def _run_of(context: Any) -> command_run.CommandRun | None:
    """Return the current run if it belongs to the context's tree."""
    run = command_run.current()
    if run is None or run.context is None:
        return None
    while context is not None and context is not run.context:
        context = context.parent
    return None if context is None else run


def _name(command: Any, info_name: str | None, parent: Any) -> str:
    """Return the command's name in the tree, declared if all of its words are listed there."""
    words: list[str] = []
    declared = True
    while parent is not None and hasattr(parent.command, _TRACKED):
        word, listed = _word(command, info_name, parent)
        words.insert(0, word)
        declared = declared and listed
        command, info_name, parent = parent.command, parent.info_name, parent.parent
    name = " ".join(words) or _own_name(command) or _ROOT
    if not is_closed():
        for each in islice(names_below(command, _registered), MAX_NAMES):
            declare_if_open(each)
    if declared:
        declare_if_open(name)
    return name


def _names_of(root: Any) -> Iterator[str]:
    """Yield the names of the commands that are registered in a tree, not those that a group lists dynamically."""
    yield from names_below(root, _registered)
    yield _own_name(root) or _ROOT


def _registered(group: Any) -> Iterable[tuple[Any, Any]]:
    commands = attempt(getattr, group, "commands", None)
    return list(commands.items()) if isinstance(commands, dict) else ()


def names_below(group: Any, members: Callable[[Any], Iterable[tuple[Any, Any]]], *words: str) -> Iterator[str]:
    """Yield the names of all commands below a group, of which `members` returns names and commands or groups.

    The commands of a member whose name is not a str belong to the group itself.
    """
    for name, member in members(group) if len(words) < _MAX_DEPTH else ():
        inner = (*words, name) if type(name) is str else words
        if inner is not words:
            yield " ".join(inner)
        yield from names_below(member, members, *inner)


def _word(command: Any, info_name: str | None, parent: Any) -> tuple[str, bool]:
    """Return the group's name for the command, and whether it is listed, because a user may type anything."""
    # A group that loads its commands may fail to list them, or list anything.
    listed = attempt(lambda: list(islice(parent.command.list_commands(parent), _MAX_COMMANDS)), default=())
    own = _own_name(command)
    for word in (info_name, own):
        if word and word in [each for each in listed if type(each) is str]:
            return word, True
    return own or info_name or _ROOT, False


def _own_name(command: Any) -> str:
    """Return the command's own name, if it is a text."""
    name = attempt(getattr, command, "name", None)
    return str.__str__(name) if issubclass(type(name), str) else ""
