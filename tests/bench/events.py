"""The events that are logged: agent runs with eight attributes."""

from __future__ import annotations

import random
from typing import Any

Fields = dict[str, Any]

NAME = "agent.run"

_RUN: Fields = {
    "agent_name": "simple",
    "framework": "pydantic_ai",
    "success": True,
    "duration_ms": 0.0,
    "has_multimodal": False,
    "token_count": 0,
    "anonymous_id": "6a0ffe66-2c5d-4c3a-9d0c-0d5a4b8e3f10",
    "session_id": "0f6a5a52-8f7a-4b66-8f4e-3a4c0f4a7a11",
}
_AGENTS = ("simple", "genie", "stan", "sofia", "concierge", "clerk", "billing helper", "night watch")
"""The first four are on the allowlist; the others are sent as keyed hashes."""
_FRAMEWORKS = ("pydantic_ai", "agno", "claude_code")
_SESSIONS = 64


def events(count: int, *, constant: bool = False) -> list[Fields]:
    """Return `count` agent runs: 8 agents, 3 frameworks, 64 sessions, distinct numbers, one failure in 17.

    Args:
        count: Number of events.
        constant: Vary the duration and the token count only. Caches make such events cheaper than real ones.
    """
    draw = random.Random(7).lognormvariate
    numbers = [(draw(7, 1), int(draw(7, 1))) for _ in range(count)]
    if constant:
        return [_RUN | {"duration_ms": duration, "token_count": tokens} for duration, tokens in numbers]
    sessions = [f"{random.Random(number).getrandbits(128):032x}" for number in range(_SESSIONS)]
    return [
        _RUN
        | {
            "agent_name": _AGENTS[index % len(_AGENTS)],
            "framework": _FRAMEWORKS[index % len(_FRAMEWORKS)],
            "success": index % 17 != 0,
            "duration_ms": duration,
            "has_multimodal": index % 5 == 0,
            "token_count": tokens * 1_000 + index,
            "session_id": sessions[index % _SESSIONS],
        }
        for index, (duration, tokens) in enumerate(numbers)
    ]
