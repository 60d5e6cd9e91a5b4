"""Puts hvac's API classes on our own transport.

hvac's own adapter loses status and headers of errors, sends the token to whoever a redirect
names, retries no LIST, and takes tokens and addresses from the environment.
"""

from __future__ import annotations

from typing import Any

import msgspec
from hvac.adapters import Adapter

from strongroom.vault.answers import Answer
from strongroom.vault.failures import LoginRefused
from strongroom.vault.login import Exchange


class ExchangeAdapter(Adapter):  # type: ignore[misc]  # hvac has no types
    """Sends what an hvac class asks for through an :data:`Exchange`."""

    def __init__(self, exchange: Exchange, *, token: str | None = None) -> None:
        super().__init__(token=token)
        self._exchange = exchange

    def request(self, method: str, url: str, *_: Any, **options: Any) -> Answer:
        """Send one request; a refusal raises :class:`LoginRefused`."""
        given = options.get("json")
        body = None if given is None else msgspec.json.encode(given)
        answer = self._exchange(method.upper(), "/" + url.strip("/"), body, self.token)
        if answer.status >= 400:
            raise LoginRefused("the server refuses", status=answer.status)
        return answer

    def get_login_token(self, response: Answer) -> str:
        """Return the token of a login's answer."""
        token = msgspec.json.decode(response.body).get("auth", {}).get("client_token", "")
        return str(token)
