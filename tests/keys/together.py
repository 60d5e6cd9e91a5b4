"""Identities that are tried one by one and all together, as commands try them."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.keys import Identity
from strongroom.keys.allof import AllOfIdentity


def with_all_of(identities: Sequence[Identity]) -> list[Identity]:
    """Return the identities, and after them all together, for stanzas that need several."""
    return [*identities, AllOfIdentity(identities)] if identities else []
