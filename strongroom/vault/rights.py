"""What a token may do, beside what it needs: the server is asked, nothing is tried out.

``sys/capabilities-self`` is in the policy ``default``. A path that ends with ``*`` is asked for as
it stands: only a policy that covers all below it has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from msgspec import Struct

from strongroom.vault.client import Vault

BATCH = 200
"""Paths in one question. OpenBao refuses bodies with more than 1,000 strings."""
ROOT = "root"
CHANGING = frozenset({"create", "update", "patch", "delete", "sudo"})


class Need(Struct, frozen=True, kw_only=True):
    """What is needed at a path of a namespace.

    Args:
        capabilities: each of them has to be there.
        harmless: may be there as well without being too many.
    """

    namespace: str = ""
    path: str
    capabilities: frozenset[str]
    harmless: frozenset[str] = frozenset({"read", "list", "scan"})


class Right(Struct, frozen=True):
    """What is missing at a path, and what is there and should not be."""

    path: str
    missing: tuple[str, ...] = ()
    excess: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether it is just right."""
        return not self.missing and not self.excess


def rights(vault: Vault, needs: Iterable[Need]) -> tuple[Right, ...]:
    """Compare needs with what the token has, in the order of the namespaces.

    Raises VaultError: the server was not to be asked.
    """
    by_namespace = groupby(sorted(needs, key=lambda need: need.namespace), key=lambda need: need.namespace)
    return tuple(
        right for namespace, group in by_namespace for right in _of_namespace(vault, namespace, list(group))
    )


def _of_namespace(vault: Vault, namespace: str, needs: Sequence[Need]) -> Iterator[Right]:
    for start in range(0, len(needs), BATCH):
        batch = needs[start : start + BATCH]
        body = {"paths": [need.path for need in batch]}
        answer = vault.post("sys/capabilities-self", body=body, namespace=namespace, repeatable=True)
        found = answer.data()
        yield from (_compared(need, found) for need in batch)


def _compared(need: Need, found: Mapping[str, Any]) -> Right:
    path = need.namespace + need.path
    has = {str(each) for each in found.get(need.path, ())}
    if ROOT in has:
        return Right(path, excess=(ROOT,))
    return Right(
        path,
        missing=tuple(sorted(need.capabilities - has)),
        excess=tuple(sorted((has & CHANGING) - need.capabilities - need.harmless)),
    )
