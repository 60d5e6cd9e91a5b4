"""Opening a backup for a command: the file or target, the trust, the identities."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from strongroom.cli.shared import access_log, admission
from strongroom.cli.shared.identities import identities_of
from strongroom.cli.shared.options import BackupSource
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.errors import MissingPiece, Stale, WrongKey
from strongroom.container.kinds import HEAD, FileKind, sniff
from strongroom.container.manifest import Manifest, SignedManifest
from strongroom.container.ranges import RangeReader
from strongroom.container.reader import read_outer
from strongroom.container.signing import Signers
from strongroom.errors import StrongroomError, TargetError, UsageError
from strongroom.keys import Identity
from strongroom.operations.archive.coverage import look_beside
from strongroom.operations.archive.envelopes import Elsewhere, Newest, readers_now, wrapping_keys
from strongroom.operations.archive.open import Backup, Objects
from strongroom.operations.archive.reading import Replicated, maker_of_backup, manifest_of
from strongroom.operations.archive.salvage import before_in
from strongroom.system.files import LocalFileReader
from strongroom.targets import Target
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.single_file import BundleReader
from strongroom.times import RUN_ID
from strongroom.words import did_you_mean, nearest

if TYPE_CHECKING:
    from strongroom.targets.directory import DirectoryTarget


# -- What a person means by a backup: a file of some kind, a directory, a configured target -----


DEFAULTS = ("region-a", "region-b", "region-c")
"""The targets of an installation that names none, under the state directory."""


@contextmanager
def open_file(path: Path) -> Iterator[RangeReader]:
    """Open a file for reading by range; what cannot be read is a typed error.

    Raises:
        MissingPiece: there is no such file, or it may not be read.
    """
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
        if not regular:
            raise UsageError(
                f"'{path}' is not a file.", hint="Name a backup file, or give a directory with --from-target."
            )
        reader = LocalFileReader(path)
    except OSError as error:
        named = f"A backup on targets is no file: '--backup {path}' names it."
        hint = named if RUN_ID.fullmatch(str(path)) else "Check the path."
        raise MissingPiece(f"'{path}' cannot be read: {error.strerror}.", hint=hint) from None
    with reader:
        yield reader


def kind_of(path: Path) -> FileKind:
    """Return what a file claims to be.

    A changed first byte hides that, so the ends are looked at too: what still ends as one
    of ours is read as that, and found altered.
    """
    with open_file(path) as reader:
        found = sniff(reader.read(0, HEAD))
        if found is not FileKind.UNKNOWN:
            return found
        tail = reader.read(max(0, reader.size - HEAD), HEAD)
    return next((kind for ending, kind in _ENDINGS if ending in tail), FileKind.UNKNOWN)


_ENDINGS = (
    (b"SRBFEND", FileKind.BUNDLE),
    (b"SRCTEND", FileKind.CONTAINER),
    (b',\n"length":"', FileKind.METADATA),
)


MOST_NAMED = 5
"""Files that a message names: more would hide what it says."""


def refuse_folder_of_files(path: Path, command: str = "") -> None:
    """Say which files to name, where a folder of them is named: what a restore overwrote lies in one.

    Args:
        command: what to type before each of them, if there is not more to it.
    """
    if not path.is_dir() or _is_target(path) or not (files := sorted(path.glob("*.strongroom"))):
        return
    named = ", ".join(f"{command} {quote(str(file))}".lstrip() for file in files[:MOST_NAMED])
    more = f", and {len(files) - MOST_NAMED} more there" if len(files) > MOST_NAMED else ""
    raise UsageError(
        f"'{path}' is a folder of backup files, not one backup.",
        hint=f"Nothing was changed. Name its files, each with a command of its own: {named}{more}",
    )


def refuse_stray_name(path: Path, place: InstallationPlace, command: str) -> None:
    """Say how a backup on targets is named, where its name alone stands for a file; and of a word that is
    neither, which target it may have been meant for.

    Args:
        command: what to type before the target.
    """
    word, targets = str(path), list(_target_folders(place))
    if os.path.lexists(path) or path.name != word or not targets:
        return
    if RUN_ID.fullmatch(word):
        raise UsageError(
            f"'{word}' is a backup on targets, and no file.",
            hint="Name a target that has it, as 'strongroom backups replicas' shows: "
            f"{command} {quote(targets[0])} --backup {word}",
        )
    if meant := did_you_mean(word, targets):
        raise MissingPiece(f"There is no file or target '{word}'.", hint=meant.strip())


@contextmanager
def open_objects(file: Path) -> Iterator[Objects]:
    """Open a single-file backup, or a directory that is a target."""
    if file.is_dir():
        yield directory_target(file)
        return
    with BundleReader(file) as reader:
        yield reader


def configured_target(path: Path, place: InstallationPlace) -> Target | None:
    """Return the configured target that a word means which was taken for a path, by name or by directory."""
    word, folders = str(path), _target_folders(place)
    if word in folders and not path.exists():
        return target_of(word, place)
    found = next((name for name, folder in folders.items() if path.absolute() == folder), None)
    return None if found is None else target_of(found, place)


def target_of(word: str, place: InstallationPlace) -> Target:
    """Return the target that a person means: a configured name, or a directory.

    A directory that is configured goes by its configured name. Only other kinds need the
    whole configuration to be sound. On a new machine a copy of a target is often named as one of the targets
    that there are by default (region-a): where such a copy lies here, it is meant.

    Raises:
        TargetError: it is neither.
    """
    folders = _target_folders(place)
    for name, path in folders.items():
        only_default = name not in place.section("targets") and _is_target(Path(word))
        if path is None or only_default:
            continue
        if word == name or Path(word).absolute() == path:
            return directory_target(path, name=name)
    if word in place.section("targets"):
        return _configured_remote(word)
    if Path(word).is_dir():
        return directory_target(Path(word))
    known = nearest(word, {*folders, *place.section("targets")})
    raise TargetError(
        f"There is no target '{word}'.", hint=f"Name a directory, or a configured target. {known}"
    )


def _target_folders(place: InstallationPlace) -> dict[str, Path | None]:
    """Return where each configured target lies, of those that lie in a directory."""
    tables = place.section("targets")
    if not tables:
        return {name: place.state_dir / "targets" / name for name in DEFAULTS}
    return {
        name: place.path(table.get("path")) if table.get("kind") == "directory" else None
        for name, table in tables.items()
    }


def _configured_remote(name: str) -> Target:
    from strongroom.config import load_settings
    from strongroom.wiring import adapters

    return adapters.target(name, load_settings(), prepare=False)


def directory_target(path: Path, *, name: str | None = None) -> DirectoryTarget:
    """Return a directory as a target.

    Raises:
        TargetUnavailable: it is none, or its disk is not mounted.
    """
    from strongroom.targets.directory import MARKER, DirectoryTarget

    if not _is_target(path):
        raise TargetUnavailable(
            f"'{path}' has no {MARKER} in it, so it is no target, or its disk is not mounted.",
            hint=f"Mount it. If it is a copy of a target, say so: touch {quote(str(path / MARKER))}",
        )
    return DirectoryTarget(path, name=name or path.name or "target", region="")


def _is_target(path: Path) -> bool:
    from strongroom.targets.directory import MARKER

    return (path / MARKER).exists()


# -- Opening a backup for a command: the file or target, the trust, the identities --------------


Openers = Callable[[], Sequence[Identity]]
"""What gives the keys once a backup may be opened: nobody is asked for a passphrase before."""


def signed_manifest(
    objects: Objects,
    backup: str | None = None,
    *,
    known: Signers,
    policy: str | None = None,
    anybody: bool = False,
) -> SignedManifest:
    """Return a backup's manifest with its signer; its recipients are those for whom it opens now.

    Raises:
        UntrustedSigner: nobody known signed it, and a stranger's will not do.
    """
    signed = manifest_of(objects, backup, known, anybody=anybody, policy=policy)
    pins = maker_of_backup(signed, known).pins(known)
    return SignedManifest(readers_now(objects, signed.manifest, trusted=pins), signed.certificate)


def report_unlisted(
    objects: Objects, signed: SignedManifest, known: Signers, output: Output, *, newest: bool = False
) -> frozenset[str]:
    """Say what lies beside a backup and does not count; return whose containers and envelopes do.

    Args:
        newest: it was taken as the newest there, not named.
    """
    pins = maker_of_backup(signed, known).pins(known)
    beside = look_beside(objects, signed.manifest, trusted=pins, newest=newest)
    for envelope in beside.repaired:
        output.note(f"note: {envelope.name} does not count ({envelope.code}); a copy beside it does")
    if beside.others:
        output.note(f"note: the file also holds {', '.join(beside.others)}; name it with --backup")
    output.end_with(beside.error)
    return pins


SHOWN = 4


def _more(found: Sequence[object]) -> str:
    return f"; and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""


@contextmanager
def objects_in_file(file: Path) -> Iterator[Objects]:
    """Open what ``--backup-file`` names."""
    refuse_folder_of_files(file)
    with open_objects(file) as objects:
        yield objects


def open_trusted(
    objects: Objects,
    given: BackupSource,
    output: Output,
    openers: Openers,
    place: InstallationPlace,
    *,
    file: Path | None = None,
) -> Backup:
    """Open a backup: only one whose signer counts here, and that nobody set aside. It goes on record.

    Args:
        file: where it lies, if that is not what ``--backup-file`` names.

    Raises:
        UntrustedSigner: says which fingerprint it is.
        BackupQuarantined: it is in quarantine.
    """
    known = admission.signers_on(objects, given.trust, place)
    backup = given.choice.backup
    signed = signed_manifest(objects, backup, known=known, anybody=given.trust.any_signer)
    admitted = admission.admit(signed, objects, given, output, place, known=known)
    access_log.record_opening(
        output,
        place,
        signed.manifest.backup_id,
        where=file or given.where,
        quarantine=admitted.quarantine,
    )
    pins = report_unlisted(objects, signed, known, output, newest=not backup)
    return Backup(objects, signed.manifest, openers(), trusted=pins)


@contextmanager
def backup_trusted(
    given: BackupSource, output: Output, openers: Openers, place: InstallationPlace
) -> Iterator[Backup]:
    """Open what ``--backup-file`` names: see :func:`open_trusted`. A lone container counts by its own
    certificate."""
    file = given.where.backup_file
    assert file is not None
    if not is_container(file):
        with objects_in_file(file) as objects:
            yield open_trusted(objects, given, output, openers, place)
        return
    from strongroom.operations.archive.open import LoneContainer

    with open_file(file) as reader:
        certificate = read_outer(reader, trusted=None).envelope.certificate
        maker = admission.admit_container(certificate, given.trust, output, place).maker
        pins = maker.pins(admission.trusted_signers(place, given.trust.signer))
        lone = LoneContainer.open(reader, openers(), trusted=pins)
        output.note(f"note: this is {lone.described}; it holds no secret of the others")
        access_log.record_opening(output, place, lone.manifest.backup_id, where=file)
        yield lone


@contextmanager
def backup_for_inspection(given: BackupSource, output: Output, place: InstallationPlace) -> Iterator[Backup]:
    """Open what ``--backup-file`` names with what the command line gives: see :func:`backup_trusted`."""
    openers = partial(identities_of, given.opening, output, place)
    with backup_trusted(given, output, openers, place) as backup:
        yield backup


def is_container(file: Path | None) -> bool:
    """Tell whether ``--backup-file`` names one container alone."""
    return file is not None and not file.is_dir() and kind_of(file) is FileKind.CONTAINER


def before_in_file(backup: Backup, given: BackupSource, place: InstallationPlace) -> Iterator[Replicated]:
    """Open the earlier backups in a file, as they are asked for: it may hold two."""
    if not is_container(given.where.backup_file):
        known = admission.signers_on(backup.objects, given.trust, place)
        yield from before_in(backup, trusted=known)


@contextmanager
def explaining_keys() -> Iterator[None]:
    """Have an error that no key opens a backup say what to try, if nothing was tried at all."""
    try:
        yield
    except WrongKey as error:
        raise explain_wrong_key(error) from None


def explain_wrong_key(error: WrongKey) -> WrongKey:
    """Return the error with what to try, if nothing was tried at all."""
    if not error.nothing_tried:
        return error
    return WrongKey(
        error.message,
        hint="Nothing was damaged. Give --passphrase-file or --identity FILE, or set "
        "STRONGROOM_PASSPHRASE_FILE. On a terminal you are asked.",
    )


def read_signer(path: Path) -> str:
    """Return the fingerprint of whoever signed a single-file backup."""
    with open_objects(path) as objects:
        return manifest_of(objects, None, Signers(), anybody=True).fingerprint


# -- Whether a target shows an older envelope than is known of elsewhere: it was rolled back, or lags behind


def find_newer_envelope(
    target: Target, manifest: Manifest, installation: InstallationPlace, *, trusted: frozenset[str]
) -> Stale | None:
    """Return what is wrong if another target, or this installation's record, knows a newer generation.

    What is away, or where there is no record, tells nothing.
    """
    known = _newest_known(target, manifest, installation, trusted)
    newest = Newest(target, trusted=trusted, known=known)
    for key in wrapping_keys(manifest):
        try:
            newest.of(key)
        except Stale as error:
            hint = (
                f"'strongroom backups repair {manifest.backup_id}' brings the newest one here. Until then "
                "restore "
                "from another target. If no rotation is under way, ask who put the older one back."
            )
            return Stale(error.message, hint=hint)
    return None


def _newest_known(
    target: Target, manifest: Manifest, installation: InstallationPlace, trusted: frozenset[str]
) -> Callable[[str], int]:
    elsewhere = Elsewhere(list(_other_targets(target, installation)), trusted=trusted)
    recorded = _generations_on_record(manifest, installation)
    return lambda key: max(elsewhere(key), recorded.get(key, 0))


def _other_targets(target: Target, installation: InstallationPlace) -> Iterator[Target]:
    for name in installation.section("targets") or DEFAULTS:
        if name != target.name:
            with suppress(StrongroomError):
                yield target_of(name, installation)


def _generations_on_record(manifest: Manifest, installation: InstallationPlace) -> Mapping[str, int]:
    """Return the generations that rotations of this installation reached, by wrapping key."""
    try:
        if (store := admission.find_run_store(installation)) is None:
            return {}
        from strongroom.operations.rotation.job import generations

        return generations(store, policy=manifest.policy, backup=manifest.backup_id)
    except StrongroomError:
        return {}
