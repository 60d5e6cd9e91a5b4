"""backups list --from-target: which backups lie there, by their signed manifests; no database is needed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from itertools import islice
from typing import Any

from strongroom.cli.shared import admission, backup_selection, trust
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, size
from strongroom.container.manifest import SignedManifest
from strongroom.operations.archive.choice import all_away, describe_skipped
from strongroom.operations.archive.coverage import Asked, limits_of
from strongroom.operations.archive.maker import Maker, maker_of_backup
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.trust_lists.believed import strangers_on
from strongroom.sheet import Lines, Sheet, Table

_Listed = Sequence[tuple[SignedManifest, Maker]]


def list_there(arguments: Namespace, output: Output) -> Answer:
    """List what the targets show, newest first.

    Raises:
        TargetError: none of them answers.
        NotABackup: none shows a backup.
        FormatError: none shows one that can be read.
    """
    installation = place.find()
    known = trust.trusted_signers(installation, arguments.signer)
    chooser = backup_selection.make_chooser(arguments, installation, known)
    known = chooser.trusted | strangers_on(list(chooser.listings.values()), chooser.trusted)
    if chooser.away and not chooser.listings:
        raise all_away(chooser.away)
    asked = Asked(values=False, policy=arguments.policy or "")
    found = [signed for signed, _ in islice(chooser.listed(asked), arguments.limit)]
    listed = [(signed, admission.show_maker(maker_of_backup(signed, known), output)) for signed in found]
    if not listed and not arguments.policy:
        raise chooser.why_none()
    ids = (signed.manifest.backup_id for signed in found)
    aside = {backup_id: why for backup_id in ids if (why := chooser.why_quarantined(backup_id))}
    return Answer(
        record={"backups": [_document(signed, chooser, maker) for signed, maker in listed]},
        sheet=_sheet(listed, chooser, arguments.policy),
        error=admission.set_aside(aside),
    )


def _sheet(listed: _Listed, chooser: Chooser, policy: str | None) -> Sheet:
    head = ("Backup", "Policy", "Made", "Secrets", "Size", "Values", "Holds", "On")
    rows = [_row(signed, chooser, maker) for signed, maker in listed]
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


def _row(signed: SignedManifest, chooser: Chooser, maker: Maker) -> tuple[object, ...]:
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


def _document(signed: SignedManifest, chooser: Chooser, maker: Maker) -> dict[str, Any]:
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
