"""An application that calls its `automagik.tracing` in the ways that Automagik Agents does; the tests run it.

It knows nothing of this project: every import is of `automagik.tracing`, what it passes is private, and it neither
flushes nor shuts down.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

STAND_IN = """
from automagik_telemetry.compat.automagik_agents import stand_in_for

stand_in_for(__name__)
"""

AGENT = """
import enum, time

from automagik.tracing import get_tracing_manager
from automagik.tracing.performance import SamplingDecision


class FrameworkType(str, enum.Enum):
    PYDANTIC_AI = "pydanticai"
    AGNO = "agno"

    def __str__(self):
        return self.value


class AutomagikAgent:
    def __init__(self, name):
        self.name, self.framework_type = name, FrameworkType.PYDANTIC_AI
        self.tracing = get_tracing_manager()
        self.sampler = self.tracing.observability.sampler if self.tracing and self.tracing.observability else None

    def _should_sample(self, **kwargs):
        if self.sampler is None:
            return SamplingDecision(should_sample=False, reason="no_sampler")
        attributes = {"session_id": kwargs.get("session_id"), "has_multimodal": bool(kwargs.get("multimodal_content"))}
        return self.sampler.should_sample(
            trace_type=f"agent.{self.name}", duration_ms=None, is_error=False, attributes=attributes
        )

    async def run(self, text, multimodal_content=None, **kwargs):
        started, success, block = time.time(), False, None
        decision = self._should_sample(multimodal_content=multimodal_content, **kwargs)
        if decision.should_sample and self.tracing.observability:
            block = self.tracing.observability.trace_agent_run(
                agent_name=self.name, session_id=kwargs.get("session_id", "unknown"), message_preview=text[:100]
            )
            block.__enter__()
            if hasattr(block, "attributes"):
                block.attributes["sampling.reason"] = decision.reason
                block.attributes["sampling.rate"] = decision.sample_rate
        try:
            if "fail" in text:
                raise ConnectionError(text)
            answer = text.upper()
            if block is not None:
                for provider in self.tracing.observability.providers.values():
                    if hasattr(provider, "log_llm_call"):
                        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
                        provider.log_llm_call(
                            model="test", messages=[{"role": "user", "content": text}], response=answer, usage=usage
                        )
            success = True
            return answer
        except Exception as error:
            if block is not None:
                for provider in self.tracing.observability.providers.values():
                    provider.log_error(error, {"agent": self.name, "session_id": kwargs.get("session_id")})
            if self.tracing.telemetry:
                self.tracing.telemetry.track_error(error_type=type(error).__name__, component=f"agent.{self.name}")
            return "sorry"
        finally:
            if block is not None:
                block.__exit__(None, None, None)
            if self.tracing.telemetry:
                self.tracing.telemetry.track_agent_run(
                    agent_type=self.name,
                    framework=self.framework_type,
                    success=success,
                    duration_ms=(time.time() - started) * 1000,
                )
                self.tracing.telemetry.track_feature_usage(
                    f"framework.{self.framework_type}", category="agent_framework"
                )
                if multimodal_content:
                    self.tracing.telemetry.track_feature_usage("multimodal_content", category="agent_capability")
"""

MAIN = """
from fastapi import FastAPI

from automagik.agents import AutomagikAgent


def create_app():
    app = FastAPI(docs_url="/api/v1/docs", openapi_url="/api/v1/openapi.json")
    try:
        from automagik.tracing.middleware import TracingMiddleware
        app.add_middleware(TracingMiddleware)
    except ImportError:
        app.state.untracked = True

    @app.get("/health")
    async def health():
        return {}

    @app.post("/api/v1/users/{user}/run")
    async def run(user: str):
        return {"text": await AutomagikAgent("simple").run("hello " + user, session_id=user)}

    return app
"""

COMMANDS = """
import asyncio, sys

import click
import httpx

from automagik.agents import AutomagikAgent
from automagik.tracing.decorators import trace_async_cli_command, trace_cli_command


@click.group()
def cli():
    pass


@cli.command()
@click.option("--agent")
@click.option("--session")
@trace_cli_command(command_name="agent run")
def run(agent, session):
    for text in (f"hello {session}", f"fail {session}"):
        click.echo(asyncio.run(AutomagikAgent(agent).run(text, {"images": [b"x"]}, session_id=session)))


@trace_async_cli_command(command_name="agent chat")
async def ask(user):
    from automagik.main import create_app

    transport = httpx.ASGITransport(create_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.get("/health")
        answers = [await client.post(f"/api/v1/users/{user}/run"), await client.get(f"/{user}/notes.txt")]
    return " ".join(str(answer.status_code) for answer in answers)


@cli.command()
@click.argument("user")
def serve(user):
    click.echo(asyncio.run(ask(user)))


if __name__ == "__main__":
    cli()
"""


def lay_out(folder: Path, tracing: str = STAND_IN) -> None:
    """Write the application's package; `tracing` is the file that replaces its own tracing."""
    package = folder / "automagik"
    package.mkdir()
    files = {"__init__": "", "tracing": tracing, "agents": AGENT, "main": MAIN, "commands": COMMANDS}
    for name, code in files.items():
        (package / f"{name}.py").write_text(textwrap.dedent(code).lstrip(), encoding="utf-8")
