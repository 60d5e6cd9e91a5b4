"""What a token may do, beside what it needs: the server is asked, nothing is tried out.

``sys/capabilities-self`` is in the policy ``default``. A path that ends with ``*`` is asked for as
it stands: only a policy that covers all below it has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from strongroom.system.batches import batched
from strongroom.vault.client import Vault

BATCH = 200
"""Paths in one question. OpenBao refuses bodies with more than 1,000 strings."""
ROOT = "root"
EVERYWHERE = "*"
"""The one path that is told of a token that may do everything."""
CHANGING = frozenset({"create", "update", "patch", "delete", "sudo"})


class Need(Struct, frozen=True, kw_only=True):
    """What is needed at a path, which begins with its namespace.

    Args:
        capabilities: each of them has to be there; of others, those that change something are too many.
        secret: which secret it is needed for; empty for all.
        beside: whether it is for what lies beside the secrets: policies, mounts, ways to log in.
    """

    path: str
    capabilities: frozenset[str]
    secret: str = ""
    beside: bool = False


class PathRights(Struct, frozen=True):
    """What is missing at a path, and what is there and should not be."""

    path: str
    missing: tuple[str, ...] = ()
    excess: tuple[str, ...] = ()
    secret: str = ""
    beside: bool = False

    @property
    def fits(self) -> bool:
        """Whether it is just right."""
        return not self.missing and not self.excess


def rights(vault: Vault, needs: Iterable[Need]) -> tuple[PathRights, ...]:
    """Compare needs with what the token has.

    Raises VaultError: the server was not to be asked.
    """
    judged: list[PathRights] = []
    for batch in batched(needs, BATCH):
        # Asked in our own namespace: 'default' allows the question there, and not below.
        has = vault.system().get_capabilities([need.path for need in batch]).data()
        if any(ROOT in has.get(_echoed(need.path), ()) for need in batch):
            return (PathRights(EVERYWHERE, excess=(ROOT,)),)
        judged += (_compared(need, has) for need in batch)
    return tuple(judged)


def _echoed(path: str) -> str:
    """Return a path as the server answers for it: it cuts the blanks at the ends off, also of a name's."""
    return path.strip()


def _compared(need: Need, capabilities: Mapping[str, Any]) -> PathRights:
    has = {str(each) for each in capabilities.get(_echoed(need.path), ())}
    return PathRights(
        need.path,
        missing=tuple(sorted(need.capabilities - has)),
        excess=tuple(sorted((has & CHANGING) - need.capabilities)),
        secret=need.secret,
        beside=need.beside,
    )
