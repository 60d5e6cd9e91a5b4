"""One look at a backup of any kind, to a depth, as a record that people and machines read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from strongroom.cli.shared import access_log, admission, identities, opening
from strongroom.cli.shared.admission import Admitted
from strongroom.cli.shared.opening import kind_of
from strongroom.cli.shared.options import BackupSource, TrustOptions
from strongroom.cli.shared.target_comparison import recorded
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.cli.terminal.screen import counting
from strongroom.container.cobblestone import value_digester
from strongroom.container.errors import NotABackup, UntrustedSigner, WrongKey
from strongroom.container.kinds import FileKind
from strongroom.container.manifest import Manifest, ManifestRecipient, SignedManifest
from strongroom.container.metadata import check_document
from strongroom.container.reader import Container
from strongroom.container.signing import Signers
from strongroom.container.writer import scrub
from strongroom.errors import ConfigError, UsageError
from strongroom.keys import Identity, keywrap
from strongroom.model import Depth, Selection
from strongroom.operations.archive.open import Backup, Objects, ReadBackKeys, open_all, read_back

if TYPE_CHECKING:
    from strongroom.operations.checks.drift import Drift
    from strongroom.targets import Target


class InspectOptions(NamedTuple):
    """How deep to inspect, with which keys, and whether the catalog records it.

    ``shows`` is for a command that shows what a backup claims, whoever made it.
    """

    depth: Depth
    output: Output
    place: InstallationPlace
    keys: Sequence[Identity] = ()
    entering: bool = False
    shows: bool = False


class Inspection(Struct, frozen=True, kw_only=True):
    """What was found. ``depth`` is how deep it was looked; ``signer_known`` whether somebody who is trusted
    here signed it (``None``: nothing is signed), ``signer_doubt`` why it does not count; ``quarantine``, why
    it was set aside. ``live`` is how far the source has drifted since, if it was compared."""

    kind: str
    depth: Depth
    backup: str = ""
    policy: str = ""
    source: str = ""
    created_at: str = ""
    sealed: bool = True
    values: bool = True
    secrets: int | None = None
    versions: int | None = None
    containers: int = 1
    size: int
    recipients: Sequence[ManifestRecipient] = ()
    signer: str | None = None
    signer_known: bool | None = None
    signer_doubt: str = ""
    quarantine: str = ""
    not_contained: Sequence[str] = ()
    live: Drift | None = None


def inspect_backup(
    path: Path, given: BackupSource, means: InspectOptions, *, words: Sequence[str] = ()
) -> Inspection:
    """Look at a file, a directory that is a target, or a configured target.

    Args:
        words: what else was typed behind the command, to be typed again.

    Raises:
        FormatError, MissingPiece, VerificationFailed: what is wrong with it.
    """
    if (target := opening.configured_target(path, means.place)) is not None:
        identities.refuse_legacy_option(given, None)
        return _inspect_objects(target, path, given, means, target=target)
    command = " ".join(["strongroom", means.output.command, *words])
    opening.refuse_folder_of_files(path, command)
    opening.refuse_stray_name(path, means.place, command)
    kind = FileKind.BUNDLE if path.is_dir() else kind_of(path)
    identities.refuse_legacy_option(given, None if path.is_dir() else kind)
    match kind:
        case FileKind.CONTAINER | FileKind.METADATA | FileKind.LEGACY if means.depth is Depth.LIVE:
            raise UsageError(f"'{path}' alone cannot be compared with a source.", hint="Give a whole backup.")
        case FileKind.METADATA:
            return _inspect_document(path, given.trust)
        case FileKind.CONTAINER:
            return _inspect_container(path, given.trust, means)
        case FileKind.LEGACY:
            return _inspect_legacy(path, given, means)
        case FileKind.MANIFEST | FileKind.ENVELOPE:
            raise NotABackup(f"'{path}' is a {kind} alone.", hint="Name the directory that is the target.")
    with opening.open_objects(path) as objects:
        return _inspect_objects(objects, path, given, means)


def _inspect_objects(
    objects: Objects,
    path: Path,
    given: BackupSource,
    means: InspectOptions,
    *,
    target: Target | None = None,
) -> Inspection:
    known = admission.signers_on(objects, given.trust, means.place)
    if target is None:
        return _inspect_manifest(objects, given, means, known, path=path, target=target)
    from strongroom.cli.shared.target_comparison import compared_with_record

    with compared_with_record(target, means, known, newest=not given.choice.backup):
        return _inspect_manifest(objects, given, means, known, path=path, target=target)


def _inspect_manifest(
    objects: Objects,
    given: BackupSource,
    means: InspectOptions,
    known: Signers,
    *,
    path: Path,
    target: Target | None,
) -> Inspection:
    choice, anybody = given.choice, means.shows or given.trust.any_signer
    signed = opening.signed_manifest(
        objects, choice.backup, known=known, policy=choice.policy, anybody=anybody
    )
    let = admission.show if means.shows else admission.admit
    admitted = let(signed, objects, given, means.output, means.place, known=known)
    manifest = signed.manifest
    if means.depth in (Depth.OPENED, Depth.COMPARED, Depth.LIVE):
        access_log.record_opening(
            means.output, means.place, manifest.backup_id, where=path, quarantine=admitted.quarantine
        )
    elif target is not None:
        access_log.record_reading(means.output, means.place, backup=manifest.backup_id, where=target.name)
    pins = opening.report_unlisted(objects, signed, known, means.output, newest=not choice.backup)
    tools = ReadBackKeys(identities=means.keys, digest_key=require_digest_key(means), trusted=pins)
    seen = (
        nullcontext()
        if target is None or not means.entering
        else recorded(target, manifest, _read_depth(means), means.place, means.output)
    )
    try:
        with (
            seen,
            _newest_envelopes(target, manifest, pins, means),
            counting(means.output, "reading back", manifest.counts.secrets) as advance,
        ):
            read_back(objects, manifest, _read_depth(means), tools, progress=advance)
        live = _compare_live(objects, manifest, tools, means)
    except WrongKey as error:
        raise opening.explain_wrong_key(error) from None
    return replace(_inspection_of(signed, admitted, means), live=live)


def _read_depth(means: InspectOptions) -> Depth:
    """Return how deep the backup is read: what its source has now is no part of it."""
    return Depth.COMPARED if means.depth is Depth.LIVE else means.depth


def _compare_live(
    objects: Objects, manifest: Manifest, tools: ReadBackKeys, means: InspectOptions
) -> Drift | None:
    if means.depth is not Depth.LIVE:
        return None
    if not (manifest.sealed and manifest.values):
        raise UsageError(
            f"Backup {manifest.backup_id} has no values to compare with its source.",
            hint="'strongroom check secrets' compares the names.",
        )
    from strongroom.cli.shared import sources
    from strongroom.operations.checks.drift import compare

    backup = Backup(objects, manifest, tools.identities, trusted=tools.trusted)
    chosen = manifest.selection
    selection = Selection(include=chosen.include, exclude=chosen.exclude, tags=chosen.tags)
    source = sources.source_of(manifest.source, means.place)
    return compare(
        backup, backup, source, selection, value_digester(tools.digest_key or b"", manifest.source)
    )


@contextmanager
def _newest_envelopes(
    target: Target | None, manifest: Manifest, pins: frozenset[str], means: InspectOptions
) -> Iterator[None]:
    """Have the look end in Stale if a newer envelope is known of elsewhere, once everything else was looked
    at: damage counts first."""
    yield
    if target is None:
        return
    if error := opening.find_newer_envelope(target, manifest, means.place, trusted=pins):
        raise error


def require_digest_key(means: InspectOptions) -> bytes | None:
    """Return the key of the values' digests if the depth needs it; only who sealed has it."""
    if means.depth not in (Depth.COMPARED, Depth.LIVE):
        return None
    folder = means.place.state_dir / "keys"
    if not (folder / "digest.key").exists():
        raise ConfigError(
            "The key of the values' digests is not here: only the installation that made a backup has it.",
            hint="Verify with --depth opened, which proves that nothing was changed since it was sealed.",
        )
    return keywrap.load_or_create(folder, "digest")


