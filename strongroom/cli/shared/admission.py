"""The one gate to a backup: somebody who is trusted here made it, and nobody set it aside.

:mod:`strongroom.cli.backups_read` has the table of the commands. Who restores, opens or verifies is refused;
who only shows what a file claims says what speaks against it, and ends with the exit code of that.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from strongroom.cli.shared.options import BackupOptions, BackupSource, ReaderTrustOptions, TrustOptions
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace, trusted_in_file
from strongroom.container.errors import UntrustedSigner
from strongroom.container.manifest import SignedManifest
from strongroom.container.signing import Certificate, Signers
from strongroom.errors import StrongroomError, Untrusted, UsageError
from strongroom.keys import roles
from strongroom.operations.archive.coverage import Asked
from strongroom.operations.archive.on_record import BackupsOnRecord
from strongroom.operations.archive.quarantine import QUARANTINED, RecordedQuarantine
from strongroom.operations.archive.reading import Maker, maker_of, maker_of_backup
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.engine.trust_lists import believed_on
from strongroom.operations.errors import BackupShredded, SetAside, TargetUnsound
from strongroom.state.filesystem import may_have_event
from strongroom.targets.reading import ManifestListing, Objects

if TYPE_CHECKING:
    from strongroom.state.store import RunStore


# -- Whose signature is believed: this installation's own, the configured, and what is typed ----


_FINGERPRINT = re.compile(r"sr1:[0-9a-f]{64}")
_UNKNOWN = re.compile(rf"Signed by installation ({_FINGERPRINT.pattern})")


def trusted_signers(place: InstallationPlace, typed: Sequence[str] = ()) -> Signers:
    """Return the fingerprints that count here; one that is typed does, whatever is known of it."""
    for word in typed:
        if not _FINGERPRINT.fullmatch(word):
            raise UsageError("--signer needs a fingerprint.", hint="It is 'sr1:' and 64 hexadecimal digits.")
    return roles.believed(place.role_keys, trusted_in_file(place)).with_named(typed)


def signers_on(objects: Objects, trust: TrustOptions, place: InstallationPlace) -> Signers:
    """Return whose signatures count on a place, by the trust lists there.

    Raises:
        TrustListMissing: one is missing there.
    """
    return believed_on(
        trusted_signers(place, trust.signer),
        [ManifestListing(objects)],
        folder=place.role_keys,
        strict=not trust.any_signer,
        # Who has no such option shows a stranger's all the same.
        strangers=trust.any_signer or not isinstance(trust, ReaderTrustOptions),
    )


def explained(error: Untrusted, taken: Collection[str], *, what: str = "backup") -> Untrusted:
    """Return the error with the very words that go on from here, if it is the installation that is unknown.

    To name the installation does not help where one of its keys is retired or distrusted.

    Args:
        taken: the names of the options that the command takes.
    """
    found = _UNKNOWN.search(error.message)
    if found is None:
        return error
    return UntrustedSigner(
        f"This {what} is of the installation\n{found[1]}\nwhich is not trusted here.",
        hint="Compare that fingerprint, all of it, with the one in your recovery kit, or with what "
        "'strongroom keys signers list' says on the machine that made it. If it is the same, "
        + "\n".join(_ways_on(found[1], taken)),
    )


def _ways_on(fingerprint: str, taken: Collection[str]) -> Iterator[str]:
    if "signer" in taken:
        yield f"repeat with:\n--signer {fingerprint}"
    else:
        yield f'name it in the configuration, under [trust]:\nsigners = ["{fingerprint}"]'
    if "any_signer" in taken:
        yield "To read it with its maker unknown: --any-signer"


# -- Whether this installation has shredded what somebody wants to bring back -------------------


def refuse_shredded(installation: InstallationPlace, backup: str) -> None:
    """Raise BackupShredded if the record says so. Where there is no usable record, nothing is said:
    bringing back must work without one."""
    try:
        if (store := find_run_store(installation)) is not None:
            from strongroom.operations.archive.shredding import check

            check(store, backup, trusted_signers(installation))
    except BackupShredded:
        raise
    except StrongroomError:
        return


def own_file(installation: InstallationPlace) -> Path | None:
    """Return the file that has the record of an installation, if it is in a file."""
    state = installation.tables.get("state")
    is_elsewhere = isinstance(state, dict) and "url" in state
    return None if is_elsewhere else installation.state_dir / "state.db"


def find_run_store(installation: InstallationPlace) -> RunStore | None:
    """Return the run store of an installation that has one; looking makes none."""
    file = own_file(installation)
    if file is None:
        from strongroom.cli.shared.services import run_store

        return run_store()
    if not file.is_file():
        return None
    from strongroom.state.store import RunStore

    return RunStore(f"sqlite:///{file}")


# -- What the record of this installation says of backups, if there is one ----------------------


def quarantined(installation: InstallationPlace, backup: str) -> RecordedQuarantine | None:
    """Return why a backup is in quarantine by the record here; where nothing ever was, none is loaded."""
    file = own_file(installation)
    if file is not None and not (file.is_file() and may_have_event(file, QUARANTINED)):
        return None
    return read_record(installation).quarantined.get(backup)


def read_record(installation: InstallationPlace) -> BackupsOnRecord:
    """Return what the record here says of backups; a recovery needs no record."""
    from strongroom.operations.archive.on_record import BackupsOnRecord

    with suppress(StrongroomError):
        if (store := find_run_store(installation)) is not None:
            from strongroom.operations.archive.catalog import read_record as read
            from strongroom.operations.archive.shredding import shredded_backups

            gone = frozenset(shredded_backups(store, trusted_signers(installation)))
            return read(store, gone=gone)
    return BackupsOnRecord()


# -- The one gate to a backup: somebody who is trusted here made it, and nobody set it aside ----
#
# :mod:`strongroom.cli.backups_read` has the table of the commands. Who restores, opens or verifies is
# refused; who only shows what a file claims says what speaks against it, and ends with the exit code of
# that.


SHOWN = 4
"""Backups in quarantine that are named: more would hide what is said of them."""


class Admitted(Struct, frozen=True, kw_only=True):
    """A backup that is read: who made it, and why it is in quarantine, if it is."""

    maker: Maker
    quarantine: str = ""


def admit(
    signed: SignedManifest,
    objects: Objects,
    given: BackupSource,
    output: Output,
    place: InstallationPlace,
    *,
    known: Signers,
) -> Admitted:
    """Let a command read a backup.

    Args:
        known: whose signatures count there, as :func:`signers_on` says.

    Raises:
        UntrustedSigner: nobody who is trusted here signed it: its fingerprint, and how to go on.
        BackupQuarantined: it is in quarantine, and the command was not told to use it nonetheless.
    """
    maker = admit_maker(maker_of_backup(signed, known), given.trust, output)
    backup = signed.manifest.backup_id
    looked = look_at(objects, backup, maker.pins(known), place)
    quarantine = looked.why_quarantined(backup)
    if quarantine and not given.choice.use_quarantined:
        raise looked.refusal(backup)
    _tell_unsound(looked, signed, given.choice, output)
    if quarantine:
        output.warn(f"this backup is in quarantine {quarantine}. It is used nonetheless.")
    return Admitted(maker=maker, quarantine=quarantine)


def admit_container(
    certificate: Certificate, trust: TrustOptions, output: Output, place: InstallationPlace
) -> Admitted:
    """Let a command read one container alone, which is of no backup that could be in quarantine.

    Raises:
        UntrustedSigner: nobody who is trusted here signed it.
    """
    maker = maker_of(certificate, trusted_signers(place, trust.signer))
    return Admitted(maker=admit_maker(maker, trust, output))


def admit_maker(maker: Maker, trust: TrustOptions, output: Output) -> Maker:
    """Refuse a maker who is not trusted here; say so if a person takes anybody's."""
    maker.require(anybody=trust.any_signer)
    if not maker.known:
        output.warn_once(f"nobody knows who made this: {maker.doubt}")
    return maker


