"""The one gate to a backup: somebody who is trusted here made it, and nobody set it aside.

:mod:`strongroom.cli.backups_read` has the table of the commands. Who restores, opens or verifies is refused;
who only shows what a file claims says what speaks against it, and ends with the exit code of that.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from itertools import islice

from msgspec import Struct

from strongroom.cli.shared import own_record, trust
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import Place
from strongroom.container.certificate import Certificate
from strongroom.container.manifest import SignedManifest
from strongroom.container.signing import Signers
from strongroom.operations.archive import quarantine_marks
from strongroom.operations.archive.maker import Maker, maker_of, maker_of_backup
from strongroom.operations.archive.open import Objects
from strongroom.operations.archive.quarantine_marks import in_quarantine
from strongroom.operations.errors import SetAside

SHOWN = 4
"""Backups in quarantine that are named: more would hide what is said of them."""


class Admitted(Struct, frozen=True, kw_only=True):
    """A backup that is read: who made it, and why it is in quarantine, if it is."""

    maker: Maker
    quarantine: str = ""


def admit(
    signed: SignedManifest, objects: Objects, arguments: Namespace, output: Output, place: Place
) -> Admitted:
    """Let a command read a backup.

    Raises:
        UntrustedSigner: nobody who is trusted here signed it: its fingerprint, and how to go on.
        BackupQuarantined: it is in quarantine, and the command was not told to use it nonetheless.
    """
    known = _known(arguments, place)
    maker = admit_maker(maker_of_backup(signed, known), arguments, output)
    backup = signed.manifest.backup_id
    quarantine = why_quarantined(objects, backup, maker.pins(known), place)
    if quarantine and not getattr(arguments, "use_quarantined", False):
        raise in_quarantine(backup, quarantine)
    if quarantine:
        output.warn(f"this backup is in quarantine {quarantine}. It is used nonetheless.")
    return Admitted(maker=maker, quarantine=quarantine)


def admit_container(certificate: Certificate, arguments: Namespace, output: Output, place: Place) -> Admitted:
    """Let a command read one container alone, which is of no backup that could be in quarantine.

    Raises:
        UntrustedSigner: nobody who is trusted here signed it.
    """
    maker = maker_of(certificate, _known(arguments, place))
    return Admitted(maker=admit_maker(maker, arguments, output))


def admit_maker(maker: Maker, arguments: Namespace, output: Output) -> Maker:
    """Refuse a maker who is not trusted here; say so if a person takes anybody's."""
    maker.require(anybody=trust.anybody(arguments))
    if not maker.known:
        output.warn_once(f"nobody knows who made this: {maker.doubt}")
    return maker


def show(
    signed: SignedManifest, objects: Objects, arguments: Namespace, output: Output, place: Place
) -> Admitted:
    """Let a command show what a backup claims, and end with what speaks against believing it."""
    known = _known(arguments, place)
    maker = show_maker(maker_of_backup(signed, known), output)
    backup = signed.manifest.backup_id
    quarantine = why_quarantined(objects, backup, maker.pins(known), place)
    output.end_with(set_aside({backup: quarantine} if quarantine else {}))
    return Admitted(maker=maker, quarantine=quarantine)


def show_container(certificate: Certificate, arguments: Namespace, output: Output, place: Place) -> Admitted:
    """Let a command show what one container alone claims."""
    return Admitted(maker=show_maker(maker_of(certificate, _known(arguments, place)), output))


def show_maker(maker: Maker, output: Output) -> Maker:
    """Have a command end with it if a key is distrusted: that nobody knows a maker, it says itself."""
    output.end_with(None if maker.is_stranger else maker.refusal)
    return maker


def set_aside(quarantined: Mapping[str, str]) -> SetAside | None:
    """Return how a command ends that showed backups of which these are in quarantine, and why."""
    if not quarantined:
        return None
    told = "; ".join(f"{backup} {why}" for backup, why in islice(quarantined.items(), SHOWN))
    more = f"; and {len(quarantined) - SHOWN:,} more" if len(quarantined) > SHOWN else ""
    return SetAside(f"In quarantine: {told}{more}.")


def why_quarantined(objects: Objects, backup: str, pins: Signers, place: Place) -> str:
    """Say why a backup is in quarantine, by the record here or by a mark beside it; nothing if it is not."""
    return quarantine_marks.why_quarantined(
        objects, backup, own_record.quarantined(place, backup), trusted=pins
    )


def _known(arguments: Namespace, place: Place) -> Signers:
    return trust.trusted_signers(place, getattr(arguments, "signer", ()))
