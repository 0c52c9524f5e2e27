"""One request, or one websocket, observed by its messages: status, time of the end, and disconnects of the client."""

from __future__ import annotations

import time
from operator import index
from typing import TYPE_CHECKING, Any

from automagik_telemetry._failsafe import attempt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

_SERVER_ERROR = 500
_CLIENT_LEFT = 499
"""The status that nginx logs for a request whose client closed the connection before the answer was complete."""
_ACCEPTED, _DENIED = 101, 403
"""The statuses of a websocket that was accepted, and of one that was closed instead (ASGI, "Close")."""

_STARTS = frozenset({"http.response.start", "websocket.http.response.start"})
_BODIES = frozenset({"http.response.body", "websocket.http.response.body", "http.response.zerocopysend"})


class Exchange:
    """Passes messages on unchanged, and calls `done` once: at the last byte, or when the application ends without.

    `status` is the one that was sent, 499 if the client left before the end, and 500 if there was none; a websocket's
    is 101, or the one that it was denied with. `duration_ms` is the time to the end.
    """

    __slots__ = (
        "_done",
        "_receive",
        "_send",
        "_sent",
        "_started",
        "_trailers",
        "duration_ms",
        "failed",
        "is_over",
        "left",
    )

    def __init__(self, receive: Receive, send: Send, done: Callable[[Exchange], None]) -> None:
        self._receive = receive
        self._send = send
        self._done = done
        self._started = time.perf_counter()
        self._sent: int | None = None
        self._trailers = False
        self.is_over = False
        self.left = False
        self.failed = False
        self.duration_ms = 0.0

    @property
    def status(self) -> int:
        """The status and duration; see the class."""
        if self._sent == _ACCEPTED:
            return _SERVER_ERROR if self.failed else _ACCEPTED
        return _CLIENT_LEFT if self.left else _SERVER_ERROR if self._sent is None else self._sent

    @property
    def success(self) -> bool:
        """True if the server has completed its part."""
        return self.status < _SERVER_ERROR and not self.failed

    async def receive(self) -> Message:
        """Pass a message to the application."""
        message = await self._receive()
        attempt(self._see_received, message)
        return message

    async def send(self, message: Message) -> None:
        """Pass a message to the server."""
        attempt(self._see_sending, message)
        try:
            await self._send(message)
        except OSError:  # servers raise this when the client has gone (ASGI, "Disconnected Client")
            self.left = self.left or not self.is_over
            raise
        attempt(self._see_sent, message)

    def _see_received(self, message: Message) -> None:
        if not self.is_over and message["type"] in ("http.disconnect", "websocket.disconnect"):
            self.left = True
            if message["type"] == "websocket.disconnect":
                self._end()

    def _see_sending(self, message: Message) -> None:
        kind = message["type"]
        if kind in _STARTS:
            self._sent = index(message["status"])
            self._trailers = bool(message.get("trailers"))
        elif kind == "websocket.accept":
            self._sent = _ACCEPTED
        elif kind == "websocket.close" and self._sent is None:
            self._sent = _DENIED

    def _see_sent(self, message: Message) -> None:
        if not self.is_over and message["type"] not in _STARTS and self._is_last(message):
            self._end()

    def end(self, error: BaseException | None) -> None:
        """End the exchange if it has not ended, because the application has returned or raised."""
        if not self.is_over:
            incomplete = self._sent != _ACCEPTED or error is not None
            self.failed = incomplete and not self.left
            self._end()

    def _is_last(self, message: Message) -> bool:
        kind = message["type"]
        if kind in _BODIES:
            return not message.get("more_body") and not self._trailers
        if kind == "http.response.trailers":
            return not message.get("more_trailers")
        return kind in ("http.response.pathsend", "websocket.close")

    def _end(self) -> None:
        self.is_over = True
        self.duration_ms = (time.perf_counter() - self._started) * 1000
        self._done(self)
