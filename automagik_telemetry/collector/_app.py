"""The HTTP interface of the receiver: OTLP, the report, and one sentence for each error."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio.to_thread
import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from automagik_telemetry.collector import _body as body
from automagik_telemetry.collector import _control as control
from automagik_telemetry.collector import _items as items
from automagik_telemetry.collector import _protobuf as protobuf
from automagik_telemetry.collector._errors import BadRequest, Overloaded, StoreError
from automagik_telemetry.collector._flow import DEFAULT_BYTES_IN_FLIGHT, Flow
from automagik_telemetry.collector._stats import Stats, listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from automagik_telemetry.collector._exposure import Access, Exposure
    from automagik_telemetry.collector._flow import Load
    from automagik_telemetry.collector._gate import Gate
    from automagik_telemetry.collector._items import Checked
    from automagik_telemetry.collector._store import Store
    from automagik_telemetry.collector._values import Json
    from automagik_telemetry.collector._writer import Writer

# google.rpc.Code
_INVALID_ARGUMENT: Final = 3
_UNAVAILABLE: Final = 14
_CODES: Final = {401: 16, 403: 7}

DEFAULT_BODY_TIMEOUT: Final = 30.0
"""Maximum number of seconds until the body of a request is received."""

_PATHS: Final = "POST /v1/traces, POST /v1/logs, GET /api/report, GET /health or GET /metrics"


class Limits(NamedTuple):
    """The limits of requests."""

    body: int = body.DEFAULT_LIMIT
    """Maximum size of a body in bytes, before and after decompression."""
    bytes_in_flight: int = DEFAULT_BYTES_IN_FLIGHT
    """Maximum number of bytes of all requests in progress."""
    body_timeout: float = DEFAULT_BODY_TIMEOUT
    """Maximum number of seconds until a body is received."""


class Signal(NamedTuple):
    """The formats of requests and responses of one signal."""

    parse_protobuf: Callable[[bytes], Json]
    to_items: Callable[[Json, Gate, frozenset[str] | None], Checked]
    rejected: str
    """Name of the number of rejected items in JSON."""
    partial_protobuf: Callable[[int, str], bytes]


TRACES: Final = Signal(protobuf.parse_traces, items.trace_items, "rejectedSpans", protobuf.partial_traces)
LOGS: Final = Signal(protobuf.parse_logs, items.log_items, "rejectedLogRecords", protobuf.partial_logs)


class Receiver:
    """The endpoints.

    Args:
        store: The store of spans and log records.
        writer: The thread that adds to it.
        gate: Decides what is stored.
        exposure: Decides who may send and read.
        limits: The limits of each request.
    """

    def __init__(self, store: Store, writer: Writer, gate: Gate, exposure: Exposure, limits: Limits) -> None:
        self._store = store
        self._writer = writer
        self._gate = gate
        self._exposure = exposure
        self._limits = limits
        self._flow = Flow(limits.bytes_in_flight)
        self.stats = Stats(self._flow, writer)
        # One large request at a time is parsed, off the event loop, so that memory is bounded.
        self._one_at_a_time = anyio.CapacityLimiter(1)

    def app(self) -> Starlette:
        """Return the receiver as an ASGI application."""
        app = Starlette(
            routes=[
                Route("/v1/traces", functools.partial(self._receive, TRACES), methods=["POST"]),
                Route("/v1/logs", functools.partial(self._receive, LOGS), methods=["POST"]),
                Route("/api/report", self._report, methods=["GET"]),
                Route(control.CONTROL_PATH, self._control, methods=["POST"]),
                Route("/health", self._health, methods=["GET"]),
                Route("/metrics", self._metrics, methods=["GET"]),
            ],
            exception_handlers={
                HTTPException: _not_found,
                BadRequest: _refused,
                Overloaded: _unavailable,
                StoreError: _unavailable,
                ClientDisconnect: _disconnected,
            },
        )
        # A redirect would lose the body of a POST.
        app.router.redirect_slashes = False
        app.state.stats = self.stats
        return app

    async def _receive(self, signal: Signal, request: Request) -> Response:
        access = self._admit(request)
        media_type = body.content_type(request.headers.get("content-type"))
        encoding = body.content_encoding(request.headers.get("content-encoding"))
        with self._flow.request() as load:
            sent = await self._read(request, load)
            parse = functools.partial(self._parse, signal, media_type, encoding, access, sent)
            if body.is_small(sent, encoding):
                found = parse()
            else:
                found = await anyio.to_thread.run_sync(parse, limiter=self._one_at_a_time)
            del parse, sent  # freed, so that the bytes in flight match the memory in use
            load.hold(found.size)
            if found.items:
                await self._writer.add(found)
        self.stats.accept(len(found.items), found.long_trace_ids)
        self.stats.refuse(found.refused)
        self.stats.respond(200)
        return Response(_answer(signal, media_type, found), media_type=media_type)

    def _parse(self, signal: Signal, media_type: str, encoding: str, access: Access, sent: bytes) -> Checked:
        plain = body.decompress(sent, encoding, self._limits.body)
        parsed = body.parse_json(plain) if media_type == body.JSON else signal.parse_protobuf(plain)
        return signal.to_items(parsed, self._gate, access.applications)

    async def _read(self, request: Request, load: Load) -> bytes:
        try:
            async with asyncio.timeout(self._limits.body_timeout):
                return await body.read(request.stream(), self._limits.body, load.hold)
        except TimeoutError:
            raise BadRequest(
                408,
                f"The body was not received within {self._limits.body_timeout:g} seconds. Send smaller batches.",
            ) from None

    async def _report(self, request: Request) -> Response:
        self._admit(request, reads=True)
        summary = await anyio.to_thread.run_sync(self._store.report)
        return _json({"store": str(self._store.path.absolute()), "report": summary})

    async def _control(self, request: Request) -> Response:
        if not self._admit(request).control:
            raise BadRequest(403, "Only the owner of the store may do this, with `automagik-telemetry collector`.")
        with self._flow.request() as load:
            sent = body.parse_json(await self._read(request, load))
        try:
            arguments = [str(argument) for argument in sent["arguments"]]
            perform = functools.partial(control.perform, self._store, str(sent["action"]), arguments)
            return _json(await anyio.to_thread.run_sync(perform))
        except (KeyError, TypeError, ValueError):
            raise BadRequest(400, "The action must be forget, export or backup, with a list of arguments.") from None

    async def _metrics(self, request: Request) -> Response:
        self._admit(request, reads=True)
        return Response(self.stats.as_prometheus(), media_type="text/plain; version=0.0.4")

    async def _health(self, request: Request) -> Response:
        self._check_name(request)
        return _json({"status": "ok", **self.stats.as_json()})

    def _check_name(self, request: Request) -> None:
        if not self._exposure.is_host(request.headers.get("host")):
            raise BadRequest(421, "The Host header names another server. If the name is its own, add it with --name.")

    def _admit(self, request: Request, *, reads: bool = False) -> Access:
        """Return the access that the token of a request grants.

        Raises:
            BadRequest: 421 for another Host header, 401 without a known token, 403 if it may not read.
        """
        self._check_name(request)
        access = self._exposure.access(request.headers.get("authorization"))
        if access is None:
            raise BadRequest(401, "A token is required: Authorization: Bearer TOKEN.")
        if reads and not access.read:
            raise BadRequest(403, "This token may send, but not read. Use one with `read = true`.")
        return access


def _answer(signal: Signal, media_type: str, found: Checked) -> bytes:
    """Return the body of a 200, with `partialSuccess` if items were rejected."""
    if not found.rejected:
        return b"{}" if media_type == body.JSON else b""
    message = f"Not stored: {listed(found.refused)}."
    if media_type == body.PROTOBUF:
        return signal.partial_protobuf(found.rejected, message)
    return orjson.dumps({"partialSuccess": {signal.rejected: str(found.rejected), "errorMessage": message}})


async def _refused(request: Request, error: Exception) -> Response:
    status = getattr(error, "status", 400)
    response = _error_response(request, status, _CODES.get(status, _INVALID_ARGUMENT), str(error))
    if status == 401:  # noqa: PLR2004 - Unauthorized
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def _unavailable(request: Request, error: Exception) -> Response:
    """Return 503, so that the sender retries: a full disk may have space later."""
    response = _error_response(request, 503, _UNAVAILABLE, str(error))
    if isinstance(error, Overloaded):
        response.headers["Retry-After"] = "1"
    return response


async def _disconnected(request: Request, _error: Exception) -> Response:
    """Return 400, although the client is gone."""
    return _error_response(request, 400, _INVALID_ARGUMENT, "The body ended early.")


async def _not_found(request: Request, error: Exception) -> Response:
    """Return 404 or 405 with a sentence."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    headers = error.headers if isinstance(error, HTTPException) else None
    if status == 405:  # noqa: PLR2004 - Method Not Allowed
        allowed = (headers or {}).get("Allow", "")
        message = f"{request.url.path} accepts {allowed}, not {request.method}."
    else:
        message = f"{request.url.path} does not exist. Use {_PATHS}."
    response = _error_response(request, status, _INVALID_ARGUMENT, message)
    response.headers.update(headers or {})
    return response


def _error_response(request: Request, status: int, code: int, message: str) -> Response:
    """Return a `google.rpc.Status`, in the encoding of the request."""
    request.app.state.stats.respond(status)
    if request.headers.get("content-type", "").startswith(body.PROTOBUF):
        return Response(protobuf.status(code, message), status, media_type=body.PROTOBUF)
    return _json({"code": code, "message": message}, status)


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type=body.JSON)
