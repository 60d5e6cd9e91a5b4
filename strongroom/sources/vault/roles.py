"""Older names of a role's parameters, which a server shows beside the newer ones.

A role that was made with ``period`` is shown with ``period`` and ``token_period``; one that was made
with ``token_period`` is not. Sent together, the newer one counts and the older one is forgotten. So the
older one alone is sent where the two agree, and what a role means is compared, however it is spelled.
The pairs are those of ``sdk/helper/tokenutil`` and of the token store, in OpenBao as in Vault.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ROLE = "vault_role"
"""The type of what a role, group or certificate of an auth method is kept as."""
NEWER = {
    "bound_cidrs": "token_bound_cidrs",
    "explicit_max_ttl": "token_explicit_max_ttl",
    "max_ttl": "token_max_ttl",
    "num_uses": "token_num_uses",
    "period": "token_period",
    "policies": "token_policies",
    "ttl": "token_ttl",
}
"""Each older name, and the one that took its place."""


def to_send(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a role so that the server shows it as it was: of two names for one thing, one."""
    sent = dict(fields)
    for older, newer in NEWER.items():
        if older not in sent or newer not in sent:
            continue
        is_spelled_so = sent[older] and sent[older] == sent[newer]
        del sent[newer if is_spelled_so else older]
    return sent


def effective(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a role means: each thing under its newer name."""
    meant = dict(fields)
    for older, newer in NEWER.items():
        if older in meant:
            value = meant.pop(older)
            meant.setdefault(newer, value)
    return meant
