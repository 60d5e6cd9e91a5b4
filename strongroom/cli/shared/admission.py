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
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.certificate import Certificate
from strongroom.container.manifest import SignedManifest
from strongroom.container.signing import Signers
from strongroom.operations.archive.coverage import Asked
from strongroom.operations.archive.maker import Maker, maker_of, maker_of_backup
from strongroom.operations.archive.on_record import BackupsOnRecord
from strongroom.operations.archive.open import Objects
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.errors import SetAside, TargetUnsound

SHOWN = 4
"""Backups in quarantine that are named: more would hide what is said of them."""


class Admitted(Struct, frozen=True, kw_only=True):
    """A backup that is read: who made it, and why it is in quarantine, if it is."""

    maker: Maker
    quarantine: str = ""


def admit(
    signed: SignedManifest, objects: Objects, arguments: Namespace, output: Output, place: InstallationPlace
) -> Admitted:
    """Let a command read a backup.

    Raises:
        UntrustedSigner: nobody who is trusted here signed it: its fingerprint, and how to go on.
        BackupQuarantined: it is in quarantine, and the command was not told to use it nonetheless.
    """
    known = trust.signers_on(objects, arguments, place)
    maker = admit_maker(maker_of_backup(signed, known), arguments, output)
    backup = signed.manifest.backup_id
    looked = look_at(objects, backup, maker.pins(known), place)
    quarantine = looked.why_quarantined(backup)
    if quarantine and not getattr(arguments, "use_quarantined", False):
        raise looked.refusal(backup)
    _tell_unsound(looked, signed, arguments, output)
    if quarantine:
        output.warn(f"this backup is in quarantine {quarantine}. It is used nonetheless.")
    return Admitted(maker=maker, quarantine=quarantine)


def admit_container(
    certificate: Certificate, arguments: Namespace, output: Output, place: InstallationPlace
) -> Admitted:
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
    signed: SignedManifest, objects: Objects, arguments: Namespace, output: Output, place: InstallationPlace
) -> Admitted:
    """Let a command show what a backup claims, and end with what speaks against believing it."""
    known = trust.signers_on(objects, arguments, place)
    maker = show_maker(maker_of_backup(signed, known), output)
    backup = signed.manifest.backup_id
    looked = look_at(objects, backup, maker.pins(known), place)
    quarantine = looked.why_quarantined(backup)
    _tell_unsound(looked, signed, arguments, output)
    output.end_with(set_aside({backup: quarantine} if quarantine else {}))
    return Admitted(maker=maker, quarantine=quarantine)


def show_container(
    certificate: Certificate, arguments: Namespace, output: Output, place: InstallationPlace
) -> Admitted:
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


def look_at(objects: Objects, backup: str, pins: Signers, place: InstallationPlace) -> Chooser:
    """Return what judges a backup by what lies beside it; by all of the record here only if it must."""
    recorded = own_record.quarantined(place, backup)
    found = BackupsOnRecord(quarantined={backup: recorded} if recorded else {}).of_one_place(
        objects, trusted=pins
    )
    if not found.nobody_can_tell(backup):
        return found
    return own_record.read_record(place).of_one_place(objects, trusted=pins)


def _tell_unsound(looked: Chooser, signed: SignedManifest, arguments: Namespace, output: Output) -> None:
    """Have a command end with what is wrong beside a backup, or with a newer one that is known and gone."""
    given = vars(arguments)
    if not given.get("backup"):
        lost = looked.lost(Asked(values=False, policy=given.get("policy") or ""), signed.manifest)
        output.end_with(None if lost is None else lost.error(signed.manifest))
    odd = "; ".join(f"{folder}: {why}" for folder, why in looked.marks_aside.items())
    output.end_with(TargetUnsound(f"Not all that is next to the backup counts: {odd}.") if odd else None)


def _known(arguments: Namespace, place: InstallationPlace) -> Signers:
    return trust.trusted_signers(place, getattr(arguments, "signer", ()))
