"""Fills an OpenBao with all that a backup has to bring back, and looks at all of it again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from tests.live.openbao import Answered, OpenBao

TIMES = frozenset({"created_time", "updated_time"})
MADE_UP = frozenset({"accessor", "uuid", "id", "modified", "version"})
READER = 'path "secret/data/*" { capabilities = ["read"] }'
NAMESPACES = ("", "team/", "team/sub/")


class Seeds:
    """What was put where: 150 secrets in five mounts of three namespaces."""

    def __init__(self, server: OpenBao, *, count: int = 150) -> None:
        self.server = server
        self.deleted: set[str] = set()
        self._settings()
        for number in range(count):
            self._secret(number)
        self._odd()

    def _settings(self) -> None:
        server = self.server
        for namespace in ("team", "team/sub"):
            server.namespace(namespace)
        server.mount("kv1", version=1, description="first")
        server.mount("deep/er/secret", config={"max_lease_ttl": "2h"})
        server.mount("secret", namespace="team")
        server.mount("plain", version=1, namespace="team/sub")
        server.call("POST", "deep/er/secret/config", {"max_versions": 6, "cas_required": True})
        server.policy("reader", READER)
        server.call("POST", "sys/policies/acl/team", {"policy": READER}, namespace="team")
        server.call("POST", "sys/auth/approle", {"type": "approle", "description": "machines"})
        server.call(
            "POST",
            "auth/approle/role/app",
            {"token_policies": ["reader"], "token_ttl": "1h", "role_id": "app"},
        )
        server.call("POST", "auth/token/roles/short", {"allowed_policies": ["reader"]})
        server.call("POST", "sys/namespaces/team", {"custom_metadata": {"owner": "somebody"}})

    def _secret(self, number: int) -> None:
        kind = number % 5
        if kind == 0:
            self._plain("kv1/" if number % 2 else "plain/", number)
            return
        mount, namespace = (("secret/", ""), ("secret/", "team"), ("deep/er/secret/", ""), ("secret/", ""))[
            kind - 1
        ]
        self._key(mount, namespace, number)

    def _plain(self, mount: str, number: int) -> None:
        namespace = "" if mount == "kv1/" else "team/sub"
        body = {"value": f"CANARY-{number}", "number": number, "nested": {"list": [1, 2.5, None, "<&>"]}}
        self.server.call("POST", f"{mount}app/{number:03}", body, namespace=namespace)

    def _key(self, mount: str, namespace: str, number: int) -> None:
        path = f"app-{number % 7}/{number:03}"
        if number % 3 == 0:
            self._metadata(mount, namespace, path, number)
        last = 1 + number % 5 + (9 if number % 11 == 0 else 0)
        for version in range(1, last + 1):
            body = {"data": {"value": f"CANARY-{number}-{version}"}, "options": {"cas": version - 1}}
            self.server.call("POST", f"{mount}data/{path}", body, namespace=namespace)
        self._take_away(mount, namespace, path, number, last)

    def _metadata(self, mount: str, namespace: str, path: str, number: int) -> None:
        custom = {"type": "api_key", "tag.team": "payments", "owner": "someone", "rotation_days": "90"}
        body: dict[str, Any] = {"custom_metadata": custom if number % 2 else {"expires_at": "2030-01-01"}}
        if number % 9 == 0:
            body |= {"max_versions": 3, "cas_required": True, "metadata_cas_required": number % 2 == 0}
        if number % 12 == 0:
            body |= {"delete_version_after": "720h"}
        self.server.call("POST", f"{mount}metadata/{path}", body | {"metadata_cas": 0}, namespace=namespace)

    def _take_away(self, mount: str, namespace: str, path: str, number: int, last: int) -> None:
        where = f"{namespace}/{mount}{path}".lstrip("/")
        if number % 4 == 0:
            versions = [last] if number % 8 else [max(1, last - 1)]
            self.server.call("POST", f"{mount}delete/{path}", {"versions": versions}, namespace=namespace)
            self.deleted.add(where)
        if number % 10 == 1:
            self.server.call("POST", f"{mount}destroy/{path}", {"versions": [last]}, namespace=namespace)
            self.deleted.discard(where) if number % 8 else None

    def _odd(self) -> None:
        """Names and states that tools have tripped over."""
        server = self.server
        server.put("secret/", "both", {"leaf": 1})
        server.put("secret/", "both/inner", {"folder": 1})
        server.put("secret/", quote("sp ace ü %?#"), {"value": "CANARY"})
        server.put("secret/", "empty", {})
        server.put("secret/", "gone", {"value": "CANARY"})
        server.call("POST", "secret/destroy/gone", {"versions": [1]})
        server.call("POST", "secret/metadata/never", {"custom_metadata": {"only": "metadata"}})
        server.put("secret/", "twice", {"value": "CANARY"})
        server.call("POST", "secret/metadata/twice", {"custom_metadata": {"a": "1"}})
        server.call("POST", "secret/metadata/twice", {"custom_metadata": {"a": "2"}})


def everything(server: OpenBao) -> dict[str, Any]:
    """Return all that the API says, by path; of times only whether there is one."""
    found: dict[str, Any] = {}
    for namespace in NAMESPACES:
        for path, info in server.data("sys/mounts", namespace=namespace).items():
            if info["type"] == "kv":
                found[f"{namespace}{path}"] = _without(info)
                found |= _mount(server, namespace, path, info)
        found |= _system(server, namespace)
    return found


def _mount(server: OpenBao, namespace: str, path: str, info: dict[str, Any]) -> dict[str, Any]:
    second = (info["options"] or {}).get("version") == "2"
    found = {}
    if second:
        found[f"{namespace}{path}config"] = server.data(f"{path}config", namespace=namespace)
    for key in _keys(server, namespace, f"{path}metadata/" if second else path):
        name, quoted = f"{namespace}{path}{key}", quote(key)
        if second:
            found[name] = _key(server, namespace, path, quoted)
        else:
            found[name] = server.data(f"{path}{quoted}", namespace=namespace)
    return found


def _key(server: OpenBao, namespace: str, path: str, key: str) -> dict[str, Any]:
    metadata = server.data(f"{path}metadata/{key}", namespace=namespace)
    versions = metadata.pop("versions")
    return _without(metadata) | {
        number: {
            "destroyed": at["destroyed"],
            "deletion_time": bool(at["deletion_time"]),
            "data": _data(server, namespace, f"{path}data/{key}?version={number}"),
        }
        for number, at in versions.items()
    }


def _data(server: OpenBao, namespace: str, path: str) -> Any:
    try:
        return server.data(path, namespace=namespace)["data"]
    except Answered as refused:
        return refused.status


def _keys(server: OpenBao, namespace: str, folder: str) -> Iterator[str]:
    waiting = [""]
    while waiting:
        inner = waiting.pop()
        for key in _list(server, namespace, f"{folder}{quote(inner)}"):
            if key.endswith("/"):
                waiting.append(inner + key)
            else:
                yield inner + key


def _list(server: OpenBao, namespace: str, path: str) -> list[str]:
    try:
        return list(server.call("GET", f"{path}?list=true", namespace=namespace)["data"]["keys"])
    except Answered:
        return []


def _system(server: OpenBao, namespace: str) -> dict[str, Any]:
    paths = [f"sys/policies/acl/{name}" for name in _list(server, namespace, "sys/policies/acl/")]
    paths += [f"sys/namespaces/{name.rstrip('/')}" for name in _list(server, namespace, "sys/namespaces/")]
    paths += [f"auth/token/roles/{name}" for name in _list(server, namespace, "auth/token/roles/")]
    for name in _list(server, namespace, "auth/approle/role/"):
        paths += [f"auth/approle/role/{name}", f"auth/approle/role/{name}/role-id"]
    found = {namespace + path: _without(server.data(path, namespace=namespace)) for path in paths}
    auths = server.data("sys/auth", namespace=namespace)
    return found | {f"{namespace}sys/auth/{path}": _without(info) for path, info in auths.items()}


def _without(found: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in found.items() if key not in TIMES | MADE_UP}
    return kept | ({"options": kept["options"] or {}} if "options" in kept else {})
