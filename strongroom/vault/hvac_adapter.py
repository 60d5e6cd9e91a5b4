"""What hvac's classes send their requests through, apart from what needs no hvac."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec
from hvac.adapters import Adapter

from strongroom.vault.answers import Send, ServerAnswer


class SendingAdapter(Adapter):  # type: ignore[misc]  # hvac has no types
    """Sends what an hvac class asks for through a :data:`Send`, and returns the answer as it is.

    The base's constructor is not called: it makes a session of ``requests``, which nothing here uses.
    """

    def __init__(self, send: Send) -> None:
        self._send = send

    def request(self, method: str, url: str, *_: Any, **options: Any) -> ServerAnswer:
        """Send one request. A folder is listed by a GET, since proxies know no method LIST."""
        content, parameters = options.get("json"), dict(options.get("params") or {})
        if method == "list":
            method, url, parameters = "get", f"{url.rstrip('/')}/", {**parameters, "list": "true"}
        target = f"{url}?{urlencode(parameters)}" if parameters else url
        body = None if content is None and method == "get" else msgspec.json.encode(content or {})
        return self._send(method.upper(), target, body)

    def get_login_token(self, response: ServerAnswer) -> str:
        """Refuse: a login's token is kept in one place, which is not here."""
        raise NotImplementedError
