"""Makes source errors of what went wrong between here and the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from strongroom.errors import SourceError, SourceUnavailable
from strongroom.vault.failures import Denied, VaultError

_RIGHTS = "Compare the token's policies with ops/vault/*.hcl, or exclude what it may not see."


@contextmanager
def explained(source: str, doing: str) -> Iterator[None]:
    """Say what failed while doing what. The server's own words are left out: they may quote values."""
    try:
        yield
    except Denied as denied:
        raise SourceError(
            f"source '{source}': no right to {doing}: {denied.message} (status 403)", hint=_RIGHTS
        ) from None
    except VaultError as error:
        kind = SourceUnavailable if error.transient else SourceError
        raise kind(f"source '{source}' could not {doing}: {error.message}", hint=error.hint) from None
