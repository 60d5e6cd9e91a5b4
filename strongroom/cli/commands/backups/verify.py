"""backups verify and backups show: looking, never writing.

Each takes a file of any kind that Strongroom ever wrote, or a directory that is a target.
None of them needs state, configuration or a broker, unless the workers are asked to look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from strongroom.cli.commands.backups.arguments import ShowBackup, VerifyBackup
from strongroom.cli.shared import identities, inspection
from strongroom.cli.shared.inspection import Inspection, InspectOptions
from strongroom.cli.shared.opening import kind_of
from strongroom.cli.shared.options import refuse_beside
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural, size
from strongroom.container.errors import LegacyFormat
from strongroom.container.kinds import FileKind
from strongroom.model import Depth
from strongroom.operations.archive.live_comparison import describe_drift
from strongroom.operations.archive.reading import UNKNOWN
from strongroom.operations.checks.drift import Drift
from strongroom.sheet import Lines, Pairs, Sheet

# -- A look at a backup, in words ---------------------------------------------------------------


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
    yield from identities.recipient_fields(inspection.recipients)
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


# -- backups verify and backups show: looking, never writing ------------------------------------
#
# Each takes a file of any kind that Strongroom ever wrote, or a directory that is a target.
# None of them needs state, configuration or a broker, unless the workers are asked to look.


def verify_backup(given: VerifyBackup, output: Output) -> Answer:
    installation, asks = place.find(), given.how.depth in (Depth.OPENED, Depth.COMPARED, Depth.LIVE)
    keys = identities.identities_of(given.opening, output, installation, ask=asks)
    depth = given.how.depth or (Depth.OPENED if keys else Depth.DIGEST)
    found = inspection.inspect_backup(
        given.file, given.source, InspectOptions(depth, output, installation, keys, entering=True)
    )
    if found.signer_known:
        return answer_inspection(found, f"Verified: {given.file}")
    # only what somebody trusted here signed is verified
    doubt = UNKNOWN if found.signer else "Intact. Nobody signed it."
    return answer_inspection(found, f"{doubt} {given.file}")


def show_info(given: ShowBackup, output: Output) -> Answer:
    means = InspectOptions(Depth.PRESENT, output, place.find(), shows=True)
    return answer_inspection(inspection.inspect_backup(given.file, given.source, means), f"{given.file}")


def check_format(given: VerifyBackup, output: Output) -> Answer:
    means = InspectOptions(Depth.DIGEST, output, place.find(), shows=True)
    found = inspection.inspect_backup(given.file, given.source, means, words=("--structure",))
    return answer_inspection(found, f"The format is valid: {given.file}")


def test_decrypt(given: VerifyBackup, output: Output) -> Answer:
    installation = place.find()
    typed = identities.typed_only(given.opening, output, installation)
    keys = [
        identities.CountingIdentity(opener)
        for opener in typed or identities.identities_of(given.opening, output, installation)
    ]
    if given.file.is_file() and kind_of(given.file) is FileKind.LEGACY and not given.legacy:
        raise LegacyFormat(f"'{given.file}' is an old Fernet file.")
    means = InspectOptions(Depth.OPENED, output, installation, keys)
    found = inspection.inspect_backup(given.file, given.source, means, words=("--opens",))
    opened = [identity.describe() for identity in keys if identity.opened]
    by = f" with {', '.join(opened)}" if opened else ""
    whose = f"{UNKNOWN} " if found.signer_known is False else ""
    said = f"{whose}It opens{by}: {given.file}. Nothing was written."
    return answer_inspection(found, said, opened_with=opened)


# -- backups verify --cluster: the workers read a backup back from every target -----------------


_OF_THIS_HOST = (
    *("opens", "structure", "backup", "policy", "identity", "quorum", "share", "passphrase_file"),
    *("signer", "any_signer", "use_quarantined", "legacy"),
)


def verify_there(given: VerifyBackup, output: Output) -> Answer:
    refuse_beside(given, _OF_THIS_HOST, "--cluster")
    from strongroom.cli.shared.runs import answer_submission, known_backup
    from strongroom.config import load_settings
    from tasks.verify import verify_backup

    backup = known_backup(str(given.file), load_settings())
    depth = given.how.depth or Depth.DIGEST
    return answer_submission(
        verify_backup.delay(backup=backup, depth=depth.value), output, wait=given.by.follow
    )
