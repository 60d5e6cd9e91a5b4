"""What the tests of the Vault source share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from strongroom.model import ListedSecret, Secret, VersionState
from strongroom.sources import Destination, Refuse, SecretChange
from strongroom.sources.vault import VaultSource
from strongroom.vault.client import Vault
from tests.live.openbao import OpenBao
from tests.live.proxy import FaultyProxy

POLICIES = Path(__file__).resolve().parents[2] / "ops" / "vault"
READ = ("backup-read",)
RESTORE = ("backup-read", "restore", "restore-undo", "restore-system", "restore-undo-system")
"""Names of the shipped policies, and of the files that they are in."""


def shipped(name: str) -> str:
    """Return a shipped policy as it is."""
    return (POLICIES / f"{name}.hcl").read_text()


_GRANT = re.compile(r'path "([^"]+)"\s*\{\s*capabilities = \[([^\]]*)\]')


def capabilities(name: str) -> list[Any]:
    """Return each capability of a shipped policy, as a test's parameters: its path and itself."""
    found = [
        pytest.param(path, each.strip(), id=f"{each.strip()} {path}".replace('"', ""))
        for path, listed in _GRANT.findall(shipped(name))
        for each in listed.split(",")
    ]
    assert len(_GRANT.findall(shipped(name))) == shipped(name).count("capabilities =")
    return found


def without(name: str, path: str, capability: str) -> str:
    """Return a shipped policy less one capability of one path."""

    def cut(grant: re.Match[str]) -> str:
        left = [each for each in grant[2].split(",") if (grant[1], each.strip()) != (path, capability)]
        return f'path "{grant[1]}" {{ capabilities = [{",".join(left)}]'

    text = _GRANT.sub(cut, shipped(name))
    assert text.count(capability) == shipped(name).count(capability) - 1
    return text


def with_policies(server: OpenBao, *, elsewhere: Mapping[str, str] | None = None) -> None:
    """Load the shipped policies.

    Args:
        elsewhere: texts to replace, for policies of other mounts: their lines written again, as the
            files say.
    """
    for name in RESTORE:
        text = shipped(name)
        for old, new in (elsewhere or {}).items():
            text = text.replace(old, new)
        server.policy(name, shipped(name) + (text if elsewhere else ""))


def source_of(server: OpenBao, folder: Path, *policies: str, **settings: Any) -> VaultSource:
    """Return a source on a server, with a token of these policies, or the root token."""
    connection = {
        name: settings.pop(name)
        for name in ("in_flight", "requests_per_second", "patience_seconds", "login")
        if name in settings
    }
    return VaultSource(Vault(server.connection(folder, *policies, **connection)), **settings)


class Within(Destination):
    """A destination that is one mount, shown as the suites of all destinations expect one.

    Names are those within the mount. What the server makes up itself is taken off, and destroyed versions,
    which stand where another store has a gap, are left out.
    """

    def __init__(self, inner: VaultSource, mount: str) -> None:
        self.inner = inner
        self._mount = mount

    @property
    def name(self) -> str:
        return self.inner.name

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        for entry in self.inner.list(with_tags=with_tags):
            if not entry.name.startswith("sys/"):
                yield ListedSecret(
                    entry.name.removeprefix(self._mount), entry.size, entry.locator, entry.tags
                )

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        inner = [ListedSecret(self._mount + entry.name, entry.size, entry.locator) for entry in entries]
        for found in self.inner.read(inner):
            yield self._shown(found) if found else None

    def heads(self, names: Sequence[str]) -> dict[str, int]:
        found = self.inner.heads([self._mount + name for name in names])
        return {name.removeprefix(self._mount): head for name, head in found.items()}

    def write(self, changes: Iterable[SecretChange], *, refuse: Refuse | None = None) -> int:
        named = (
            SecretChange(
                secret=replace(change.secret, name=self._mount + change.secret.name)
                if change.secret.name
                else change.secret,
                expected=change.expected,
            )
            for change in changes
        )
        return self.inner.write(named, refuse=refuse and self._within(refuse))

    def _within(self, refuse: Refuse) -> Refuse:
        return lambda name, error: refuse(name.removeprefix(self._mount), error)

    def delete(self, names: Iterable[str]) -> int:
        return self.inner.delete(self._mount + name for name in names)

    def losses(self) -> tuple[str, ...]:
        return self.inner.losses()

    def not_contained(self) -> tuple[str, ...]:
        return self.inner.not_contained()

    def _shown(self, found: Secret) -> Secret:
        kept = self.inner.kept(found)
        versions = tuple(v for v in kept.versions if v.state is not VersionState.DESTROYED)
        return replace(kept, name=found.name.removeprefix(self._mount), versions=versions)


@dataclass(frozen=True)
class Site:
    """The shared server, and a way there that fails on purpose."""

    server: OpenBao
    proxy: FaultyProxy
    folder: Path

    def source(self, mount: str, **settings: Any) -> VaultSource:
        """Return a source that reaches one mount through the proxy, under the shipped policies."""
        with_policies(self.server, elsewhere={"secret/": mount})
        connection = self.server.connection(self.folder, *RESTORE, **({"patience_seconds": 5.0} | settings))
        vault = Vault(replace(connection, address=self.proxy.url))
        return VaultSource(vault, mounts=(mount,), system=False)


@pytest.fixture
def own(openbao: OpenBao) -> Iterator[str]:
    """An empty mount."""
    yield openbao.mount("own")
    openbao.unmount("own")


@pytest.fixture
def site(openbao: OpenBao, tmp_path: Path) -> Iterator[Site]:
    """See :class:`Site`."""
    with FaultyProxy(openbao.process.port) as proxy:
        yield Site(openbao, proxy, tmp_path)
