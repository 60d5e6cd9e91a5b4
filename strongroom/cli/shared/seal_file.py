"""Seals a source into a file, and says what it holds: the half of that which needs the run store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from strongroom.cli.shared import key_separation, recipient_names
from strongroom.cli.shared.follow_run import by_ticket, showing_progress
from strongroom.cli.shared.opening import read_signer
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.output import Output, fields, plural, size
from strongroom.container.manifest import Manifest
from strongroom.operations.backup.single_file import backup_to_file
from strongroom.system.gc_pause import loading


def seal_file(path: Path, output: Output, **options: Any) -> None:
    """Seal a source into a file and print what it holds; for the options see :func:`backup_to_file`."""
    with loading():
        key_separation.warn_of_keys_beside(path, output)
        services = open_services()
    with showing_progress(output, services.store) as watch:
        manifest = backup_to_file(path, services=services, watch=by_ticket(watch), **options)
    output.answer(*_answer(path, manifest))


def _answer(path: Path, manifest: Manifest) -> tuple[dict[str, object], Iterator[str]]:
    signer = read_signer(path)
    document: dict[str, object] = {
        "file": str(path),
        "backup": manifest.backup_id,
        "source": manifest.source,
        "sealed": True,
        "values": manifest.values,
        "secrets": manifest.counts.secrets,
        "versions": manifest.counts.versions,
        "size": path.stat().st_size,
        "recipients": [recipient.describes for recipient in manifest.recipients],
        "post_quantum": all(recipient.post_quantum for recipient in manifest.recipients),
        "signer": signer,
        "verified": "digest",
    }
    return document, _sealed_lines(path, manifest, signer)


def _sealed_lines(path: Path, manifest: Manifest, signer: str) -> Iterator[str]:
    yield f"{path}: read back whole, every byte as it was sealed (depth: digest)."
    kind = "with values" if manifest.values else "without values"
    holds = f"{plural(manifest.counts.secrets, 'secret')} of '{manifest.source}', {kind}"
    pairs = (
        ("backup", manifest.backup_id),
        ("holds", f"{holds}, {size(path.stat().st_size)}"),
        *recipient_names.recipient_fields(manifest.recipients),
        ("installation", signer),
    )
    yield from (f"  {line}" for line in fields(pairs))
    yield "Note the installation's fingerprint once: restoring elsewhere asks for it (--signer)."
