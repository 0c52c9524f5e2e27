"""Tracks the requests to an agno model, and the tools that it executes, while a tracked agent runs it."""

from __future__ import annotations

import contextlib
import functools
import inspect
import time
from collections import abc
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, cast

from agno.models.base import Model
from agno.models.fallback import FallbackConfig

from automagik_processors._otlp_values import text_of
from automagik_telemetry._failsafe import attempt
from automagik_telemetry._process import kept
from automagik_telemetry.integrations._agent_run import MAX_ITEMS, AgentRun, Step, current_run
from automagik_telemetry.integrations._patch import patch_instance
from automagik_telemetry.integrations._wrapping import Run, follow, wrap_call
from automagik_telemetry.integrations.agno import _messages as agno_messages
from automagik_telemetry.integrations.agno._usage import counts
from automagik_telemetry.tracing._cost import estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from agno.models.message import Message
    from agno.tools.function import FunctionCall

    Call = Callable[..., Any]

_REQUESTS = ("invoke", "ainvoke", "invoke_stream", "ainvoke_stream")
_TOOLS = ("run_function_call", "arun_function_call")
_USAGE = "_get_metrics"
_CALL_ID = "gen_ai.tool.call.id"


_asking: ContextVar[Request | None] = kept(
    "agno_request", lambda: ContextVar("automagik_telemetry_agno_request", default=None)
)


class ModelRun(Protocol):
    """A run that records its model's work."""

    requests: list[Request]


def track_model(model: object) -> None:
    """Give a model a lookalike subclass of its class, which reports its requests and tools to the current run."""
    # An object that is not a model, or whose class can't be changed, is left alone.
    wraps = {**dict.fromkeys(_REQUESTS, _request), **dict.fromkeys(_TOOLS, _tool)}
    if inspect.isfunction(inspect.getattr_static(type(model), _USAGE, None)):
        wraps[_USAGE] = _usage
    attempt(patch_instance, model, wraps)


def each_model(owner: Any, apply: Callable[[Any], None]) -> None:
    """Apply a function to all models of an agent or team, and of its managers of memory, summaries and the like."""
    for value in list(vars(owner).values()):
        listed = vars(value).values() if type(value) is FallbackConfig else (value,)
        for one in listed:
            for model in one if type(one) is list else (one, _model_of_manager(one)):
                if issubclass(type(model), Model):
                    apply(model)


def _model_of_manager(value: object) -> object:
    """Return the model of one of agno's own objects; None of any other, whose attributes may be anything."""
    is_own = type(value).__module__.partition(".")[0] == "agno"
    return getattr(value, "model", None) if is_own else None


class Request(Step):
    """A request to a model, or one try of a request that fails."""

    def __init__(self, run: AgentRun, model: Model, options: dict[str, Any]) -> None:
        self.model = model
        self.usage: object = None
        """The usage as the provider reports it."""
        self._message = options.get("assistant_message")
        self._answer: Any = None
        self._texts: list[str] = []
        self._streamed = False
        self._recorded: dict[str, Any] = {}
        self.failed = False
        name, provider = (attempt(getattr, model, attribute, None) for attribute in ("id", "provider"))
        attempt(run.count_request, name)
        super().__init__(
            run, text_of(name), "llm", lambda: {"input": agno_messages.request(options.get("messages") or ())}
        )
        self.record(lambda: {"model": name, "provider": provider})

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Return a block in which the model's own requests are part of this one."""
        token = _asking.set(self)
        try:
            with super().step():
                yield
        finally:
            with contextlib.suppress(ValueError):  # left in another context than it was entered in
                _asking.reset(token)

    def observe(self, value: object) -> bool:
        """Record the answer, or a part of it."""
        if self._answer is not None:
            self._streamed = True
        else:
            self._first = time.time()
        self._answer = value
        if self.traced is not None:
            text: Any = getattr(value, "content", None)
            if issubclass(type(text), str):
                self._texts.append(text)
        return False

    def end(self, error: BaseException | None = None) -> None:
        """End the request."""
        self.failed = issubclass(type(error), Exception)
        span = self.traced
        if span is not None and span.recorded and span.trace.kept is not None:
            self.record(self._news)  # for the next process, if this one dies before the run ends
        super().end(error)

    def complete(self) -> None:
        """Record the outcome, once agno has assembled the answer, which it does after the request.

        A request whose stream is no longer read ends with its run.
        """
        self.record(self._news)
        super().end()

    def tokens(self) -> tuple[int, int] | None:
        """Return the numbers of read and written tokens, as far as they are known."""
        found = counts(self.model, self._metrics(), self.usage)
        return (found.get("input_tokens", 0), found.get("output_tokens", 0)) if found else None

    def _metrics(self) -> Any:
        of_answer = getattr(self._answer, "response_usage", None)
        of_message = getattr(self._message, "metrics", None)
        return (of_message or of_answer) if self._streamed else (of_answer or of_message)

    def _news(self) -> dict[str, Any]:
        """Return what has changed of the outcome since it was last recorded."""
        before, self._recorded = self._recorded, self._about()
        return {name: value for name, value in self._recorded.items() if value != before.get(name)}

    def _about(self) -> dict[str, Any]:
        message, answer = self._message, self._answer
        if answer is None:
            return {}
        whole = message if getattr(message, "content", None) or getattr(message, "tool_calls", None) else answer
        output = agno_messages.answer(whole)
        if whole is answer and self._streamed:
            output[0]["content"] = "".join(self._texts)
        metrics = self._metrics()
        usage = counts(self.model, metrics, self.usage)
        cost = getattr(metrics, "cost", None)
        estimated = estimate(self.model.id, self.model.provider, usage, _url(self.model)) if cost is None else None
        return {
            "output": output,
            "usage": usage,
            "cost": cost if estimated is None else estimated,
            "cost_estimated": estimated is not None,
            "first_token_at": self._first if self._streamed else None,
        }


