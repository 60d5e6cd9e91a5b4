"""A look at a backup, in words."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.cli.shared import recipient_names
from strongroom.cli.shared.inspection import Inspection
from strongroom.cli.terminal.output import fields, plural, size
from strongroom.model import Depth

SAYS = {
    Depth.PRESENT: "present: all of it is there, in its right size; nothing was read",
    Depth.DIGEST: "digest: every byte is the one that was written; no key was needed or used",
    Depth.OPENED: "opened: every secret was decrypted and authenticated",
    Depth.COMPARED: "compared: every value equals the digest taken when it was captured",
}


def lines_of(found: Inspection, title: str) -> Iterator[str]:
    """Yield a look as lines for people."""
    yield title
    yield from (f"  {line}" for line in fields(_pairs(found)))
    if found.not_contained:
        yield "  Of this source the backup does NOT contain:"
        yield from (f"    - {what}" for what in found.not_contained)


def _pairs(found: Inspection) -> Iterator[tuple[str, object]]:
    yield "kind", found.kind
    yield "backup", found.backup
    yield "made", " ".join(part for part in (found.created_at, found.policy and f"by {found.policy}") if part)
    yield "source", found.source
    yield "holds", _holds(found)
    yield "sealed", "AES-256-GCM" if found.sealed else "no: names, types, dates and tags in plain text"
    yield from recipient_names.recipient_fields(found.recipients)
    yield "installation", _signer(found)
    yield (
        "depth",
        "checked: the document agrees with its digest"
        if found.kind.startswith("meta")
        else SAYS[found.depth],
    )


def _holds(found: Inspection) -> str:
    parts = [] if found.secrets is None else [plural(found.secrets, "secret")]
    if found.versions is not None and found.versions != found.secrets:
        parts.append(plural(found.versions, "version"))
    parts.append("with values" if found.values else "without values")
    return ", ".join([*parts, f"{size(found.size)} in {plural(found.containers, 'container')}"])


def _signer(found: Inspection) -> str:
    if found.signer is None:
        return ""
    if found.signer_known:
        return f"{found.signer} (known here)"
    unknown = not found.signer_doubt or found.signer_doubt.endswith("is not trusted here.")
    why = "known to this installation" if unknown else f"believed: {found.signer_doubt}"
    return f"{found.signer} (NOT {why})"
