"""What a Vault source asks the server when it is about a few secrets: nothing of other namespaces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from strongroom.errors import SourceError
from strongroom.model import Secret
from strongroom.sources import SecretChange
from strongroom.sources.vault.source import VaultSource
from strongroom.vault.client import Vault
from tests.live.openbao import OpenBao
from tests.live.proxy import FaultyProxy


class Site(NamedTuple):
    """A server with two namespaces, one with another in it, and mounts in each; a source through a proxy."""

    server: OpenBao
    proxy: FaultyProxy
    folder: Path

    def source(self, *mounts: str) -> VaultSource:
        connection = replace(self.server.connection(self.folder), address=self.proxy.url)
        return VaultSource(Vault(connection), mounts=mounts)

    def asked(self) -> set[tuple[str, str]]:
        """Return which namespaces were asked what, since the last call."""
        found = {
            (request.headers.get("X-Vault-Namespace", "").strip("/"), request.path.removeprefix("/v1/"))
            for request in self.proxy.seen()
        }
        self.proxy.requests.clear()
        return found


@pytest.fixture
def site(own_openbao: OpenBao, tmp_path: Path) -> Iterator[Site]:
    for namespace in ("team", "team/sub", "other"):
        own_openbao.namespace(namespace)
        own_openbao.mount("kv", namespace=namespace)
        own_openbao.mount("spare", namespace=namespace)
        own_openbao.put("kv/", "app", {"value": f"CANARY-{namespace}"}, namespace=namespace)
    with FaultyProxy(own_openbao.process.port) as proxy:
        yield Site(own_openbao, proxy, tmp_path)


def read(source: VaultSource, name: str) -> Secret:
    [entry] = [entry for entry in source.list() if entry.name == name]
    [secret] = source.read([entry])
    assert secret is not None
    return secret


def test_one_secret_is_read_and_written_without_asking_other_namespaces_or_mounts(site: Site) -> None:
    source = site.source()
    secret = read(source, "team/kv/app")
    site.asked()
    assert source.write([SecretChange(secret=secret, expected=1)]) == 1
    assert source.heads(["team/kv/app"]) == {"team/kv/app": 2}
    assert source.delete(["team/kv/app"]) == 1
    asked = site.asked()
    assert {namespace for namespace, _ in asked} <= {"", "team"}
    assert ("team", "kv/config") in asked
    assert not [path for _, path in asked if path.startswith("spare/")]


def test_a_secret_in_a_namespace_within_another_is_found_on_the_way_there_alone(site: Site) -> None:
    source = site.source()
    entries = [entry for entry in source.list() if entry.name == "team/sub/kv/app"]
    site.asked()
    [secret] = source.read(entries)
    assert secret is not None
    assert {namespace for namespace, _ in site.asked()} <= {"", "team", "team/sub"}


def test_secrets_of_several_namespaces_are_found_at_once(site: Site) -> None:
    names = ["team/kv/app", "team/sub/kv/app", "other/kv/app", "kv/none", "sys/namespaces/team"]
    assert site.source().heads(names) == dict.fromkeys([*names[:3], names[4]], 1)


def test_a_configured_mount_that_is_gone_is_an_error_to_whom_it_concerns(site: Site) -> None:
    source = site.source("team/kv/", "other/kv/")
    entries = list(source.list())
    site.server.unmount("kv", namespace="other")
    ours, theirs = ([one for one in entries if one.name == name] for name in ("team/kv/app", "other/kv/app"))
    assert next(source.read(ours)) is not None
    with pytest.raises(SourceError, match="there is no KV mount 'other/kv/'"):
        list(source.read(theirs))
