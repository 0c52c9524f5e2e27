"""A program that uses LangWatch's own SDK and ours in the same runs; run by test_langwatch_sdk, in one process.

Prints the SDK's headers and keys as JSON.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import threading
from importlib import import_module
from importlib.abc import MetaPathFinder
from itertools import product
from typing import Any, ClassVar, cast

from automagik_telemetry import configure, get_tracing_manager
from automagik_telemetry.sinks.langwatch._http import auth_headers
from automagik_telemetry.tracing.spans import open_span

KEYS = ["sk-lw-" + "k" * 48, "sk-lw-" + "a" * 16 + "_" + "b" * 48, "sk-lw-a_b", "ik-lw-x", "pat-lw-x", "other"]
INPUT = [{"role": "user", "content": "question"}]


class Watch(MetaPathFinder):
    """Finds nothing, and records the names of the threads that look for the SDK."""

    threads: ClassVar[list[str]] = []

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Keep the thread's name."""
        del path, target
        if fullname == "langwatch":
            self.threads.append(threading.current_thread().name)


async def run(langwatch: Any, number: int) -> None:
    """Do the same in a span of each."""
    with langwatch.trace(name=f"sdk.{number}"), langwatch.span(name=f"sdk.agent.{number}", type="agent"):
        await asyncio.sleep(0)
        ours = open_span(f"ours.agent.{number}", "agent", input=f"hi {number}")
        with ours.within():
            await asyncio.sleep(0)
            chat = open_span(f"ours.chat.{number}", "llm", input=INPUT, model="gpt-5")
            chat.usage = {"input_tokens": 3, "output_tokens": 4}
            chat.output = "answer"
            chat.end()
        with langwatch.span(
            name=f"sdk.chat.{number}",
            type="llm",
            input=INPUT,
            output="answer",
            model="gpt-5",
            metrics={"prompt_tokens": 3, "completion_tokens": 4},
        ):
            await asyncio.sleep(0)
        ours.end()


async def runs(langwatch: Any) -> None:
    """Run many overlapping runs."""
    await asyncio.gather(*(run(langwatch, number) for number in range(20)))


def main() -> None:
    """Run, and print the SDK's values."""
    tracing = get_tracing_manager()
    open_span("before the SDK").end()
    settled = tracing.flush(30)
    known = sorted(sys.modules)
    sys.meta_path.insert(0, Watch())
    tracing = configure(os.environ["ASKS_FOR_THE_SDK"])
    open_span("asked for the SDK").end()
    settled &= tracing.flush(60)
    on_its_thread = Watch.threads == ["automagik-telemetry"] and "langwatch.http_client" in sys.modules
    import langwatch  # type: ignore[import-not-found,unused-ignore] # not on every Python

    client, auth, state, attributes, trace = (
        cast("Any", import_module(name))
        for name in (
            "langwatch.http_client",
            "langwatch.utils.auth",
            "langwatch.state",
            "langwatch.attributes",
            "opentelemetry.trace",
        )
    )
    set_up = state.get_instance() is not None or type(trace.get_tracer_provider()).__name__ != "ProxyTracerProvider"
    made: list[dict[str, Any]] = []
    create = client.create_client

    def counted(**options: Any) -> Any:
        made.append(options)
        return create(**options)

    client.create_client = counted
    langwatch.setup(endpoint_url=os.environ["LANGWATCH_ENDPOINT"])
    provider = trace.get_tracer_provider()
    tracing.shutdown()  # the next connection uses the SDK
    asyncio.run(runs(langwatch))
    settled &= tracing.flush(30)
    provider.force_flush()
    output = {
        "settled": settled,
        "imported_before": [name for name in known if name.split(".")[0] in ("langwatch", "opentelemetry")],
        "imported_on_its_thread": on_its_thread,
        "set_up_by_us": set_up,
        "clients_made": len(made),
        "provider_is_the_sdks": trace.get_tracer_provider() is provider,
        "headers": [
            [auth_headers(key, project), auth.build_auth_headers(key, project)]
            for key, project in product(KEYS, [None, "project_1"])
        ],
        "keys": [
            value for _, value in inspect.getmembers(attributes.AttributeKey) if isinstance(value, str) and "." in value
        ],
    }
    print(json.dumps(output))  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main()
