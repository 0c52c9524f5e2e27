"""The readers of OTLP/JSON that the tests of the processors use."""

from __future__ import annotations

from tests.processors.conftest import attributes, body

__all__ = ["attributes", "body"]
