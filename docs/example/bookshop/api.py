"""The shop's HTTP API: `uvicorn --factory bookshop.api:create_app`."""

from __future__ import annotations

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

import bookshop.clerk
import bookshop.poet  # noqa: F401 - a server loads everything before its first request
from automagik_telemetry.integrations.asgi import TelemetryMiddleware
from bookshop import STAFF, start
from bookshop.agents import AgentFailedError, ask


class Message(BaseModel):
    """A request to an agent."""

    text: str


def create_app() -> FastAPI:
    """Return the application."""
    start()
    app = FastAPI(title="Bookshop")
    app.add_middleware(TelemetryMiddleware, skip=["/health"])

    @app.get("/health")
    async def health() -> None:
        pass

    @app.get("/agents")
    async def list_agents() -> list[str]:
        return [*STAFF]

    @app.post("/agents/{name}/run")
    async def run_agent(name: str, message: Message) -> dict[str, str]:
        if name not in STAFF:
            raise HTTPException(404, "nobody of that name works here")
        try:
            return {"text": await ask(name, message.text)}
        except AgentFailedError as error:
            raise HTTPException(502, str(error)) from error

    return app
