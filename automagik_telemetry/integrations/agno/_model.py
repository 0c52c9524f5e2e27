"""Tracks the requests to an agno model, and the tools that it executes, while a tracked agent runs it."""

from __future__ import annotations

import contextlib
import functools
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, cast

from automagik_telemetry.integrations._agent_run import AgentRun, Step, current_run
from automagik_telemetry.integrations._patch import patch_instance
from automagik_telemetry.integrations._wrapping import wrap_call
from automagik_telemetry.integrations.agno import _messages as agno_messages
from automagik_telemetry.tracing._cost import estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agno.models.base import Model
    from agno.tools.function import FunctionCall

    Call = Callable[..., Any]

_REQUESTS = ("invoke", "ainvoke", "invoke_stream", "ainvoke_stream")
_TOOLS = ("run_function_call", "arun_function_call")
_COUNTS = ("input_tokens", "output_tokens", "reasoning_tokens", "cache_read_tokens", "cache_write_tokens")
_CALL_ID = "gen_ai.tool.call.id"


_asking: ContextVar[object] = ContextVar("automagik_telemetry_agno_model", default=None)


class ModelRun(Protocol):
    """A run that takes in what its model does."""

    requests: list[Request]


def track_model(model: object) -> None:
    """Give a model a subclass of its class, of the same name, which tells the run that it is used in what it does."""
    with contextlib.suppress(Exception):  # what is no model, or can't be given another class, is left alone
        patch_instance(model, {**dict.fromkeys(_REQUESTS, _request), **dict.fromkeys(_TOOLS, _tool)})


class Request(Step):
    """A request to a model: one try of it, if it fails."""

    def __init__(self, run: AgentRun, model: Model, options: dict[str, Any]) -> None:
        self._message = options.get("assistant_message")
        self._model = model
        self._answer: Any = None
        self._texts: list[str] = []
        self._streamed = False
        self.failed = False
        run.count_request(model.id)
        about = {"model": model.id, "provider": model.provider}
        super().__init__(
            run, model.id, "llm", lambda: {"input": agno_messages.chat(options.get("messages") or ()), **about}
        )

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Return a block in which what the model asks of itself is part of this."""
        token = _asking.set(self._model)
        try:
            with super().step():
                yield
        finally:
            _asking.reset(token)

    def observe(self, value: object) -> bool:
        """Take in the answer, or a part of it."""
        if self.traced is not None:
            if self._answer is not None:
                self._streamed = True
            elif self.traced.first_token_at is None:
                self._first = time.time()
            self._answer = value
            text = getattr(value, "content", None)
            if isinstance(text, str):
                self._texts.append(text)
        return False

    def end(self, error: BaseException | None = None) -> None:
        """End it."""
        self.failed = isinstance(error, Exception)
        super().end(error)

    def complete(self) -> None:
        """Say what came of it, when agno has put the answer together, which it does after the request."""
        self.record(self._about)

    def _about(self) -> dict[str, Any]:
        message, answer = self._message, self._answer
        if answer is None:
            return {}
        whole = message if getattr(message, "content", None) or getattr(message, "tool_calls", None) else answer
        output = agno_messages.answer(whole)
        if whole is answer and self._streamed:
            output[0]["content"] = "".join(self._texts)
        metrics = getattr(answer, "response_usage", None) or getattr(message, "metrics", None)
        if self._streamed:
            metrics = getattr(message, "metrics", None) or metrics
        usage = {name: count for name in _COUNTS if (count := getattr(metrics, name, 0))}
        cost = getattr(metrics, "cost", None)
        estimated = estimate(self._model.id, self._model.provider, usage) if cost is None else None
        return {
            "output": output,
            "usage": usage,
            "cost": cost if estimated is None else estimated,
            "cost_estimated": estimated is not None,
            "first_token_at": self._first if self._streamed else None,
        }


class _Tool(Step):
    """An execution of a tool."""

    def __init__(self, run: AgentRun, call: FunctionCall) -> None:
        self._call = call
        super().__init__(
            run,
            call.function.name,
            "tool",
            lambda: {"input": call.arguments or {}, "attributes": {_CALL_ID: call.call_id}},
        )

    def end(self, error: BaseException | None = None) -> None:
        """End it; agno goes on after a tool that fails, and keeps the text of its exception."""
        self.record(lambda: {"output": self._call.result})
        if self.traced is not None and error is None and self._call.error:
            self.traced.error = {"type": "ToolError", "message": self._call.error, "stacktrace": None}
        super().end(error)


def _request(method: Call) -> Call:
    """Return a method that tracks a request."""

    @functools.wraps(method)
    def tracked(self: Model, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the method's own
        run = current_run()
        if run is None or not hasattr(run, "requests") or _asking.get() is self:
            return method(self, *args, **kwargs)
        requests = cast("ModelRun", run).requests
        run.count_retries(bool(requests and requests[-1].failed))
        request = Request(run, self, kwargs)
        requests.append(request)
        return wrap_call(request, lambda: method(self, *args, **kwargs))

    return tracked


def _tool(method: Call) -> Call:
    """Return a method that tracks a tool."""

    @functools.wraps(method)
    def tracked(self: Model, function_call: FunctionCall, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - see above
        run = current_run()
        if run is None or run.traced is None or not hasattr(run, "requests"):
            return method(self, function_call, *args, **kwargs)
        return wrap_call(_Tool(run, function_call), lambda: method(self, function_call, *args, **kwargs))

    return tracked
