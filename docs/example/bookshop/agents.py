"""The staff by name, and the concierge, an agent of no framework, who asks the others."""

from __future__ import annotations

from automagik_telemetry.integrations.agent import TrackedAgent


class AgentFailedError(Exception):
    """An agent could not answer."""


class Concierge(TrackedAgent, agent_name="concierge", framework="custom"):
    """Asks the clerk, and has the poet say it: three runs, one trace."""

    async def run(self, message: str) -> str:
        """Answer. Raises AgentFailedError."""
        return await ask("poet", await ask("clerk", message))


async def ask(name: str, message: str) -> str:
    """Let a member of the staff answer. Raises AgentFailedError if that fails."""
    if name == "concierge":
        return await Concierge().run(message)
    if name == "clerk":
        from bookshop.clerk import clerk  # noqa: PLC0415 - a command loads the one framework that it needs

        try:
            return (await clerk.run(message)).output
        except LookupError as error:
            raise AgentFailedError(str(error)) from error
    from agno.run.base import RunStatus  # noqa: PLC0415 - as above

    from bookshop.poet import poet  # noqa: PLC0415 - as above

    answer = await poet.arun(message)
    if answer.status == RunStatus.error:
        raise AgentFailedError(str(answer.content))
    return str(answer.content)
