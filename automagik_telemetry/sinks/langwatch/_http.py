"""The HTTP requests to LangWatch: headers for each kind of key, and its SDK's client if the application uses it."""

from __future__ import annotations

import base64
import importlib
import re
import sys
from typing import TYPE_CHECKING, cast

from automagik_telemetry._log import logger
from automagik_telemetry.export.http._exporter import OTLPHTTPExporter

if TYPE_CHECKING:
    import httpx

    from automagik_telemetry.export.http._transport import DeadlineTransport
    from automagik_telemetry.settings import Secret

_NAMES_NO_PROJECT = re.compile("sk-lw-[0-9A-Za-z]{16}_[0-9A-Za-z]{48}|ik-lw-.*")


def auth_headers(key: str, project_id: str | None) -> dict[str, str]:
    """Return the headers for a key, as LangWatch's SDK has them.

    A personal access token needs a project, and so does a key that is not limited to one project.
    """
    if key.startswith("pat-lw-") and project_id:
        return {"Authorization": "Basic " + base64.b64encode(f"{project_id}:{key}".encode()).decode()}
    headers = {"Authorization": f"Bearer {key}", "X-Auth-Token": key}
    if project_id and _NAMES_NO_PROJECT.fullmatch(key):
        headers["X-Project-Id"] = project_id
    return headers


class LangWatchExporter(OTLPHTTPExporter):
    """Posts traces to LangWatch, with its SDK's client and headers if `sdk`, by default if the application uses it."""

    def __init__(
        self,
        url: str,
        key: Secret,
        project_id: str | None,
        *,
        sdk: bool | None = None,
    ) -> None:
        """Raises ValueError for a key or a project that could not be sent as a header."""
        super().__init__(url, auth_headers(key.reveal(), project_id))
        self._key = key
        self._project_id = project_id
        self._sdk = sdk

    def _open(self) -> DeadlineTransport:
        opened = super()._open()
        if self._sdk or (self._sdk is None and "langwatch" in sys.modules):
            try:
                return self._through_sdk(opened)
            except Exception as error:  # not installed, of another version, or not fit for this Python
                logger.debug("LangWatch's SDK can't be used (%s); sending without it", type(error).__name__)
        return opened

    def _through_sdk(self, opened: DeadlineTransport) -> DeadlineTransport:
        """Return the SDK's client as a transport that sends through `opened`, and take its headers for the key."""
        http_client = importlib.import_module("langwatch.http_client")
        auth = importlib.import_module("langwatch.utils.auth")
        self._headers.update(auth.build_auth_headers(self._key.reveal(), self._project_id))
        client = http_client.create_client(transport=opened, trust_env=False)
        return cast("DeadlineTransport", _Through(client, opened))


class _Through:
    """A client with the interface of the transport that sends its requests."""

    def __init__(self, client: httpx.Client, inner: DeadlineTransport) -> None:
        self._client = client
        self._inner = inner

    @property
    def deadline(self) -> float:
        return self._inner.deadline

    @deadline.setter
    def deadline(self, deadline: float) -> None:
        self._inner.deadline = deadline

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._client.send(request, stream=True)

    def close(self) -> None:
        self._client.close()

    def abandon(self) -> None:
        self._inner.abandon()
