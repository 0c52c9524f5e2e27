"""Tracks a whole tree of commands, click's or Typer's, under the names that it has in the tree."""

from __future__ import annotations

import contextlib
import time
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from automagik_telemetry.events._allowlist import declare
from automagik_telemetry.integrations.click import _run as command_run
from automagik_telemetry.integrations.click._run import exit_code

if TYPE_CHECKING:
    from collections.abc import Callable

CommandT = TypeVar("CommandT")

_TRACKED = "_automagik_tracked"
_ROOT = "main"
"""The name of a tree's root that has none of its own."""


def instrument_click(command: CommandT) -> CommandT:
    """Track every command of a click group, nested and lazily loaded ones too, and return the group.

    Their names are those of the tree, without the root's, such as "agents list"; a usage error counts with the command
    that it belongs to, and the root's with the root's own name. `--help` is not counted. What a group lists is
    declared; a name that it answers to without listing it leaves as a hash. Doing it twice is doing it once, and a
    function with `track_cli_command` keeps the name given there. Raises TypeError for what is no click command.
    """
    if not is_command(command):
        hint = "; instrument_typer is for a Typer app" if type(command).__module__.startswith("typer") else ""
        raise TypeError(f"instrument_click takes a click command or group, not {type(command).__name__}{hint}")
    track(command)
    return command


def is_command(value: object) -> bool:
    """Return whether this is a command of click, or of Typer's own copy of click."""
    return not isinstance(value, type) and all(hasattr(value, name) for name in ("callback", "make_context", "invoke"))


def track(command: Any) -> None:  # noqa: ANN401 - click's or Typer's
    """Let a command track itself, and a group its commands when they are found."""
    kind: Any = type(command)
    command.__class__ = tracked_class(kind)


@cache
def tracked_class(base: Any) -> Any:  # noqa: ANN401 - as above
    """Return the subclass that tracks, which looks like the class itself; a class that tracks is returned as it is."""
    if hasattr(base, _TRACKED):
        return base

    class Tracked(base):  # type: ignore[misc]
        def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:  # noqa: ANN401 - click's signature
            def parse() -> Any:  # noqa: ANN401 - as above
                return super(Tracked, self).make_context(info_name, args, parent, **extra)

            if extra.get("resilient_parsing"):  # for completion, which runs nothing
                return parse()
            return _make_context(self, info_name, parent, parse)

        def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's signature
            return _invoke(self, ctx, super().invoke)

    tracked: Any = Tracked
    if hasattr(base, "resolve_command"):

        class TrackedGroup(Tracked):
            def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - click's signature
                name, command, rest = super().resolve_command(ctx, args)
                if command is not None:
                    with contextlib.suppress(TypeError):  # of a class that can't be extended
                        track(command)
                return name, command, rest

        tracked = TrackedGroup
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(tracked, name, getattr(base, name))
    setattr(tracked, _TRACKED, True)
    return tracked


def _make_context(command: Any, info_name: str | None, parent: Any, parse: Callable[[], Any]) -> Any:  # noqa: ANN401 - click's or Typer's
    """Parse; what fails there is the command's failure."""
    run, started = _run_of(parent), time.perf_counter()
    if run is not None and not _is_chain(parent):
        run.name = _name(command, info_name, parent)
    try:
        return parse()
    except BaseException as error:
        ran = exit_code(error) != 0  # unlike --help
        if run is not None:
            run.is_counted = ran
            run.name = _name(command, info_name, parent)
        elif ran and (run := command_run.begin(lambda: _name(command, info_name, parent))) is not None:
            run.started = started
            run.end(error)
        raise


def _invoke(command: Any, context: Any, invoke: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - as above
    """Run; a subcommand goes on with the run of its group."""
    run = _run_of(context.parent)
    if run is not None and not _is_chain(context.parent):
        run.claim = _mark(command)
        return invoke(context)
    run = command_run.begin(lambda: _name(command, context.info_name, context.parent))
    if run is None:
        return invoke(context)
    run.context = context
    run.claim = _mark(command)
    return run.wrap_call(lambda: invoke(context))


def _mark(command: Any) -> object:  # noqa: ANN401 - as above
    return getattr(command.callback, "__automagik_mark__", None)


def _is_chain(context: Any) -> bool:  # noqa: ANN401 - as above
    """Return whether several subcommands run in turn, each of which then is a part of the whole."""
    return bool(getattr(context.command, "chain", False))


def _run_of(context: Any) -> command_run.CommandRun | None:  # noqa: ANN401 - as above
    """Return the current run if it is of the tree that the context stands in."""
    run = command_run.current()
    if run is None or run.context is None:
        return None
    while context is not None and context is not run.context:
        context = context.parent
    return None if context is None else run


def _name(command: Any, info_name: str | None, parent: Any) -> str:  # noqa: ANN401 - as above
    """Return the command's name in the tree, declared if all of its words are listed there."""
    words: list[str] = []
    declared = True
    while parent is not None and hasattr(parent.command, _TRACKED):
        word, listed = _word(command, info_name, parent)
        words.insert(0, word)
        declared = declared and listed
        command, info_name, parent = parent.command, parent.info_name, parent.parent
    name = " ".join(words) or str(command.name or _ROOT)
    if declared:
        with contextlib.suppress(ValueError):
            declare(name)
    return name


def _word(command: Any, info_name: str | None, parent: Any) -> tuple[str, bool]:  # noqa: ANN401 - as above
    """Return what the group calls the command, and whether it lists that: what a user typed may be anything."""
    try:
        listed = parent.command.list_commands(parent)
    except Exception:  # noqa: BLE001 - a group that loads its commands may fail to list them
        listed = []
    for name in (info_name, command.name):
        if name in listed:
            return str(name), True
    return str(command.name or info_name), False
