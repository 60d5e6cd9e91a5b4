"""Files that commands wrote, signed anew where they lie."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from strongroom.container.errors import MissingPiece, UntrustedSigner
from strongroom.container.manifest import Manifest, sign_manifest
from strongroom.container.signing import Signer, Signers
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.operations.archive.inventory import say_gone
from strongroom.operations.archive.open import open_backup, read_manifest
from strongroom.operations.backup.single_file import backup_to_file
from strongroom.operations.engine.layout import manifest_name
from strongroom.operations.engine.services import Services
from strongroom.operations.procedures.re_sign import re_sign_backup, rests_on
from strongroom.operations.rotation.rewrap import RewrapOrder
from strongroom.operations.rotation.single_file import reencrypt_file, rewrap_file
from strongroom.state.records import CatalogEntry
from strongroom.targets.single_file import BundleReader, BundleWriter
from tests.certified import certified
from tests.operations.rotation.rotating import MANIFEST_ROLES
from tests.operations.world import World, make_world

NEW = KeyFileIdentity(os.urandom(32))


class Leaked:
    """A backup in a file, whose signers leaked; another signs as both roles now."""

    def __init__(self, folder: Path) -> None:
        self.world = make_world(folder)
        self.path = folder / "a.sr"
        self.old = {role: self.world.signers[role] for role in MANIFEST_ROLES}
        self.backup = self._made()
        installation = self.world.installation
        self.new = {role: certified(role, installation=installation) for role in MANIFEST_ROLES}

    def _made(self) -> str:
        made = backup_to_file(
            self.path,
            source=self.world.source,
            recipients=[self.world.identity.recipient()],
            services=self.world.services(),
        )
        return made.backup_id

    @property
    def before(self) -> frozenset[str]:
        return frozenset({self.world.installation.fingerprint})

    @property
    def trusted(self) -> Signers:
        leaked = (signer.fingerprint for signer in self.old.values())
        return Signers(self.before, distrusted=dict.fromkeys(leaked, "2026-11-26T08:00:00+00:00: leak"))

    def rotation(self) -> RewrapOrder:
        """What rotates the file, before the leak is known."""
        return RewrapOrder(
            recipients=[NEW.recipient()],
            identities=[self.world.identity, NEW],
            signer=self.old["recover"],
            trusted=self.before,
        )

    def services(self) -> Services:
        signers = {**self.world.signers, **self.new}
        world: World = replace(self.world, signers=signers)
        return world.services(signer_fingerprints=self.trusted, identities=lambda: (self.world.identity, NEW))

    def entry(self) -> CatalogEntry:
        found = self.services().store.backup(self.backup)
        assert found is not None
        return found

    def opened(self, key: KeyFileIdentity) -> int:
        with BundleReader(self.path) as file:
            backup = open_backup(file, identities=[key], trusted=self.trusted)
            return sum(1 for _ in backup.secrets())


@pytest.fixture
def leaked(tmp_path: Path) -> Leaked:
    return Leaked(tmp_path)


def test_signed_anew_the_file_is_believed_where_it_lies(leaked: Leaked) -> None:
    with pytest.raises(UntrustedSigner):
        leaked.opened(leaked.world.identity)
    done = re_sign_backup(leaked.services(), leaked.entry())
    assert (done.manifest, done.envelopes, done.missed) == (True, 0, {})
    assert leaked.opened(leaked.world.identity) == 30
    assert [path.name for path in leaked.path.parent.glob("*a.sr*")] == ["a.sr"]


def test_so_is_its_newest_envelope(leaked: Leaked) -> None:
    rewrap_file(leaked.path, leaked.rotation())
    done = re_sign_backup(leaked.services(), leaked.entry())
    assert (done.manifest, done.envelopes) == (True, 1)
    assert leaked.opened(NEW) == 30


def test_it_may_be_done_again_and_leaves_a_file_that_needs_nothing(leaked: Leaked) -> None:
    re_sign_backup(leaked.services(), leaked.entry())
    content, inode = leaked.path.read_bytes(), leaked.path.stat().st_ino
    again = re_sign_backup(leaked.services(), leaked.entry())
    assert (again.manifest, again.envelopes) == (False, 0)
    assert (leaked.path.read_bytes(), leaked.path.stat().st_ino) == (content, inode)


def test_a_process_that_died_before_the_catalog_knew_is_followed_by_one_that_finishes(
    leaked: Leaked, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = leaked.services()
    with monkeypatch.context() as patched:
        patched.setattr(type(services.store), "put_backup", _die)
        with pytest.raises(KeyboardInterrupt):
            re_sign_backup(services, leaked.entry())
    assert re_sign_backup(leaked.services(), leaked.entry()).manifest
    with BundleReader(leaked.path) as file:
        content = b"".join(file.read(f"{manifest_name(leaked.backup)}.r1"))
    assert leaked.entry().manifest_sha256 == hashlib.sha256(content).hexdigest()
    assert leaked.opened(leaked.world.identity) == 30


def _die(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_a_forgery_in_the_file_is_not_vouched_for_and_stays_as_it_is(leaked: Leaked) -> None:
    with BundleReader(leaked.path) as old, BundleWriter(leaked.path, replace=True) as new:
        forged = _forged(leaked, read_manifest(old, trusted=None))
        for info in old.list():
            content = b"".join(old.read(info.name)) if info.name != manifest_name(leaked.backup) else forged
            new.put(info.name, [content], size=len(content), sha256=hashlib.sha256(content).digest())
        new.close(commit=True)
    before = leaked.path.read_bytes()
    with pytest.raises(UntrustedSigner, match=r"made by a command, in .*a\.sr"):
        re_sign_backup(leaked.services(), leaked.entry())
    assert leaked.path.read_bytes() == before


def _forged(leaked: Leaked, manifest: Manifest) -> bytes:
    return sign_manifest(msgspec.structs.replace(manifest, source="elsewhere"), leaked.old["control"])


def test_what_the_leaked_key_sealed_anew_is_told_and_not_vouched_for(leaked: Leaked) -> None:
    """The catalog does not know what is in a file that was sealed anew in its place."""
    reencrypt_file(leaked.path, leaked.rotation(), digest_key=b"d" * 32, remove=True)
    with pytest.raises(UntrustedSigner, match="give --signer when restoring"):
        re_sign_backup(leaked.services(), leaked.entry())
    [rests] = rests_on(leaked.services(), leaked.entry(), leaked.old["recover"].fingerprint)
    assert (rests.backup, rests.manifest, rests.file) == (f"{leaked.backup}-r1", True, str(leaked.path))


def test_what_bears_a_signature_is_told_until_it_bears_another(leaked: Leaked) -> None:
    def bears(signer: Signer) -> bool:
        [rests] = rests_on(leaked.services(), leaked.entry(), signer.fingerprint)
        return rests.manifest

    assert (bears(leaked.old["control"]), bears(leaked.new["recover"])) == (True, False)
    re_sign_backup(leaked.services(), leaked.entry())
    assert (bears(leaked.old["control"]), bears(leaked.new["recover"])) == (False, True)


def test_a_file_that_is_not_there_is_named_and_once_said_to_be_gone_needs_nothing(leaked: Leaked) -> None:
    leaked.path.unlink()
    for looking in (re_sign_backup, lambda *both: rests_on(*both, leaked.new["recover"].fingerprint)):
        with pytest.raises(MissingPiece, match=f"no longer at {leaked.path}"):
            looking(leaked.services(), leaked.entry())
    say_gone(leaked.services(), leaked.backup)
    assert rests_on(leaked.services(), leaked.entry(), leaked.new["recover"].fingerprint) == []
    assert not re_sign_backup(leaked.services(), leaked.entry()).manifest