def show(
    signed: SignedManifest,
    objects: Objects,
    given: BackupSource,
    output: Output,
    place: InstallationPlace,
    *,
    known: Signers,
) -> Admitted:
    """Let a command show what a backup claims, and end with what speaks against believing it."""
    maker = show_maker(maker_of_backup(signed, known), output)
    backup = signed.manifest.backup_id
    looked = look_at(objects, backup, maker.pins(known), place)
    quarantine = looked.why_quarantined(backup)
    _tell_unsound(looked, signed, given.choice, output)
    output.end_with(set_aside({backup: quarantine} if quarantine else {}))
    return Admitted(maker=maker, quarantine=quarantine)


def show_container(
    certificate: Certificate, trust: TrustOptions, output: Output, place: InstallationPlace
) -> Admitted:
    """Let a command show what one container alone claims."""
    return Admitted(maker=show_maker(maker_of(certificate, trusted_signers(place, trust.signer)), output))


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
    recorded = quarantined(place, backup)
    found = BackupsOnRecord(quarantined={backup: recorded} if recorded else {}).of_one_place(
        objects, trusted=pins
    )
    if not found.nobody_can_tell(backup):
        return found
    return read_record(place).of_one_place(objects, trusted=pins)


def _tell_unsound(looked: Chooser, signed: SignedManifest, choice: BackupOptions, output: Output) -> None:
    """Have a command end with what is wrong beside a backup, or with a newer one that is known and gone."""
    if not choice.backup:
        lost = looked.lost(Asked(values=False, policy=choice.policy or ""), signed.manifest)
        output.end_with(None if lost is None else lost.error(signed.manifest))
    odd = "; ".join(f"{folder}: {why}" for folder, why in looked.marks_aside.items())
    output.end_with(TargetUnsound(f"Not all that is next to the backup counts: {odd}.") if odd else None)
