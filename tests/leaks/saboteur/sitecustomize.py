"""Python imports this at its start where this folder is on its path: it breaks capturing.

What the file ``armed`` beside it says decides how, in the seal pool alone:

- ``quote``: reading fails with an error of a foreign kind, whose text and frames hold the
  value, as a client library's may;
- ``abort``: the process dies in the middle, once;
- ``name``: reading fails with an error of our own, which names a secret, as several do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from strongroom.container.errors import DuplicateSecret
from strongroom.model import ListedSecret, Secret
from strongroom.sources.local import LocalStore

ARMED = Path(__file__).with_name("armed")


def _sabotage() -> None:
    whole = LocalStore.read

    def read(self: LocalStore, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        for secret in whole(self, entries):
            if secret is not None and ARMED.exists():
                _break(secret)
            yield secret

    LocalStore.read = read  # type: ignore[method-assign]


def _break(secret: Secret) -> None:
    assert secret.current.value is not None
    value = secret.current.value.reveal()
    if ARMED.read_text() == "abort":
        ARMED.unlink()
        os.abort()
    if ARMED.read_text() == "name":
        raise DuplicateSecret(f"source 'local' has two secrets of the name {secret.name!r}")
    try:
        raise ValueError(f"odd value {value!r}")
    except ValueError:
        raise LookupError(secret.name, value, secret.metadata) from None


if os.environ.get("STRONGROOM_ROLE") == "seal":
    _sabotage()
