"""The shipped policies are enough, and nothing in them is too much: each capability is missed."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Media, Secret, SecretBytes, SecretVersion, VersionState
from strongroom.sources import SecretChange
from strongroom.sources.vault import VaultSource
from strongroom.vault.client import Vault
from strongroom.vault.rights import PathRights
from tests.live.certificates import make_certificate
from tests.live.openbao import OpenBao, dev_server
from tests.live.vault_parts import capabilities, shipped, without

_numbers = itertools.count()


def deeper(name: str) -> str:
    """Return the lines of a policy for a namespace within another, written again as the file says."""
    lines = [line for line in shipped(name).splitlines() if line.startswith('path "+/')]
    return "\n".join(lines).replace('"+/', '"team/sub/')


def source_with(server: OpenBao, folder: Path, *texts: str, **settings: Any) -> VaultSource:
    """Return a source whose token has policies of these texts."""
    names = [f"case-{next(_numbers)}" for _ in range(len(texts) + 1)]
    for name, text in zip(names, (*texts, deeper("backup-read")), strict=True):
        server.policy(name, text)
    return VaultSource(Vault(server.connection(folder, *names, patience_seconds=2.0)), **settings)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    certificate = make_certificate(tmp_path_factory.mktemp("certificate"))[0].read_text()
    with dev_server() as running:
        running.namespace("team")
        running.namespace("team/sub")
        for namespace in ("", "team"):
            _fill_system(running, namespace, certificate)
            _mounts(running, namespace)
        yield running


def _fill_system(server: OpenBao, namespace: str, certificate: str) -> None:
    def call(path: str, body: object) -> None:
        server.call("POST", path, body, namespace=namespace)

    for method in ("approle", "cert", "jwt"):
        call(f"sys/auth/{method}", {"type": method})
    call("auth/jwt/config", {"jwt_validation_pubkeys": [_public_key()]})
    call("auth/approle/role/app", {"token_policies": ["default"]})
    call("auth/token/roles/short", {"allowed_policies": ["default"]})
    call("auth/cert/certs/host", {"certificate": certificate})


def _public_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def _mounts(server: OpenBao, namespace: str) -> None:
    """Mount anew what the policies name, and put something there."""
    for path, version in (("secret", 2), ("kv1", 1)):
        server.unmount(path, namespace=namespace)
        server.mount(path, version=version, namespace=namespace)
    for number in range(3):
        body = {"value": f"CANARY-{number}"}
        server.put("secret/", f"app/{number}", body, namespace=namespace)
        server.call("POST", f"kv1/app/{number}", body, namespace=namespace)


def seen(source: VaultSource) -> object:
    """Return all that a backup would have, and how many requests that took."""
    entries = list(source.list())
    found = list(source.read(entries))
    return entries, found, source.not_contained(), source.requests


def outcome(source: VaultSource) -> object:
    """Return the same, or what stopped it."""
    try:
        return seen(source)
    except SourceError as error:
        return error.message


@pytest.fixture(scope="module")
def everything(server: OpenBao, tmp_path_factory: pytest.TempPathFactory) -> object:
    return seen(source_with(server, tmp_path_factory.mktemp("all"), shipped("backup-read")))


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize(("path", "capability"), capabilities("backup-read"))
def test_reading_misses_each_capability(
    server: OpenBao, everything: object, tmp_path: Path, path: str, capability: str
) -> None:
    found = outcome(source_with(server, tmp_path, without("backup-read", path, capability)))
    assert found != everything
    assert not isinstance(found, str) or "no right" in found


def test_reading_has_what_it_needs_and_nothing_more(server: OpenBao, tmp_path: Path) -> None:
    found = source_with(server, tmp_path, shipped("backup-read")).rights()
    assert [right for right in found if not right.fits] == []
    assert {"secret/data/*", "team/kv1/*", "team/auth/approle/role/"} <= {right.path for right in found}


def test_what_is_missing_and_what_is_too_much_is_named(server: OpenBao, tmp_path: Path) -> None:
    text = without("backup-read", "+/data/*", '"read"') + 'path "kv1/*" { capabilities = ["delete"] }'
    found = {right.path: right for right in source_with(server, tmp_path, text).rights() if not right.fits}
    assert {path: (right.missing, right.excess) for path, right in found.items()} == {
        "secret/data/*": (("read",), ()),
        "kv1/*": ((), ("delete",)),
    }


@pytest.mark.parametrize("path", ["sys/auth", "sys/mounts", "sys/namespaces/", "+/sys/auth"])
def test_a_right_without_which_others_are_unknown_is_named_like_any_other(
    server: OpenBao, tmp_path: Path, path: str
) -> None:
    (capability,) = [each for found, each in _lines("backup-read") if found == path]
    text = without("backup-read", path, capability)
    missing = {right.path for right in source_with(server, tmp_path, text).rights() if right.missing}
    assert path.replace("+/", "team/") in missing


def _lines(name: str) -> Iterator[tuple[str, str]]:
    for each in capabilities(name):
        path, capability = each.values
        yield path, capability


def test_the_root_policy_is_too_much_and_is_said_once(server: OpenBao, tmp_path: Path) -> None:
    source = VaultSource(Vault(server.connection(tmp_path)))
    assert source.rights() == (PathRights("*", excess=("root",)),)


def rich(name: str) -> Secret:
    """Return a secret whose restore takes every kind of write."""
    live = [
        SecretVersion(number=n, value=SecretBytes(b'{"v":"CANARY"}'), media=Media.JSON) for n in range(1, 13)
    ]
    live[5] = SecretVersion(number=6, state=VersionState.DELETED)
    live[7] = SecretVersion(number=8, state=VersionState.DESTROYED)
    return Secret(name=name, versions=tuple(live), tags={"a": "b"})


def plain(name: str) -> Secret:
    version = SecretVersion(number=1, value=SecretBytes(b'{"v":"CANARY"}'), media=Media.JSON)
    return Secret(name=name, versions=(version,))


def restored(source: VaultSource) -> None:
    """Write new secrets and over old ones, everywhere."""
    for namespace in ("", "team/"):
        source.write([SecretChange(secret=rich(f"{namespace}secret/new"), expected=None)])
        source.write([SecretChange(secret=rich(f"{namespace}secret/app/1"), expected=1)])
        source.write([SecretChange(secret=plain(f"{namespace}secret/plain"), expected=None)])
        source.write([SecretChange(secret=plain(f"{namespace}kv1/new"), expected=None)])
        source.write([SecretChange(secret=plain(f"{namespace}kv1/app/1"), expected=1)])


def undone(source: VaultSource) -> None:
    for namespace in ("", "team/"):
        assert source.delete([f"{namespace}secret/app/1", f"{namespace}kv1/app/1"]) == 2


def undone_system(source: VaultSource) -> None:
    """Remove what others rest on: what a restore made, and a mount in which nothing is left."""
    fresh = f"made-{next(_numbers)}"
    for namespace in ("", "team/"):
        names = [f"{namespace}{path.rpartition('/')[0]}/{fresh}" for path in LIKE_THESE]
        entries = [ListedSecret(f"{namespace}{path}", 0) for path in LIKE_THESE]
        found = [secret for secret in source.read(entries) if secret]
        made = [_renamed(secret, name) for secret, name in zip(found, names, strict=True)]
        source.write(SecretChange(secret=secret, expected=None) for secret in made)
        assert source.delete(names) == len(names)
        source.delete([f"{namespace}kv1/app/{number}" for number in range(3)])
        assert source.delete([f"{namespace}sys/mounts/kv1"]) == 1


LIKE_THESE = (
    "sys/policies/acl/default",
    "auth/approle/role/app",
    "auth/token/roles/short",
    "auth/cert/certs/host",
)


def brought_back(source: VaultSource) -> None:
    """Write all that secrets rest on, new and over old."""
    entries = [entry for entry in source.list() if "sys/" in entry.name or "auth/" in entry.name]
    found = [secret for secret in source.read(entries) if secret and not _is_deeper(secret)]
    fresh = f"new-{next(_numbers)}"
    source.write(SecretChange(secret=_issued_by(fresh, secret), expected=1) for secret in found)
    for secret in found:
        place, _, last = secret.name.rpartition("/")
        if last not in (
            "config",
            "default",
            "token",
            "secret",
        ):  # a new mount's settings need lines of its own
            source.write([SecretChange(secret=_renamed(secret, f"{place}/{fresh}-{last}"), expected=None)])


def _is_deeper(secret: Secret) -> bool:
    return secret.name.startswith("team/sub/")


def _issued_by(issuer: str, secret: Secret) -> Secret:
    """Return an entry of JWT's settings with another issuer, so that there is something to write."""
    return _with_text(
        secret, secret.name, rb'"bound_issuer":"[^"]*"', b'"bound_issuer":"%b"' % issuer.encode()
    )


