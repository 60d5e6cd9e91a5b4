"""One answer of the server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from strongroom.vault.failures import NotVault

T = TypeVar("T")


class ServerAnswer(Struct, frozen=True, gc=False):
    """Status, headers (whatever the case of their names) and body. It has no ``repr``: the body is secret."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Answer({self.status}, {len(self.body)} bytes)"

    @property
    def found(self) -> bool:
        """Whether there is what was asked for."""
        return self.status != 404

    def read(self, decoder: msgspec.json.Decoder[T]) -> T:
        """Return the body as a record. Raises :class:`NotVault` if it is something else."""
        try:
            return decoder.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # No cause: a validation message can quote what it read.
            raise NotVault("the answer is not one that Vault gives", status=self.status) from None

    def data(self) -> dict[str, Any]:
        """Return the ``data`` of the body as plain objects; empty if there is none."""
        return self.read(_ANY).data or {}

    @property
    def moment(self) -> datetime | None:
        """The server's clock when it answered, to the second."""
        try:
            return parsedate_to_datetime(self.headers["date"])
        except (KeyError, ValueError):
            return None


class _Any(Struct):
    data: dict[str, Any] | None = None


_ANY = msgspec.json.Decoder(_Any)
