"""Erasable policies are refused unless every key that opens their backups can be destroyed for them alone."""

from __future__ import annotations

import pytest

from tests.config.loading import Place
from tests.config.test_problems import VAULT

KEYS = (
    VAULT
    + '[keys.bao]\nkind = "transit"\nvault = "main"\nkey = "k"\n'
    + '[keys.kms]\nkind = "kms"\nkey_id = "0123"\nregion = "eu"\n'
    + '[keys.alias]\nkind = "kms"\nkey_id = "alias/k"\nregion = "eu"\n'
    + '[keys.hsm]\nkind = "pkcs11"\nlabel = "k"\nmodule = "/m.so"\ntoken = "t"\npin_file = "p"\n'
    + '[keys.half]\nkind = "pkcs11"\nlabel = "k"\npublic_key_file = "h"\n'
    + '[keys.file]\nkind = "keyfile"\nfile = "f"\n'
    + '[keys.words]\nkind = "passphrase"\n'
    + '[keys.board]\nkind = "quorum"\nfile = "q"\n'
    + '[keys.both]\nkind = "all-of"\nlegs = [["hsm", "bao"], ["board"]]\n'
    + '[keys.weak]\nkind = "all-of"\nlegs = [["hsm", "words"], ["board"]]\n'
)
TARGETS = '["region-a", "region-b", "region-c"]'


def policy(name: str, recipients: str, more: str = "erasable = true", targets: str = TARGETS) -> str:
    return f'[policies.{name}]\nkind = "full"\ntargets = {targets}\nrecipients = [{recipients}]\n{more}\n'


@pytest.mark.parametrize("key", ["bao", "kms", "hsm", "file", "both"])
def test_keys_that_can_be_destroyed_make_a_policy_erasable(place: Place, key: str) -> None:
    assert place.problems(KEYS + policy("p", f'"{key}"')) == []


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ('"words"', "a passphrase cannot be made forgotten"),
        ('"board"', "nobody can prove that they were burnt"),
        ('"half"', "does not reach the token of 'half'"),
        ('"alias"', "an alias, which can be moved"),
        ('"weak"', "of no leg can every key be destroyed: a passphrase"),
        ('"bao", "words"', "'words' cannot be destroyed"),
    ],
)
def test_one_key_that_stays_is_enough_to_refuse(place: Place, keys: str, why: str) -> None:
    [found] = place.problems(KEYS + policy("p", keys))
    assert found.key == "policies.p.erasable"
    assert why in found.what


@pytest.mark.parametrize("other", ["bao", "both"])
def test_a_key_that_another_policy_seals_for_cannot_be_destroyed(place: Place, other: str) -> None:
    [found] = place.problems(KEYS + policy("p", '"bao"') + policy("q", f'"{other}"', more=""))
    assert "policy 'q' also seals to 'bao'" in found.what


def test_a_lock_and_erasable_exclude_each_other(place: Place) -> None:
    locked = '[targets.a]\nkind = "s3"\nbucket = "b"\nregion = "r"\nlock = "governance"\n'
    more = "erasable = true\nregions = 1"
    [found] = place.problems(KEYS + locked + policy("p", '"bao"', more=more, targets='["a"]'))
    assert "target 'a' locks" in found.what


def test_what_is_not_sealed_is_refused(place: Place) -> None:
    open_ = f'[policies.p]\nkind = "metadata"\ntargets = {TARGETS}\nerasable = true\n'
    [found] = place.problems(open_)
    assert "seals nothing" in found.what
