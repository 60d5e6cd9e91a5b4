"""A server with something of everything that OpenBao has, lost and brought back by the command line."""

from __future__ import annotations

from typing import Any

from tests.live.openbao import OpenBao
from tests.live.vault_seeds import Seeds, everything

ENGINES = ("database", "kubernetes", "pki", "rabbitmq", "ssh", "totp", "transit")
METHODS = ("cert", "jwt", "kubernetes", "userpass")
OLDER = {
    "auth/token/roles/period": {"allowed_policies": "reader", "period": "1h"},
    "auth/token/roles/most": {"allowed_policies": "reader", "explicit_max_ttl": "5h"},
    "auth/token/roles/cidrs": {"allowed_policies": "reader", "bound_cidrs": "10.0.0.0/8"},
    "auth/token/roles/newer": {"allowed_policies": "reader", "token_period": "1h"},
    "auth/token/roles/two": {"allowed_policies": "reader", "period": "1h", "token_period": "2h"},
    "auth/approle/role/older": {"policies": "reader", "period": "1h", "bound_cidr_list": "10.0.0.0/8"},
    "auth/approle/role/newer": {"token_policies": "reader", "token_period": "1h"},
    "auth/jwt/role/older": {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": "a",
        "policies": "reader",
        "ttl": "1h",
        "period": "1h",
        "bound_cidrs": "10.0.0.0/8",
        "num_uses": 2,
    },
    "auth/kubernetes/role/older": {
        "bound_service_account_names": "a",
        "bound_service_account_namespaces": "b",
        "policies": "reader",
        "ttl": "1h",
        "period": "2h",
    },
}
"""Roles with the older names of parameters, with the newer ones, and with both."""
DENIED = 20
EXTRA = (
    "a/" * 20 + "deep",
    "name%20with%25percent",
    "%D0%BF%D0%B0%D1%80%D0%BE%D0%BB%D1%8C",
    "plus+and%26",
    "dots/..twice",
    "UPPER/lower",
)


def fill(server: OpenBao, *, count: int) -> Seeds:
    """Put all of it there."""
    seeds = Seeds(server, count=count - len(EXTRA) - DENIED)
    for kind in ENGINES:
        server.call("POST", f"sys/mounts/{kind}", {"type": kind, "description": f"a {kind}"})
    for kind in METHODS:
        server.call("POST", f"sys/auth/{kind}", {"type": kind, "description": f"a {kind}"})
    for path, body in OLDER.items():
        server.call("POST", path, body)
    for number, path in enumerate(EXTRA):
        server.put("secret/", path, {"value": f"CANARY-odd-{number}"})
    for number in range(DENIED):
        server.put("secret/", f"no/{number:02}", {"value": f"CANARY-no-{number}"})
    return seeds


def all_of(server: OpenBao) -> dict[str, Any]:
    """Return all that the API says, roles of every method included."""
    return everything(server) | {path: server.data(path) for path in OLDER}
