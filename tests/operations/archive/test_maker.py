"""Who made a backup, and what is taken apart of one that a stranger made."""

from __future__ import annotations

import hashlib

import pytest

from strongroom.container import document
from strongroom.container.errors import FormatError, TrustListMissing, UntrustedSigner
from strongroom.container.manifest import MANIFEST
from strongroom.container.signing import CertifiedSigner, Signers
from strongroom.operations.archive.reading import maker_of, manifest_of
from strongroom.targets.memory import MemoryTarget
from tests.certified import certified
from tests.container.parts import CONTROL, INSTALLATION

KNOWN = Signers([INSTALLATION.fingerprint])
STRANGER = certified("control")


def holding(signer: CertifiedSigner) -> MemoryTarget:
    """A target with a manifest that is signed well, and whose body no reader can make anything of."""
    target = MemoryTarget(name="eu")
    content = document.write(MANIFEST, b"[" * 1000, signer)
    target.put("manifests/b.json", [content], size=len(content), sha256=hashlib.sha256(content).digest())
    return target


def test_nothing_of_a_strangers_manifest_is_taken_apart_unless_anybodys_will_do() -> None:
    """It may be as large as the format allows: one of 60 MiB took half a gigabyte."""
    for backup in ("b", None):
        with pytest.raises(UntrustedSigner):
            manifest_of(holding(STRANGER), backup, KNOWN, anybody=False)
        with pytest.raises(FormatError) as refused:
            manifest_of(holding(STRANGER), backup, KNOWN, anybody=True)
        assert not isinstance(refused.value, UntrustedSigner)


@pytest.mark.parametrize(
    ("known", "stated", "is_known", "is_stranger", "may_be_taken"),
    [
        (KNOWN, 0, True, False, True),
        (Signers(), 0, False, True, True),
        (Signers(KNOWN, distrusted={CONTROL.fingerprint: "2026: lost"}), 0, False, False, False),
        (Signers((), distrusted={CONTROL.fingerprint: "2026: lost"}), 0, False, False, False),
        (Signers(KNOWN, retired={CONTROL.fingerprint: "2020-01-01T00:00:00Z"}), 0, False, False, False),
        (Signers(KNOWN, lists={INSTALLATION.fingerprint: 1}), 2, False, False, True),
    ],
    ids=["known", "stranger", "distrusted", "a stranger's distrusted", "retired", "list kept back"],
)
def test_a_maker_is_known_or_a_stranger_or_refused_for_good(
    known: Signers, stated: int, is_known: bool, is_stranger: bool, may_be_taken: bool
) -> None:
    maker = maker_of(CONTROL.certificate, known, made_at="2026-11-25T02:45:01Z", stated=stated)
    assert (maker.known, maker.is_stranger, maker.may_be_taken) == (is_known, is_stranger, may_be_taken)
    for anybody, goes_on in ((False, is_known), (True, may_be_taken)):
        if goes_on:
            maker.require(anybody=anybody)
        else:
            with pytest.raises((UntrustedSigner, TrustListMissing)):
                maker.require(anybody=anybody)
