"""What is on record of the newest backups: a replica that was found bad opens all the same, and brings
nothing back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from strongroom.container.errors import VerificationFailed
from strongroom.operations.findings import Finding, remark, wrong
from strongroom.operations.readiness.backups import BACKUP, Looked, TargetBackups, Want, newest_of


def having(policy: str, backup: str, looked: Looked) -> list[str]:
    """Return the targets that show a backup as a policy's newest."""
    return [
        name
        for name, seen in looked.items()
        if isinstance(seen, TargetBackups)
        and policy in seen.newest
        and seen.newest[policy].backup_id == backup
    ]


def damaged(looked: Looked, wanted: Sequence[Want], bad: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    """Say which replicas of the newest backups are on record as bad. It is a remark as long as another
    target shows one that is not.

    Args:
        bad: by backup, the targets on which it was found damaged or incomplete.
    """
    newest = newest_of(looked)
    for want in wanted:
        if (manifest := newest.get(want.policy)) is None:
            continue
        backup = manifest.backup_id
        there = having(want.policy, backup, looked)
        if known := [name for name in there if name in bad.get(backup, ())]:
            finding = _known_bad(backup, known, alone=known == there and want.required)
            yield finding.on(policy=want.policy, backup=backup)


def _known_bad(backup: str, names: Sequence[str], *, alone: bool) -> Finding:
    words = f"it was found damaged or incomplete on {', '.join(names)}"
    if not alone:
        return remark(BACKUP, words, f"'strongroom backups repair {backup}' copies it from a good replica.")
    hint = (
        f"'strongroom backups repair {backup}' looks once more. If no replica is good, restore an older "
        "backup."
    )
    return wrong(BACKUP, VerificationFailed(f"{words}, and no other target shows it", hint=hint))
