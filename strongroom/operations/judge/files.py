"""The health of backups that commands wrote into files: no policy and no catalog of targets knows of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError
from strongroom.model import Depth
from strongroom.operations.archive.envelopes import readers_now
from strongroom.operations.archive.inventory import in_a_file, is_gone, opened_files, said_gone
from strongroom.operations.archive.open import ReadBackKeys, read_back
from strongroom.operations.engine.findings import Finding, finding_of_error, good, unknown
from strongroom.operations.engine.services import Services
from strongroom.operations.judge.replicas import ACCESS, ENCRYPTION, INTEGRITY, CheckingMeans, reached, sound
from strongroom.operations.judge.sealed_for import History, history, judge
from strongroom.operations.keys.usage import look_all
from strongroom.state.records import CatalogEntry
from strongroom.targets.single_file import BundleReader


def file_backups(services: Services) -> list[CatalogEntry]:
    """Return the backups that commands wrote into files, but for those that a person said are gone."""
    said = said_gone(services)
    entries = [entry for entry in services.store.backups() if in_a_file(entry)]
    return [entry for entry in entries if not is_gone(services, entry.backup, said)]


def check(means: CheckingMeans, entries: Sequence[CatalogEntry]) -> list[Finding]:
    """Look at each file where it was written. Of one that is elsewhere now nothing is known."""
    known = history(means.services)
    return [
        finding.on(policy=entry.policy, backup=entry.backup)
        for entry in entries
        for finding in _file(entry, means, known)
    ]


def _file(entry: CatalogEntry, means: CheckingMeans, known: History) -> Iterator[Finding]:
    try:
        for reader, manifest in opened_files(means.services, entry.backup):
            yield from (finding.on(target=reader.address) for finding in _read(reader, manifest, means))
        if ENCRYPTION in means.checks:
            yield from _readers(entry, means, known)
    except StrongroomError as error:
        yield from (unknown(check, error) for check in sorted(means.checks))


def _read(reader: BundleReader, manifest: Manifest, means: CheckingMeans) -> Iterator[Finding]:
    keys = ReadBackKeys(
        identities=means.identities,
        digest_key=means.services.digest_key or None,
        trusted=means.services.signer_fingerprints,
    )
    for check, depth in ((ACCESS, Depth.PRESENT), (INTEGRITY, reached(manifest, means))):
        if check not in means.checks:
            continue
        try:
            read_back(reader, manifest, depth, keys)
        except StrongroomError as error:
            yield finding_of_error(check, error)
        else:
            yield from (
                sound(manifest, means) if check == INTEGRITY else [good(check, "the file has all of it")]
            )


def _readers(entry: CatalogEntry, means: CheckingMeans, known: History) -> Iterator[Finding]:
    services = means.services
    opened = {opening.file: opening for opening in look_all(services, [entry]).found}
    for reader, manifest in opened_files(services, entry.backup):
        now = readers_now(reader, manifest, trusted=services.signer_fingerprints)
        findings = judge(now, opened.get(reader.address), None, known)
        yield from (finding.on(target=reader.address) for finding in findings)
