"""The allowlist: strings that are sent verbatim, built in or declared by code or configuration."""

from __future__ import annotations

import builtins
import re
from typing import TYPE_CHECKING

from automagik_telemetry._process import kept
from automagik_telemetry.consent._application import DEFAULT_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

AGENTS = ("simple", "claude_code", "genie", "discord", "sofia", "stan", "prompt_maker", "multimodal_specialist")

_FRAMEWORKS = (
    *("pydantic_ai", "agno", "pydanticai", "langchain", "langgraph", "crewai", "autogen", "claude_code", "auto"),
)
# Features and categories of Automagik Agents.
_FEATURES = ("multimodal_content", *(f"framework.{name}" for name in _FRAMEWORKS))
_COMMANDS = (
    *("agent list", "agent run", "agent chat", "agent create", "agent delete", "agent status"),
    *("api start", "api stop", "api restart", "api status", "init", "serve"),
)
_CATEGORIES = (
    "agent",
    "agent_capability",
    "agent_framework",
    "agents",
    "api",
    "api_endpoint",
    "cli",
    "framework",
    "memory",
    "multimodal",
    "session",
    "tool",
    "tools",
    "workflow",
)
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "WEBSOCKET", "unmatched")
# Exception classes of libraries that agents are built on; only the class's name is ever sent.
_EXCEPTIONS = (
    *("HTTPError", "HTTPStatusError", "ConnectError", "ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout"),
    *("RequestError", "RemoteProtocolError", "TransportError", "TimeoutException", "HTTPException"),
    *("ValidationError", "PydanticUserError", "RequestValidationError", "ResponseValidationError"),
    *("AgentRunError", "ModelRetry", "ModelHTTPError", "UnexpectedModelBehavior", "UsageLimitExceeded", "UserError"),
    *("APIError", "APIConnectionError", "APITimeoutError", "APIStatusError", "RateLimitError", "AuthenticationError"),
    *("BadRequestError", "NotFoundError", "InternalServerError", "PermissionDeniedError"),
    *("CancelledError", "InvalidStateError", "QueueEmpty", "QueueFull", "JSONDecodeError", "Empty", "Full"),
    *("Abort", "Exit", "UsageError", "BadParameter", "NoSuchOption", "ClickException"),
    *("OperationalError", "IntegrityError", "ProgrammingError", "DatabaseError", "InterfaceError", "SQLAlchemyError"),
)

# The agents of Automagik Agents, and their components. Another application's users may have given theirs these names.
_AGENT_NAMES = frozenset({*AGENTS, *(f"agent.{name}" for name in AGENTS)})

_declared: set[str] = kept("declared strings", set[str])
"""The strings that the application or its configuration has declared."""

allowlist: set[str] = kept("allowlist", set[str])
"""The live set that the telemetry sink reads; `declare` adds to it."""
_BUILT_IN = frozenset(
    {
        *_AGENT_NAMES,
        *_FRAMEWORKS,
        *_FEATURES,
        *_COMMANDS,
        *_CATEGORIES,
        *_METHODS,
        *_EXCEPTIONS,
        *(
            name
            for name, value in vars(builtins).items()
            if isinstance(value, type) and issubclass(value, BaseException)
        ),
    }
)
allowlist.update(_BUILT_IN)

# A name that a developer writes in code, not a sentence, address or number.
_NAME = re.compile(r"[A-Za-z_/][\w /.:{}<>*+-]{0,127}")


def declare(*words: str) -> None:
    """Add strings to the allowlist, so that they are sent verbatim instead of as a keyed hash.

    Each may be the name of an agent, so the name of its component, such as "agent.simple", is added as well.

    Args:
        *words: Names of agents, commands, features, tools, routes or workflows. A name begins with a letter, "_" or
            "/" and has at most 128 characters.

    Raises:
        TypeError: A word is not a str.
        ValueError: A word is not a valid name.
    """
    check_names(*words)
    added = {*words, *map("agent.{}".format, words)}
    _declared.update(added)
    allowlist.update(added)


def check_names(*words: object) -> None:
    """Raise TypeError or ValueError if one of the words can't be declared."""
    for word in words:
        if not isinstance(word, str):
            raise TypeError(f"a declared name must be a str, got {type(word).__name__}")
        if not _NAME.fullmatch(word):
            raise ValueError(
                f"a declared name must begin with a letter, _ or /, and have at most 128 characters, got {word!r}"
            )


def for_application(service_name: str) -> None:
    """Allow the built-in names of agents for Automagik Agents, and for no other application.

    Names that the application declares itself stay allowed.
    """
    if service_name == DEFAULT_NAME:
        allowlist.update(_AGENT_NAMES)
    else:
        allowlist.difference_update(_AGENT_NAMES - _declared)


def snapshot(*, names_only: bool = False) -> Callable[[], None]:
    """Return a function that restores the allowlist, or only what `for_application` changes of it."""
    words, declared = set(allowlist), set(_declared)

    def restore() -> None:
        if names_only:
            allowlist.difference_update(_AGENT_NAMES - _declared)
            allowlist.update(words & _AGENT_NAMES)
            return
        for live, before in ((allowlist, words), (_declared, declared)):
            live.clear()
            live.update(before)

    return restore


def reset() -> None:
    """Remove all strings but those that are built in."""
    _declared.clear()
    allowlist.clear()
    allowlist.update(_BUILT_IN)
