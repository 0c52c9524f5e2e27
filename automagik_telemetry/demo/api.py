"""The HTTP API: FastAPI with one middleware added."""

from __future__ import annotations

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from automagik_telemetry import configure
from automagik_telemetry.demo.agents import AGENTS
from automagik_telemetry.integrations.api import TelemetryMiddleware


class Message(BaseModel):
    """What to tell an agent."""

    text: str


def create_app() -> FastAPI:
    """Return the application."""
    configure()
    app = FastAPI(title="Demo agents")
    app.add_middleware(TelemetryMiddleware)

    @app.get("/api/v1/agents")
    async def list_agents() -> list[str]:
        return list(AGENTS)

    @app.post("/api/v1/agents/{name}/run")
    async def run_agent(name: str, message: Message) -> dict[str, str]:
        if name not in AGENTS:
            raise HTTPException(404, "no such agent")
        try:
            response = await AGENTS[name]().run(message.text)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        except TimeoutError as error:
            raise HTTPException(504, "the agent took too long") from error
        return {"text": response.text}

    return app
