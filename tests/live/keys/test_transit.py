"""Transit keys of a live OpenBao meet the contract under the shipped policies; refusals are named."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest

from strongroom.container.wrapping import WrappingKey, unlock
from strongroom.keys.errors import (
    KeyDenied,
    KeyNotFound,
    KeyServiceUnavailable,
    KeyVersionTooOld,
    MechanismMissing,
)
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.keys.transit import TransitIdentity, TransitKey, TransitRecipient
from strongroom.plugins.conformance.recipients import CONTEXT, KEY, RecipientConformance
from strongroom.vault.client import Vault
from tests.live.openbao import OpenBao
from tests.live.proxy import FaultyProxy, LoseReply, method
from tests.live.vault_parts import shipped

_numbers = itertools.count(1)


class Transit:
    """A transit engine of a test's own, with a key `strongroom`, which the shipped policies name."""

    def __init__(self, server: OpenBao, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.mount = f"transit-{next(_numbers)}"
        server.call("POST", f"sys/mounts/{self.mount}", {"type": "transit"})
        server.call("POST", f"{self.mount}/keys/strongroom", {"type": "aes256-gcm96"})
        for kind in ("seal", "open"):
            text = shipped(f"transit-{kind}")
            server.policy(f"{self.mount}-{kind}", text.replace('"transit/', f'"{self.mount}/'))

    def key(self, *kinds: str, name: str = "strongroom", **settings: Any) -> TransitKey:
        """Return a key as a host with the shipped policies has it; as root without any."""
        folder = self.folder / f"token-{next(_numbers)}"
        folder.mkdir()
        connection = self.server.connection(folder, *(f"{self.mount}-{kind}" for kind in kinds), **settings)
        return TransitKey(Vault(connection), key=name, mount=self.mount, server="keys")

    def tell(self, method: str, path: str, body: object = None) -> Any:
        return self.server.call(method, f"{self.mount}/{path}", body)


@pytest.fixture
def transit(openbao: OpenBao, tmp_path: Path) -> Transit:
    return Transit(openbao, tmp_path)


class TestTransit(RecipientConformance):
    post_quantum = True
    words = "anyone who may decrypt with the transit key `strongroom` of the Vault `keys`"

    @pytest.fixture
    def recipient(self, transit: Transit) -> TransitRecipient:
        return TransitRecipient(transit.key("seal"), label="recovery")

    @pytest.fixture
    def same(self, transit: Transit) -> TransitRecipient:
        return TransitRecipient(transit.key("seal"), label="recovery")

    @pytest.fixture
    def identity(self, transit: Transit) -> TransitIdentity:
        return TransitIdentity(transit.key("open", "seal"))

    @pytest.fixture
    def stranger(self, openbao: OpenBao, tmp_path: Path) -> TransitIdentity:
        return TransitIdentity(Transit(openbao, tmp_path).key("open", "seal"))

    @pytest.fixture
    def secrets(self, openbao: OpenBao) -> list[bytes]:
        return [openbao.token.encode()]


def sealed_by(key: TransitKey) -> Any:
    return TransitRecipient(key).wrap(KEY, context=CONTEXT)


def opened_by(key: TransitKey, stanza: Any) -> bytes | None:
    return TransitIdentity(key).unwrap(stanza, context=CONTEXT)


# -- rights ------------------------------------------------------------------------------


def test_the_host_that_seals_cannot_open_and_the_one_that_opens_cannot_seal(transit: Transit) -> None:
    stanza = sealed_by(transit.key("seal"))

    assert opened_by(transit.key("open"), stanza) == KEY
    with pytest.raises(KeyDenied, match="`strongroom`"):
        opened_by(transit.key("seal"), stanza)
    with pytest.raises(KeyDenied):
        sealed_by(transit.key("open"))


def test_a_key_of_the_same_name_in_another_vault_is_not_ours(
    transit: Transit, own_openbao: OpenBao, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Transit(own_openbao, tmp_path / "other")
    foreign = TransitKey(other.key()._vault, key="strongroom", mount=other.mount)
    here = TransitKey(transit.key()._vault, key="strongroom", mount=transit.mount)
    assert TransitRecipient(foreign).fingerprint != TransitRecipient(here).fingerprint
    stanza = sealed_by(here)
    own_openbao.call("POST", "sys/remount", {"from": other.mount, "to": f"{transit.mount}"})
    moved = TransitKey(other.key()._vault, key="strongroom", mount=transit.mount)

    assert opened_by(moved, stanza) is None


# -- versions ----------------------------------------------------------------------------


def test_the_version_is_recorded_and_old_ones_open_until_the_minimum_is_raised(transit: Transit) -> None:
    key = transit.key("seal", "open")
    first = sealed_by(key)
    transit.tell("POST", "keys/strongroom/rotate", {})
    second = sealed_by(key)

    assert [stanza.args["version"] for stanza in (first, second)] == [1, 2]
    assert [opened_by(key, stanza) for stanza in (first, second)] == [KEY, KEY]

    transit.tell("POST", "keys/strongroom/config", {"min_decryption_version": 2})
    with pytest.raises(
        KeyVersionTooOld, match="nothing older than v2, and this was sealed under v1"
    ) as caught:
        opened_by(key, first)
    assert "Lower" in caught.value.hint
    assert opened_by(key, second) == KEY

    transit.tell("POST", "keys/strongroom/config", {"min_decryption_version": 1})
    assert opened_by(key, first) == KEY


def test_a_version_that_was_trimmed_is_said_to_be_lost(transit: Transit) -> None:
    key = transit.key("seal", "open")
    first = sealed_by(key)
    transit.tell("POST", "keys/strongroom/rotate", {})
    transit.tell("POST", "keys/strongroom/config", {"min_decryption_version": 2, "min_encryption_version": 2})
    transit.tell("POST", "keys/strongroom/trim", {"min_available_version": 2})

    with pytest.raises(KeyVersionTooOld, match="lost here"):
        opened_by(key, first)


# -- what is not there -------------------------------------------------------------------


def test_a_missing_key_is_not_made_and_is_named(transit: Transit) -> None:
    key = transit.key(name="strongrom")
    with pytest.raises(KeyNotFound, match="no transit key `strongrom`"):
        sealed_by(key)
    with pytest.raises(KeyNotFound):
        key.settings()


def test_a_key_of_another_type_is_refused(transit: Transit) -> None:
    transit.tell("POST", "keys/rsa", {"type": "rsa-2048"})
    with pytest.raises(MechanismMissing, match="`rsa`"):
        sealed_by(transit.key(name="rsa"))


def test_a_server_that_is_gone_is_transient_and_stops_no_other_key(
    own_openbao: OpenBao, tmp_path: Path
) -> None:
    key = Transit(own_openbao, tmp_path).key("seal", "open", patience_seconds=0.5)
    file = KeyFileIdentity(bytes(range(32)))
    record = WrappingKey.create([TransitRecipient(key), file.recipient()]).record
    own_openbao.kill()

    assert unlock(record, [TransitIdentity(key), file]).id == record.id
    with pytest.raises(KeyServiceUnavailable, match="cannot be reached") as caught:
        unlock(record, [TransitIdentity(key)])
    assert caught.value.transient


def test_a_reply_that_was_lost_is_asked_for_again(transit: Transit, tmp_path: Path) -> None:
    with FaultyProxy(transit.server.process.port) as proxy:
        key = transit.key("seal", "open")
        far = TransitKey(Vault(_through(key, f"http://127.0.0.1:{proxy.port}")), key=key.key, mount=key.mount)
        proxy.fail(LoseReply(), when=method("POST"), times=2)
        stanza = sealed_by(far)
        proxy.fail(LoseReply(), when=method("POST"), times=2)
        assert opened_by(far, stanza) == KEY


def _through(key: TransitKey, address: str) -> Any:
    return msgspec.structs.replace(key._vault.connection, address=address)


def test_a_revoked_token_is_a_matter_of_rights(transit: Transit) -> None:
    key = transit.key("seal")
    token = key._vault.connection.login.path.read_text()  # type: ignore[attr-defined]
    transit.server.call("POST", "auth/token/revoke", {"token": token})
    with pytest.raises(KeyDenied):
        sealed_by(key)