def _inspection_of(signed: SignedManifest, admitted: Admitted, means: InspectOptions) -> Inspection:
    manifest = signed.manifest
    return Inspection(
        kind="backup",
        depth=means.depth,
        backup=manifest.backup_id,
        policy=manifest.policy,
        source=manifest.source,
        created_at=manifest.created_at,
        sealed=manifest.sealed,
        values=manifest.values,
        secrets=manifest.counts.secrets,
        versions=manifest.counts.versions,
        containers=len(manifest.containers),
        size=manifest.counts.size,
        recipients=manifest.recipients,
        signer=signed.fingerprint,
        signer_known=admitted.maker.known,
        signer_doubt=admitted.maker.doubt,
        quarantine=admitted.quarantine,
        not_contained=manifest.not_contained,
    )


def _inspect_document(path: Path, trust: TrustOptions) -> Inspection:
    """Look at a document that nobody signed: its digest guards against accidents alone."""
    if trust.signer:
        raise UntrustedSigner(f"Nobody signed '{path}': it is a metadata document, alone.", hint=_UNSIGNED)
    with opening.open_file(path) as reader:
        written = check_document(reader)
    return Inspection(
        kind="metadata document",
        depth=Depth.OPENED,
        backup=written.about.backup_id,
        policy=written.about.policy,
        source=written.about.source,
        created_at=written.about.created_at,
        sealed=False,
        values=False,
        secrets=written.secrets,
        versions=written.versions,
        size=written.size,
    )


def _inspect_legacy(path: Path, given: BackupSource, means: InspectOptions) -> Inspection:
    """Look at an old file; without its passphrase nothing can be told of it."""
    shape = means.depth is Depth.PRESENT
    secrets = None if shape else len(identities.secrets_of(path, given, means.output))
    return Inspection(
        kind="old Fernet file",
        depth=means.depth if shape else Depth.OPENED,
        secrets=secrets,
        versions=secrets,
        size=path.stat().st_size,
    )


_UNSIGNED = "Leave --signer out to read it with its maker unknown, or name the target that has its manifest."


def _inspect_container(path: Path, trust: TrustOptions, means: InspectOptions) -> Inspection:
    with opening.open_file(path) as reader:
        scrubbed = scrub(reader)
        let = admission.show_container if means.shows else admission.admit_container
        maker = let(scrubbed.certificate, trust, means.output, means.place).maker
        found = Inspection(
            kind="container",
            depth=Depth.DIGEST,
            size=scrubbed.size,
            signer=scrubbed.certificate.fingerprint,
            signer_known=maker.known,
            signer_doubt=maker.doubt,
        )
        if means.depth in (Depth.PRESENT, Depth.DIGEST):
            return found
        return _with_opened(found, Container.open(reader, means.keys, trusted=None), means)


def _with_opened(inspection: Inspection, container: Container, means: InspectOptions) -> Inspection:
    seen = open_all(container, digest_key=require_digest_key(means))
    about = container.about
    return replace(
        inspection,
        kind=f"container {about.piece + 1} of {about.pieces}",
        depth=means.depth,
        backup=about.backup_id,
        policy=about.policy,
        source=about.source,
        created_at=about.created_at,
        values=about.values,
        secrets=seen,
        versions=container.versions_count,
    )