def _renamed(secret: Secret, name: str) -> Secret:
    return _with_text(secret, name, rb'"role_id":"[^"]*",', b"")


def _with_text(secret: Secret, name: str, old: bytes, new: bytes) -> Secret:
    value = secret.current.value
    assert value is not None
    version = SecretVersion(number=1, value=SecretBytes(re.sub(old, new, value.reveal())), media=Media.JSON)
    return Secret(name=name, type=secret.type, versions=(version,))


CASES: dict[str, tuple[tuple[str, ...], Callable[[VaultSource], None]]] = {
    "restore": (("backup-read",), restored),
    "restore-undo": (("backup-read", "restore"), undone),
    "restore-system": (("backup-read",), brought_back),
    "restore-undo-system": (("backup-read", "restore-undo", "restore-system"), undone_system),
}


@pytest.mark.parametrize("name", CASES)
def test_writing_has_what_it_needs(server: OpenBao, tmp_path: Path, name: str) -> None:
    beside, work = CASES[name]
    for namespace in ("", "team"):
        _mounts(server, namespace)
    work(source_with(server, tmp_path, shipped(name), *map(shipped, beside)))


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize(
    ("name", "path", "capability"),
    [
        pytest.param(name, *each.values, id=f"{name}: {each.id}")
        for name in CASES
        for each in capabilities(name)
    ],
)
def test_writing_misses_each_capability(
    server: OpenBao, tmp_path: Path, name: str, path: str, capability: str
) -> None:
    beside, work = CASES[name]
    for namespace in ("", "team"):
        _mounts(server, namespace)
    source = source_with(server, tmp_path, without(name, path, capability), *map(shipped, beside))
    with pytest.raises(SourceError, match="no right"):
        work(source)
