"""What became of traces, kept in the state directory for `status` and `doctor`: counts and reasons, never content.

Each line of the file is what a process adds to the account, so that processes need not know of each other.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from typing import Any

from automagik_telemetry.private_files import open_private, private_directory

DAYS = 7
_NAME = "traces.jsonl"
_LARGEST = 256 * 1024
_MOST_TEXT = 300


def add(directory: str, line: dict[str, Any]) -> None:
    """Add a line to the account. Raises OSError where there is no place for it."""
    path = os.path.join(private_directory(directory), _NAME)
    descriptor = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, json.dumps({"at": round(time.time()), **line}).encode() + b"\n")
        full = os.fstat(descriptor).st_size > _LARGEST
    finally:
        os.close(descriptor)
    if full:
        os.replace(path, f"{path}.1")


def read(directory: str) -> dict[str, Any]:
    """Return the account of the last days.

    `sent` and `dropped` (by reason) count traces that were logged, `traces` what was recorded, cut or left out before
    that, by reason; `last_success` (Unix s) and `last_error` are the latest of any process. Empty without a file.
    """
    oldest = time.time() - DAYS * 86_400
    lines = [line for line in _lines(os.path.join(directory, _NAME)) if line["at"] >= oldest]
    if not lines:
        return {}
    dropped: Counter[str] = Counter()
    traces: Counter[str] = Counter()
    for line in lines:
        dropped.update(line.get("dropped") or {})
        traces.update(line.get("traces") or {})
    errors = [str(line["last_error"])[:_MOST_TEXT] for line in lines if line.get("last_error")]
    return {
        "days": DAYS,
        "sent": sum(line.get("sent", 0) for line in lines),
        "dropped": dict(dropped),
        "traces": dict(traces),
        "last_success": max((line["last_success"] for line in lines if line.get("last_success")), default=None),
        "last_error": errors[-1] if errors else None,
    }


def _lines(path: str) -> list[dict[str, Any]]:
    """Return what the files hold, but for lines that can't be understood."""
    found = []
    for name in (f"{path}.1", path):
        try:
            with open(name, "rb") as file:
                raw = file.read(2 * _LARGEST).splitlines()
        except OSError:
            continue
        for text in raw:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and isinstance(line.get("at"), int):
                found.append(line)
    return found
