"""The staff by name, and the concierge, an agent without a framework that calls the others."""

from __future__ import annotations

from automagik_telemetry.integrations.agent import TrackedAgent


class AgentFailedError(Exception):
    """An agent could not answer."""


class Concierge(TrackedAgent, agent_name="concierge", framework="custom"):
    """An agent that calls the clerk and the poet: three runs, one trace."""

    async def run(self, message: str) -> str:
        """Return the answer. Raises AgentFailedError."""
        return await ask("poet", await ask("clerk", message))


async def ask(name: str, message: str) -> str:
    """Return the answer of an agent. Raises AgentFailedError if it fails."""
    if name == "concierge":
        return await Concierge().run(message)
    if name == "clerk":
        from bookshop.clerk import clerk

        try:
            return (await clerk.run(message)).output
        except LookupError as error:
            raise AgentFailedError(str(error)) from error
    from agno.run.base import RunStatus

    from bookshop.poet import poet

    answer = await poet.arun(message)
    if answer.status == RunStatus.error:
        raise AgentFailedError(str(answer.content))
    return str(answer.content)
