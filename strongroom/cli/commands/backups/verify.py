"""A look at a backup, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from strongroom.cli.shared import recipient_names
from strongroom.cli.shared.inspection import Inspection
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import plural, size
from strongroom.model import Depth
from strongroom.operations.archive.live_comparison import describe_drift
from strongroom.operations.drift.comparison import Drift
from strongroom.sheet import Lines, Pairs, Sheet

SAYS = {
    Depth.PRESENT: "present: all of it is there, in its right size; nothing was read",
    Depth.DIGEST: "digest: every byte is the one that was written; no key was needed or used",
    Depth.OPENED: "opened: every secret was decrypted and authenticated",
    Depth.COMPARED: "compared: every value equals the digest taken when it was captured",
    Depth.LIVE: "live: every value equals its digest, and was compared with what the source has now",
}


_NO_DRIFT = "none: the source is as the backup has it"


def answer_inspection(inspection: Inspection, title: str, *, opened_with: Sequence[str] = ()) -> Answer:
    """Answer with a look; ``opened_with`` says what opened it."""
    opened: Struct | dict[str, Any] = inspection
    if opened_with:
        opened = {**asdict(inspection), "opened_with": opened_with}
    lacks = Lines(inspection.not_contained, "Of this source the backup does NOT contain", style="list")
    return Answer(record=opened, sheet=Sheet(parts=[Pairs(list(_pairs(inspection)), title), lacks]))


def _pairs(inspection: Inspection) -> Iterator[tuple[str, object]]:
    yield "kind", inspection.kind
    yield "backup", inspection.backup
    yield (
        "made",
        " ".join(
            part for part in (inspection.created_at, inspection.policy and f"by {inspection.policy}") if part
        ),
    )
    yield "source", inspection.source
    yield "holds", _holds(inspection)
    if inspection.live is not None:
        yield "drift", _drift(inspection.live)
    yield "sealed", "AES-256-GCM" if inspection.sealed else "no: names, types, dates and tags in plain text"
    yield from recipient_names.recipient_fields(inspection.recipients)
    yield "installation", _signer(inspection)
    yield "quarantine", inspection.quarantine
    yield (
        "depth",
        "checked: the document agrees with its digest"
        if inspection.kind.startswith("meta")
        else SAYS[inspection.depth],
    )


def _drift(live: Drift) -> str:
    found = live.newest
    moved = describe_drift(found.changed, found.missing, live.extra) or _NO_DRIFT
    return f"{moved}; {plural(found.unread, 'secret')} could not be compared" if found.unread else moved


def _holds(inspection: Inspection) -> str:
    parts = [] if inspection.secrets is None else [plural(inspection.secrets, "secret")]
    if inspection.versions is not None and inspection.versions != inspection.secrets:
        parts.append(plural(inspection.versions, "version"))
    parts.append("with values" if inspection.values else "without values")
    return ", ".join([*parts, f"{size(inspection.size)} in {plural(inspection.containers, 'container')}"])


def _signer(inspection: Inspection) -> str:
    if inspection.signer is None:
        return ""
    if inspection.signer_known:
        return f"{inspection.signer} (known here)"
    return f"{inspection.signer} (maker unknown: {inspection.signer_doubt})"
