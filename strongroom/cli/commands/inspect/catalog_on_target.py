"""catalog list --from-target: which backups lie there, by their signed manifests; no database is needed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from strongroom.cli.shared import backup_selection, trust
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output, size, table
from strongroom.container.manifest import SignedManifest
from strongroom.operations.archive.coverage import Asked, limits_of
from strongroom.operations.archive.open import nothing_there
from strongroom.operations.archive.select_backup import Chooser, all_away, describe_skipped

_Listed = Sequence[tuple[SignedManifest, bool]]


def list_there(arguments: Namespace, output: Output) -> None:
    """List what the targets show, newest first.

    Raises:
        TargetError: none of them answers.
        NotABackup: none shows a backup.
    """
    installation = place.find()
    chooser = backup_selection.make_chooser(
        arguments, installation, trust.trusted_signers(installation, arguments.signer)
    )
    if chooser.away and not chooser.listings:
        raise all_away(chooser.away)
    asked = Asked(values=False, policy=arguments.policy or "")
    listed = list(islice(chooser.listed(asked), arguments.limit))
    if not listed and not arguments.policy:
        raise nothing_there(chooser.listings)
    output.answer(
        {"backups": [_document(signed, chooser, believed=believed) for signed, believed in listed]},
        _lines(listed, chooser, arguments.policy),
    )


def _lines(listed: _Listed, chooser: Chooser, policy: str | None) -> Iterator[str]:
    head = ("BACKUP", "POLICY", "MADE", "SECRETS", "SIZE", "VALUES", "HOLDS", "ON")
    if listed:
        yield from table(head, [_row(signed, chooser, believed=believed) for signed, believed in listed])
    else:
        yield f"There is no backup of policy '{policy}' there."
    if not all(believed for _, believed in listed):
        yield "Nobody here trusts the signers marked (unknown): compare them with the recovery kit."
        for fingerprint in sorted({signed.fingerprint for signed, believed in listed if not believed}):
            yield f"  {fingerprint}"
    yield from (f"no backup: {line}" for line in describe_skipped(chooser.passed))
    yield from (f"not looked at: '{name}': {error.message}" for name, error in chooser.away.items())


def _row(signed: SignedManifest, chooser: Chooser, *, believed: bool) -> tuple[object, ...]:
    manifest = signed.manifest
    quarantine = "quarantine: " if chooser.why_quarantined(manifest.backup_id) else ""
    return (
        manifest.backup_id,
        manifest.policy,
        manifest.created_at,
        manifest.counts.secrets,
        size(manifest.counts.size),
        "yes" if manifest.values else "no",
        quarantine + (limits_of(manifest) or "everything"),
        ", ".join(chooser.showing(manifest.backup_id)) + ("" if believed else " (unknown)"),
    )


def _document(signed: SignedManifest, chooser: Chooser, *, believed: bool) -> dict[str, Any]:
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
        "signer_known": believed,
        "quarantine": chooser.why_quarantined(manifest.backup_id) or None,
        "targets": chooser.showing(manifest.backup_id),
    }
