"""Seals a source into a file, and says what it holds: the half of that which needs the run store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from strongroom.cli.shared import key_separation, recipient_names
from strongroom.cli.shared.follow_run import by_ticket, showing_progress
from strongroom.cli.shared.opening import read_signer
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural, size
from strongroom.operations.backup.single_file import backup_to_file
from strongroom.sheet import Lines, Pairs, Sheet
from strongroom.system.gc_pause import loading


def seal_file(path: Path, output: Output, **options: Any) -> None:
    """Seal a source into a file and print what it holds; for the options see :func:`backup_to_file`."""
    with loading():
        key_separation.warn_of_keys_beside(path, output)
        services = open_services()
    with showing_progress(output, services.store) as watch:
        manifest = backup_to_file(path, services=services, watch=by_ticket(watch), **options)
    counts, signer, written = manifest.counts, read_signer(path), path.stat().st_size
    record = {
        "file": path,
        "backup": manifest.backup_id,
        "source": manifest.source,
        "sealed": True,
        "values": manifest.values,
        "secrets": counts.secrets,
        "versions": counts.versions,
        "size": written,
        "recipients": [recipient.describes for recipient in manifest.recipients],
        "post_quantum": all(recipient.post_quantum for recipient in manifest.recipients),
        "signer": signer,
        "verified": "digest",
    }
    kind = "with values" if manifest.values else "without values"
    pairs = [
        ("backup", manifest.backup_id),
        ("holds", f"{plural(counts.secrets, 'secret')} of '{manifest.source}', {kind}, {size(written)}"),
        *recipient_names.recipient_fields(manifest.recipients),
        ("installation", signer),
    ]
    said = f"{path}: read back whole, every byte as it was sealed (depth: digest)."
    note = "Note the installation's fingerprint once: restoring elsewhere asks for it (--signer)."
    output.give(Answer(record=record, sheet=Sheet(parts=[Pairs(pairs, said), Lines([note])])))
