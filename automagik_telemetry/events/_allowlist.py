"""The words that may leave verbatim: what this project knows beforehand, and what code or configuration declares."""

from __future__ import annotations

import builtins
import re

AGENTS = ("simple", "claude_code", "genie", "discord", "sofia", "stan", "prompt_maker", "multimodal_specialist")

_FRAMEWORKS = (
    *("pydantic_ai", "agno", "pydanticai", "langchain", "langgraph", "crewai", "autogen", "claude_code", "auto"),
)
# What Automagik Agents counts as features, and under which categories.
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

allowlist: set[str] = {
    *AGENTS,
    *(f"agent.{name}" for name in AGENTS),
    *_FRAMEWORKS,
    *_FEATURES,
    *_COMMANDS,
    *_CATEGORIES,
    *_METHODS,
    *_EXCEPTIONS,
    *(name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)),
}
"""The live set that the telemetry sink asks; `declare` adds to it."""

# A name that a developer writes in code: no sentence, path, address or number of its own.
_NAME = re.compile(r"[A-Za-z_/][\w /.:{}<>*+-]{0,127}")


def declare(*words: str) -> None:
    """Let these words leave verbatim from now on: names of agents, commands, features, tools, routes or workflows.

    Each may be an agent's, so the component that it would be, such as "agent.simple", is declared with it.
    Raises TypeError for what is not a str, and ValueError for what can't be a name.
    """
    for word in words:
        if not isinstance(word, str):
            raise TypeError(f"a declared word must be a str, not {type(word).__name__}")
        if not _NAME.fullmatch(word):
            raise ValueError(f"{word!r} can't be declared: a name begins with a letter and has at most 128 characters")
    allowlist.update(words, map("agent.{}".format, words))
