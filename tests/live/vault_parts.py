"""What the tests of the Vault source share."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from strongroom.config import load_settings
from strongroom.model import ListedSecret, Secret, VersionState
from strongroom.operations.rights.vault_policies import Policy, policy_text, vault_policies
from strongroom.sources import Destination, Refuse, SecretChange
from strongroom.sources.vault import VaultSource
from strongroom.system.attempts import Clock
from strongroom.vault.client import Vault
from strongroom.vault.rights import NONE
from tests.live.openbao import OpenBao
from tests.live.proxy import FaultyProxy

READ = ("backup-read",)
RESTORE = ("backup-read", "restore", "restore-undo", "restore-system", "restore-undo-system")
"""Names of policies; :data:`PRINTED` says whose each is."""

OLD_MOUNTS = ("kv1", "team/kv1")
_VAULT = """
state_dir = "/nowhere"
[vaults.main]
address = "http://127.0.0.1:8200"
token_file = "/nowhere/token"
"""
_SOURCE = '[sources.main]\nkind = "vault"\nvault = "main"\ndestination = true\n'
_RAFT = '[sources.main]\nkind = "raft"\nvault = "main"\n'
_TARGET = (
    '[targets.main]\nkind = "vault"\nvault = "main"\nmount = "strongroom"\nregion = "r"\n'
    'transit_key = "strongroom"\n'
)
_KEY = '[keys.main]\nkind = "transit"\nvault = "main"\nkey = "strongroom"\n'
PRINTED: dict[str, tuple[str, str]] = {
    "backup-read": (_SOURCE, "seal"),
    "restore": (_SOURCE, "recover"),
    "restore-undo": (_SOURCE, "undo"),
    "restore-system": (_SOURCE, "rebuild"),
    "restore-undo-system": (_SOURCE, "rebuild-undo"),
    "kv-target": (_TARGET, "control"),
    "kv-target-write": (_TARGET, "transfer"),
    "kv-target-read": (_TARGET, "verify"),
    "kv-target-prune": (_TARGET, "prune"),
    "drill-scratch": ("scratch = true\n", "drill"),
    "raft-snapshot": (_RAFT, "control"),
    "raft-restore": (_RAFT, "restore-snapshot"),
    "transit-seal": (_KEY, "seal"),
    "transit-open": (_KEY, "verify"),
    "transit-shred": (_KEY, "shred"),
}
"""Of each policy the configuration, and whose rules ``cluster rules vault`` prints as it."""


@cache
def _policy(name: str) -> Policy:
    config, role = PRINTED[name]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "strongroom.toml"
        file.write_text(_VAULT + config)
        settings = load_settings({"HOME": folder}, path=file)
    found = vault_policies(settings, [role], kv1=OLD_MOUNTS if "source" in config else ())["main"][role]
    if name == "restore":  # what it has beside reading
        reading = _policy("backup-read")
        return {
            path: can - reading.get(path, NONE)
            for path, can in found.items()
            if can - reading.get(path, NONE)
        }
    return found


def shipped(name: str) -> str:
    """Return a policy as it is printed."""
    return policy_text(_policy(name))


def capabilities(name: str) -> list[Any]:
    """Return each capability of a printed policy, as a test's parameters: its path and itself."""
    return [
        pytest.param(path, f'"{each}"', id=f"{each} {path}")
        for path, can in _policy(name).items()
        for each in sorted(can)
    ]


def without(name: str, path: str, capability: str) -> str:
    """Return a printed policy less one capability of one path."""
    policy = dict(_policy(name))
    assert capability.strip('"') in policy[path]
    return policy_text(policy | {path: policy[path] - {capability.strip('"')}})


def with_policies(server: OpenBao, *, elsewhere: Sequence[tuple[str, str]] = ()) -> None:
    """Load the printed policies.

    Args:
        elsewhere: what their lines are written again for: a text, and what stands in its place then.
    """
    for name in RESTORE:
        text = shipped(name)
        server.policy(name, "\n".join([text, *(text.replace(old, new) for old, new in elsewhere)]))


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


class Time:
    """A clock of our own, in which waiting takes no time, and whatever else takes time takes none of it.

    Args:
        passed: is told the time after each wait.
    """

    def __init__(self, passed: Callable[[float], object] = lambda now: None) -> None:
        self.now = 0.0
        self._passed = passed
        self.clock = Clock(wait=self._wait, monotonic=lambda: self.now)

    def _wait(self, seconds: float) -> None:
        self.now += seconds
        self._passed(self.now)


@dataclass(frozen=True)
class Site:
    """The shared server, and a way there that fails on purpose."""

    server: OpenBao
    proxy: FaultyProxy
    folder: Path

    def source(self, mount: str, *, clock: Clock | None = None, **settings: Any) -> VaultSource:
        """Return a source that reaches one mount through the proxy, under the shipped policies.

        Args:
            clock: by which it waits; one in which that takes no time, unless told otherwise.
        """
        with_policies(self.server)
        connection = self.server.connection(self.folder, *RESTORE, **settings)
        vault = Vault(replace(connection, address=self.proxy.url), clock=clock or Time().clock)
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
