"""The receiver's HTTP interface: OTLP in, answers out, and for bad input one sentence that says what is wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import anyio.to_thread
import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from automagik_telemetry.collector import _body as body
from automagik_telemetry.collector import _protobuf as protobuf
from automagik_telemetry.collector import _rows as rows
from automagik_telemetry.collector._errors import BadRequest, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from automagik_telemetry.collector._rows import Row
    from automagik_telemetry.collector._store import Store
    from automagik_telemetry.collector._values import Json

# google.rpc.Code
_INVALID_ARGUMENT: Final = 3
_UNAVAILABLE: Final = 14

DEFAULT_PATIENCE: Final = 30.0
"""How many seconds the body of a request may take to come."""

_PATHS: Final = "POST /v1/traces, POST /v1/logs, GET /api/report and GET /health"


def build(store: Store, limit: int = body.DEFAULT_LIMIT, patience: float = DEFAULT_PATIENCE) -> Starlette:
    """The receiver as an ASGI application.

    Args:
        store: where to keep what comes, and where to ask.
        limit: the largest body taken, in bytes, before and after decompression.
        patience: how many seconds a body may take to come.
    """
    # One request at a time is parsed and written, off the event loop; so memory is bounded as well.
    one_at_a_time = anyio.CapacityLimiter(1)

    def receive(
        from_protobuf: Callable[[bytes], Json], to_rows: Callable[[Json], list[Row]], add: Callable[[list[Row]], int]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            media_type = body.content_type(request.headers.get("content-type"))
            encoding = body.content_encoding(request.headers.get("content-encoding"))
            try:
                async with asyncio.timeout(patience):
                    sent = await body.read(request.stream(), limit)
            except TimeoutError:
                raise BadRequest(408, f"The body did not come within {patience:g} seconds.") from None

            def work() -> None:
                plain = body.decompress(sent, encoding, limit)
                parsed = body.parse_json(plain) if media_type == body.JSON else from_protobuf(plain)
                add(to_rows(parsed))

            await anyio.to_thread.run_sync(work, limiter=one_at_a_time)
            return Response(b"{}" if media_type == body.JSON else b"", media_type=media_type)

        return endpoint

    async def report(_request: Request) -> Response:
        answers = await anyio.to_thread.run_sync(store.report)
        return _json({"store": str(store.path.absolute()), "answers": answers})

    async def health(_request: Request) -> Response:
        return _json({"status": "ok"})

    app = Starlette(
        routes=[
            Route("/v1/traces", receive(protobuf.parse_traces, rows.trace_rows, store.add_spans), methods=["POST"]),
            Route("/v1/logs", receive(protobuf.parse_logs, rows.log_rows, store.add_records), methods=["POST"]),
            Route("/api/report", report, methods=["GET"]),
            Route("/health", health, methods=["GET"]),
        ],
        exception_handlers={
            HTTPException: _wrong_address,
            BadRequest: _refused,
            StoreError: _unavailable,
            ClientDisconnect: _gone,
        },
    )
    # A redirect would lose the body of a POST.
    app.router.redirect_slashes = False
    return app


async def _refused(request: Request, error: Exception) -> Response:
    return _sentence(request, getattr(error, "status", 400), _INVALID_ARGUMENT, str(error))


async def _unavailable(request: Request, error: Exception) -> Response:
    """The sender is asked to try again: a full disk may have room later."""
    return _sentence(request, 503, _UNAVAILABLE, str(error))


async def _gone(request: Request, _error: Exception) -> Response:
    """Nobody is there to read it."""
    return _sentence(request, 400, _INVALID_ARGUMENT, "The body ended early.")


async def _wrong_address(request: Request, error: Exception) -> Response:
    """404 and 405, in a sentence."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    headers = error.headers if isinstance(error, HTTPException) else None
    if status == 405:  # noqa: PLR2004 - Method Not Allowed
        allowed = (headers or {}).get("Allow", "")
        message = f"{request.url.path} takes {allowed}, not {request.method}."
    else:
        message = f"There is nothing at {request.url.path}; there is {_PATHS}."
    response = _sentence(request, status, _INVALID_ARGUMENT, message)
    response.headers.update(headers or {})
    return response


def _sentence(request: Request, status: int, code: int, message: str) -> Response:
    """A `google.rpc.Status`, in the encoding of the request."""
    if request.headers.get("content-type", "").startswith(body.PROTOBUF):
        return Response(protobuf.status(code, message), status, media_type=body.PROTOBUF)
    return _json({"code": code, "message": message}, status)


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type=body.JSON)
