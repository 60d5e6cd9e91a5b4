"""A secrets engine's endpoints that make and give a value, such as those of a database's static role."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from strongroom.errors import SourceError
from strongroom.model import SecretBytes
from strongroom.sources.errors import SourceClosed, SourceUnavailable
from strongroom.vault.client import Vault
from strongroom.vault.failures import Denied, LoginRefused, NotVault, VaultError


class SecretsEngine:
    """The endpoints for one secret.

    Args:
        vault: the server that has the engine.
        rotate: the path that is written to, and makes another value.
        read: the path that gives the value; empty if none does.
        field: the field of that answer.
    """

    def __init__(self, vault: Vault, *, rotate: str, read: str, field: str) -> None:
        self._vault = vault
        self._rotate = rotate.strip("/")
        self._read = read.strip("/")
        self._field = field

    def rotate(self) -> None:
        """Have the engine make another value. After a lost reply nobody knows whether it did."""
        with _explained(f"rotate '{self._rotate}'", "update"):
            answer = self._vault.post(*self._rotate.split("/"), body={})
        if not answer.found:
            raise SourceError(f"the Vault server has no '{self._rotate}'", hint=_PATHS)

    def read(self) -> SecretBytes | None:
        """Return the value that counts now; ``None`` if the engine keeps it to itself."""
        if not self._read:
            return None
        with _explained(f"read '{self._read}'", "read"):
            answer = self._vault.get(*self._read.split("/"))
            value = answer.data().get(self._field) if answer.found else None
        if not isinstance(value, str) or not value:
            raise SourceError(f"the Vault server has no '{self._field}' in '{self._read}'", hint=_PATHS)
        return SecretBytes(value.encode())


_PATHS = "Correct the rotator's paths in the configuration. Nothing was written."


@contextmanager
def _explained(doing: str, capability: str) -> Iterator[None]:
    """Say what failed while doing what. The server's own words are left out: they may quote values."""
    try:
        yield
    except Denied:
        raise SourceError(
            f"no right to {doing} (status 403)", hint=f"Give the login '{capability}' on that path."
        ) from None
    except VaultError as error:
        kind = SourceUnavailable if error.transient else SourceError
        if isinstance(error, LoginRefused | NotVault):
            kind = SourceClosed
        raise kind(f"the Vault server could not {doing}: {error.message}", hint=error.hint) from None
