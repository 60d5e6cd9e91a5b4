"""catalog and replicas: which backups there are, where, and how deep they were verified."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from msgspec.structs import asdict

from strongroom.cli.commands.backups.arguments import ListBackups, RebuildCatalog, ShowReplicas
from strongroom.cli.shared import admission, backup_selection
from strongroom.cli.shared.opening import target_of
from strongroom.cli.shared.services import run_store
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural, size
from strongroom.container.errors import MissingPiece, UntrustedSigner
from strongroom.container.manifest import SignedManifest
from strongroom.container.marks import QUARANTINE, QuarantineMark
from strongroom.errors import StrongroomError
from strongroom.operations.archive.catalog import Rebuilt, rebuild
from strongroom.operations.archive.coverage import Asked, all_away, describe_skipped, limits_of
from strongroom.operations.archive.quarantine import quarantined_on_record
from strongroom.operations.archive.reading import Maker, maker_of_backup
from strongroom.operations.archive.removal import left_unlocked
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.backup.outcome import unanswered
from strongroom.operations.engine.statements import StatementsOn
from strongroom.operations.engine.trust_lists import strangers_on
from strongroom.operations.errors import LeftAside
from strongroom.sheet import Cell, Lines, Sheet, Table
from strongroom.state.records import CatalogEntry, Replica
from strongroom.state.store import RunStore
from strongroom.system.lazy import batched
from strongroom.targets import Target
from strongroom.times import for_people, if_any

SHOWN = 5
NAMED = 1000
Unlocked = Mapping[str, Mapping[str, str]]


def list_backups(given: ListBackups, output: Output) -> Answer:
    store = run_store()
    found = store.backups(policy=given.policy, limit=given.limit)
    replicas = _replicas_of(store, [entry.backup for entry in found])
    aside = _quarantined(store, replicas)
    listed = [
        {
            **asdict(entry),
            "replicas": list(map(_replica, replicas[entry.backup])),
            "quarantine": aside.get(entry.backup),
        }
        for entry in found
    ]
    rows = [_row(entry, replicas[entry.backup], aside) for entry in found]
    head = ("Backup", "Policy", "Secrets", "Size", "Values", "Replicas")
    table = Table(head, rows, nothing=_nothing(given.policy))
    return Answer(record={"backups": listed}, sheet=Sheet(parts=[table]))


def _nothing(policy: str | None) -> str:
    return f"The catalog has no backup of policy '{policy}'." if policy else "The catalog is empty."


def _quarantined(store: RunStore, backups: Iterable[str]) -> dict[str, str]:
    """Return which backups are in quarantine by the record, and why."""
    known = quarantined_on_record(store)
    return {backup: known[backup].why for backup in backups if backup in known}


def _row(entry: CatalogEntry, replicas: list[Replica], aside: Mapping[str, str]) -> tuple[object, ...]:
    good = sum(replica.good for replica in replicas)
    return (
        entry.backup,
        entry.policy,
        entry.secrets,
        size(entry.size),
        entry.values,
        f"{good} of {len(replicas)} good{', in quarantine' if entry.backup in aside else ''}",
    )


def _replica(replica: Replica) -> dict[str, Any]:
    return {**asdict(replica), "verified_at": if_any(replica.verified_at)}


def rebuild_catalog(given: RebuildCatalog, output: Output) -> Answer:
    installation = place.find()
    target = target_of(given.target, installation)
    store = run_store()
    store.examine()  # what is entered into a damaged file is lost with it
    known = admission.trusted_signers(installation, given.trust.signer)
    done = rebuild(store, target, trusted=known)
    if not done.backups:
        raise _nothing_entered(done, given.target)
    refused = f"{plural(len(done.refused), 'manifest')} on '{given.target}' did not count"
    unread = LeftAside(f"{refused}: {', '.join(manifest.backup for manifest in done.refused[:SHOWN])}")
    aside = _quarantined(store, done.backups)
    aside |= {
        backup: mark.reason for backup, mark in _marked(target, known).items() if backup in done.backups
    }
    lines = [
        *(f"incomplete: {backup} (run 'strongroom backups repair {backup}')" for backup in done.incomplete),
        *(f"not believed: {manifest.backup}: {manifest.reason}" for manifest in done.refused),
    ]
    said = f"{plural(len(done.backups), 'backup')} entered into the catalog."
    return Answer(
        record=done,
        sheet=Sheet(verdict=said, parts=[Lines(lines, style="list")]),
        error=unread if done.refused else admission.set_aside(aside),
    )


def _marked(target: Target, known: frozenset[str]) -> dict[str, QuarantineMark]:
    marks = StatementsOn(target, QUARANTINE, trusted=known).all().newest
    return {backup: mark for backup, mark in marks.items() if mark.state == "quarantined"}


def _nothing_entered(done: Rebuilt, target: str) -> StrongroomError:
    for refused in done.refused:
        if refused.code == "UntrustedSigner":
            return UntrustedSigner(refused.reason)
    why = f" ({done.refused[0].reason})" if done.refused else ""
    return MissingPiece(
        f"There is no backup on '{target}' that could be entered{why}.", hint="Check the target."
    )


def _replicas_of(store: RunStore, backups: Sequence[str]) -> dict[str, list[Replica]]:
    """Return the replicas of each backup. A query takes only so many names."""
    pages = (store.replicas_of(page) for page in batched(backups, NAMED))
    return {backup: replicas for page in pages for backup, replicas in page.items()}


def show_replicas(given: ShowReplicas, output: Output) -> Answer:
    store = run_store()
    backups = [given.backup] if given.backup else [entry.backup for entry in store.backups(limit=50)]
    found = [replica for replicas in _replicas_of(store, backups).values() for replica in replicas]
    if given.backup and not found:
        raise MissingPiece(
            f"The catalog has no backup '{given.backup}'.", hint="See 'strongroom backups list'."
        )
    unlocked = {name: where for name, where in left_unlocked(store).items() if name in backups}
    silent = unanswered(store, found)
    aside = _quarantined(store, backups)
    return Answer(
        record={
            "replicas": list(map(_replica, found)),
            "unlocked": unlocked,
            "unanswered": silent,
            "quarantined": aside,
        },
        sheet=Sheet(
            parts=[
                _matrix(found, unlocked, silent),
                Lines([f"in quarantine: {backup} {why}" for backup, why in aside.items()]),
            ]
        ),
    )


def _matrix(replicas: list[Replica], unlocked: Unlocked, silent: Mapping[str, Sequence[str]]) -> Table:
    """Return a line for each backup and a column for each target."""
    targets = list(dict.fromkeys(replica.target for replica in replicas))
    cells = {
        (replica.backup, replica.target): _cell(
            replica, unlocked.get(replica.backup, {}), silent.get(replica.backup, ())
        )
        for replica in replicas
    }
    backups = dict.fromkeys(replica.backup for replica in replicas)
    rows = [(backup, *(cells.get((backup, target), "-") for target in targets)) for backup in backups]
    return Table(("Backup", *map(Cell, targets)), rows, nothing="The catalog is empty.")


def _cell(replica: Replica, unlocked: Mapping[str, str], silent: Sequence[str]) -> str:
    if not replica.good:
        return "no answer" if replica.target in silent else "BAD"
    lacks = ", NOT LOCKED" if replica.target in unlocked else ""
    if not replica.verified_at:
        return f"good, never verified{lacks}"
    return f"{replica.verified} {for_people(replica.verified_at)}{lacks}"


# -- backups list --from-target: which backups lie there, by their signed manifests; no database is needed


_Listed = Sequence[tuple[SignedManifest, Maker]]


def list_there(given: ListBackups, output: Output) -> Answer:
    """List what the targets show, newest first.

    Raises:
        TargetError: none of them answers.
        NotABackup: none shows a backup.
        FormatError: none shows one that can be read.
    """
    installation = place.find()
    known = admission.trusted_signers(installation, given.trust.signer)
    chooser = backup_selection.make_chooser(given.from_target, installation, known)
    known = chooser.trusted | strangers_on(list(chooser.listings.values()), chooser.trusted)
    if chooser.away and not chooser.listings:
        raise all_away(chooser.away)
    asked = Asked(values=False, policy=given.policy or "")
    found = [signed for signed, _ in islice(chooser.listed(asked), given.limit)]
    listed = [(signed, admission.show_maker(maker_of_backup(signed, known), output)) for signed in found]
    if not listed and not given.policy:
        raise chooser.why_none()
    ids = (signed.manifest.backup_id for signed in found)
    aside = {backup_id: why for backup_id in ids if (why := chooser.why_quarantined(backup_id))}
    return Answer(
        record={"backups": [_on_target_document(signed, chooser, maker) for signed, maker in listed]},
        sheet=_sheet(listed, chooser, given.policy),
        error=admission.set_aside(aside),
    )


def _sheet(listed: _Listed, chooser: Chooser, policy: str | None) -> Sheet:
    head = ("Backup", "Policy", "Made", "Secrets", "Size", "Values", "Holds", "On")
    rows = [_on_target_row(signed, chooser, maker) for signed, maker in listed]
    strangers = sorted({maker.fingerprint for _, maker in listed if maker.is_stranger})
    unknown = "Maker unknown, where it says (unknown): compare the fingerprint with the recovery kit."
    remarks = [
        *([unknown] if strangers else []),
        *(f"  {fingerprint}" for fingerprint in strangers),
        *(f"no backup: {line}" for line in describe_skipped(chooser.passed)),
        *(f"not looked at: '{name}': {error.message}" for name, error in chooser.away.items()),
    ]
    table = Table(head, rows, nothing=f"There is no backup of policy '{policy}' there.")
    return Sheet(parts=[table, Lines(remarks)])


def _on_target_row(signed: SignedManifest, chooser: Chooser, maker: Maker) -> tuple[object, ...]:
    manifest = signed.manifest
    quarantine = "quarantine: " if chooser.why_quarantined(manifest.backup_id) else ""
    return (
        manifest.backup_id,
        manifest.policy,
        manifest.created_at,
        manifest.counts.secrets,
        size(manifest.counts.size),
        manifest.values,
        quarantine + (limits_of(manifest) or "everything"),
        ", ".join(chooser.showing(manifest.backup_id)) + _mark(maker),
    )


def _mark(maker: Maker) -> str:
    if maker.is_stranger:
        return " (unknown)"
    return "" if maker.known else " (NOT believed)"


def _on_target_document(signed: SignedManifest, chooser: Chooser, maker: Maker) -> dict[str, Any]:
    manifest = signed.manifest
    return {
        "backup": manifest.backup_id,
        "policy": manifest.policy,
        "source": manifest.source,
        "created_at": manifest.created_at,
        "secrets": manifest.counts.secrets,
        "size": manifest.counts.size,
        "values": manifest.values,
        "selection": manifest.selection,
        "signer": signed.fingerprint,
        "signer_known": maker.known,
        "signer_doubt": maker.doubt,
        "quarantine": chooser.why_quarantined(manifest.backup_id) or None,
        "targets": chooser.showing(manifest.backup_id),
    }
