"""Each capability of the policies of targets, snapshots and transit keys is missed where it is not there.

Of each policy there is what its holder does with it, and what came of that. Taken away one by one, each
capability changes something. Those of the source and of restores are in ``test_vault_policies.py``.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from strongroom.errors import KeyServiceError, SourceError, TargetError
from strongroom.keys.transit import TransitIdentity, TransitKey, TransitRecipient
from strongroom.model import ListedSecret, Secret, SecretBytes, SecretVersion
from strongroom.plugins.conformance.recipients import CONTEXT, KEY
from strongroom.plugins.conformance.targets import get, names, put
from strongroom.sources import SecretChange
from strongroom.sources.vault.scratch import ScratchMounts
from strongroom.targets.vault import VaultTarget
from strongroom.vault.answers import Denied, VaultError
from strongroom.vault.client import Vault
from tests.live.openbao import RaftServer
from tests.live.raft_parts import source_of
from tests.live.vault_parts import PRINTED, capabilities, shipped, without

REFUSALS = (Denied, KeyServiceError, SourceError, TargetError)
_numbers = itertools.count()


class Holder:
    """Somebody with a token of one policy."""

    def __init__(self, server: RaftServer, folder: Path, text: str | None) -> None:
        self.server = server
        self.folder = folder / str(next(_numbers))
        self.folder.mkdir()
        self.policies = () if text is None else (f"least-{next(_numbers)}", "default")
        if text is not None:
            server.policy(self.policies[0], text)

    @property
    def vault(self) -> Vault:
        return Vault(self.server.connection(self.folder, *self.policies))

    @property
    def key(self) -> TransitKey:
        return TransitKey(self.vault, key="strongroom")

    @property
    def target(self) -> VaultTarget:
        return VaultTarget(self.vault, name="t", region="r", mount="strongroom", transit="transit/strongroom")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RaftServer]:
    with RaftServer() as running:
        running.initialise()
        running.mount("strongroom")
        running.call("POST", "sys/mounts/transit", {"type": "transit"})
        running.call("POST", "transit/keys/strongroom", {"type": "aes256-gcm96"})
        put(Holder(running, tmp_path_factory.mktemp("root"), None).target, "there", b"CANARY")
        yield running


Work = Callable[[Holder], object]


def _new(holder: Holder) -> object:
    return put(holder.target, f"new-{next(_numbers)}", os.urandom(9))


def _removes(holder: Holder) -> object:
    put(holder.target, "old", b"CANARY")
    return holder.target.delete("old")


def _marks(holder: Holder) -> object:
    name = f"deletion/x/{next(_numbers)}"
    return put(holder.target, name, os.urandom(9)), len(get(holder.target, name))


def _probes(holder: Holder) -> object:
    name = f"probes/{next(_numbers)}"
    return put(holder.target, name, os.urandom(9)), len(get(holder.target, name))


def _removes_others(holder: Holder) -> object:
    name = f"old/{next(_numbers)}"
    put(Holder(holder.server, holder.folder, None).target, name, b"CANARY")
    return holder.target.delete(name)


def _seals(holder: Holder) -> object:
    return TransitRecipient(holder.key).wrap(KEY, context=CONTEXT).type


def _opens(holder: Holder) -> object:
    sealed = TransitRecipient(Holder(holder.server, holder.folder, None).key).wrap(KEY, context=CONTEXT)
    return TransitIdentity(holder.key).unwrap(sealed, context=CONTEXT)


def _looks(holder: Holder) -> object:
    return holder.key.settings()["type"]


def _snapshot(holder: Holder) -> object:
    source = source_of(holder.server, holder.folder, *holder.policies)
    (about,) = source.read(list(source.list())[-1:])
    assert about is not None
    assert about.current.value is not None
    return json.loads(about.current.value.reveal())["key_term"]


def _changes(what: str, **body: object) -> Work:
    return lambda holder: holder.key.change(what, body)


def _sends(path: str) -> Work:
    """What is sent is no snapshot: it is refused for that, if it may be sent."""

    def send(holder: Holder) -> object:
        try:
            return holder.vault.upload(path, content=lambda: [b"CANARY"], size=6)
        except Denied:
            raise
        except VaultError:
            return "no snapshot"

    return send


def _reads(holder: Holder) -> object:
    return get(holder.target, "there")


def _lists(holder: Holder) -> object:
    return "there" in names(holder.target)


def _drills(holder: Holder) -> object:
    """Fill, read and remove a mount of a drill's own."""
    run = f"run-{next(_numbers)}"
    mounts = ScratchMounts(holder.vault, name="main")
    store = mounts.make(run)
    for expected in (None, 1):
        value = os.urandom(9).hex().encode()
        version = SecretVersion(number=1, value=SecretBytes(value))
        store.write([SecretChange(secret=Secret(name="a", versions=(version,)), expected=expected)])
    back = next(iter(store.read([ListedSecret("a", 0)])))
    found = [len(list(store.list())), back and len(back.versions)]
    mounts.remove(run)
    return found, list(mounts.left())


WORK: dict[str, tuple[Work, ...]] = {
    "kv-target": (_new, _reads, _lists, _removes),
    "kv-target-write": (_new, _reads, _lists),
    "kv-target-read": (_reads, _lists),
    "drill-scratch": (_drills,),
    "kv-target-prune": (_marks, _probes, _reads, _lists, _removes_others),
    "raft-snapshot": (_snapshot,),
    "raft-restore": (
        _snapshot,
        _sends("sys/storage/raft/snapshot"),
        _sends("sys/storage/raft/snapshot-force"),
    ),
    "transit-seal": (_seals, _looks),
    "transit-open": (_opens, _looks),
    "transit-shred": (
        _looks,
        _changes("rotate"),
        _changes("config", min_decryption_version=1),
        _changes("trim", min_available_version=1),
    ),
}


def outcome(holder: Holder, work: tuple[Work, ...]) -> list[object]:
    """Do it all; of what is refused note that it was."""
    found: list[object] = []
    for each in work:
        try:
            found.append(each(holder))
        except REFUSALS as refused:
            found.append(type(refused).__name__)
    return found


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize(
    ("name", "path", "capability"),
    [
        pytest.param(name, *each.values, id=f"{name}: {each.id}")
        for name in WORK
        for each in capabilities(name)
    ],
)
def test_each_capability_is_missed(
    server: RaftServer, tmp_path: Path, name: str, path: str, capability: str
) -> None:
    less = outcome(Holder(server, tmp_path, without(name, path, capability)), WORK[name])
    whole = outcome(Holder(server, tmp_path, shipped(name)), WORK[name])
    denied = {"Denied", "KeyDenied", "SourceClosed", "SourceError", "TargetError", "TargetReadOnly"}
    assert not denied & set(map(str, whole))
    assert less != whole


def test_every_policy_that_is_printed_is_held_to_this() -> None:
    elsewhere = {"backup-read", "restore", "restore-system", "restore-undo", "restore-undo-system"}
    assert PRINTED.keys() == WORK.keys() | elsewhere