class _Tool(Step):
    """An execution of a tool."""

    def __init__(self, run: AgentRun, call: FunctionCall, messages: list[Message] | None) -> None:
        self._call = call
        self._messages = messages
        self._stream: _Stream | None = None
        super().__init__(
            run,
            call.function.name,
            "tool",
            lambda: {"input": call.arguments or {}, "attributes": {_CALL_ID: call.call_id}},
        )

    def observe(self, value: object) -> bool:
        """Follow the stream that a tool returns, which agno reads after an asynchronous execution."""
        if type(value) is tuple and issubclass(type(self._call.result), abc.Iterator | abc.AsyncIterator):
            self._stream = _Stream(self)
            self._call.result = follow(self._stream, self._call.result)
        return False

    def end(self, error: BaseException | None = None) -> None:
        """End the execution, unless its result is a stream, which is yet to be read."""
        if self._stream is None or error is not None:
            self.finish(error)

    def finish(self, error: BaseException | None) -> None:
        """End the execution. agno continues after a tool that fails, and keeps the text of its exception."""
        self.record(lambda: {"output": self._output()})
        if self.traced is not None and error is None and attempt(lambda: bool(self._call.error)):
            self.traced.error = {"type": "ToolError", "message": self._call.error, "stacktrace": None}
        super().end(error)

    def _output(self) -> object:
        """Return the result of the tool; of a stream, the text that it has given, or that agno has made of it."""
        if self._stream is not None:
            return self._stream.text()
        if not issubclass(type(self._call.result), abc.Iterator):
            return self._call.result
        return next((one.content for one in self._messages or () if one.tool_call_id == self._call.call_id), None)


class _Stream(Run):
    """The stream that a tool returns, which is the rest of its execution."""

    def __init__(self, tool: _Tool) -> None:
        self._tool = tool
        self._items: list[object] = []

    def step(self) -> AbstractContextManager[Any]:
        """Return a block of the tool."""
        return self._tool.step()

    def observe(self, value: object) -> bool:
        """Record an item."""
        if self._tool.traced is not None and len(self._items) < MAX_ITEMS:
            self._items.append(value)
        return False

    def end(self, error: BaseException | None = None) -> None:
        """End the execution."""
        self._tool.finish(error)

    def text(self) -> str:
        """Return the text of the items, those of events of another run included."""
        return "".join(text_of(getattr(item, "content", item)) for item in self._items)


def _request(method: Call) -> Call:
    """Return a method that tracks a request."""

    @functools.wraps(method)
    def tracked(self: Model, *args: Any, **kwargs: Any) -> Any:
        request = attempt(_begin_request, self, kwargs)
        if request is None:
            return method(self, *args, **kwargs)
        return wrap_call(request, lambda: method(self, *args, **kwargs))

    return tracked


def _begin_request(model: Model, options: dict[str, Any]) -> Request | None:
    """Return a request that has begun; None outside of a run, and within a request of the same model."""
    run = current_run()
    asking = _asking.get()
    if run is None or not hasattr(run, "requests") or (asking is not None and asking.model is model):
        return None
    requests = cast("ModelRun", run).requests
    run.count_retries(bool(requests and requests[-1].failed))
    request = Request(run, model, options)
    requests.append(request)
    return request


def _usage(method: Call) -> Call:
    """Return a method that keeps the provider's usage, which agno converts with it."""

    @functools.wraps(method)
    def tracked(self: Model, *args: Any, **kwargs: Any) -> Any:
        request = _asking.get()
        if request is not None and request.model is self:
            request.usage = next(iter((*args, *kwargs.values())), None)
        return method(self, *args, **kwargs)

    return tracked


def _url(model: object) -> str | None:
    """Return the address of a model's API, as far as its client or itself have it."""
    for owner in (getattr(model, "client", None), getattr(model, "async_client", None), model):
        if url := getattr(owner, "base_url", None):
            return str(url)
    return None


def _tool(method: Call) -> Call:
    """Return a method that tracks a tool."""

    @functools.wraps(method)
    def tracked(self: Model, function_call: FunctionCall, *args: Any, **kwargs: Any) -> Any:
        messages = kwargs.get("function_call_results", args[0] if args else None)
        tool = attempt(_begin_tool, function_call, messages)
        if tool is None:
            return method(self, function_call, *args, **kwargs)
        return wrap_call(tool, lambda: method(self, function_call, *args, **kwargs))

    return tracked


def _begin_tool(call: FunctionCall, messages: list[Message] | None) -> _Tool | None:
    """Return an execution that has begun; None outside of a run that is traced."""
    run = current_run()
    return (
        _Tool(run, call, messages) if run is not None and run.traced is not None and hasattr(run, "requests") else None
    )
