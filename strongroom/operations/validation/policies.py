"""validate --production: each policy's source now, held against what its newest backup held.

As deep as this host can: where it has a key that opens the backup, values; where the backup has none, names;
without a key, counts. What is said names the depth that was reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.errors import DAMAGE
from strongroom.container.manifest import Manifest
from strongroom.errors import SourceError, StrongroomError
from strongroom.keys import Identity
from strongroom.model import Secret, Selection
from strongroom.operations.archive.choice import BackupChoice, Passed, describe_skipped
from strongroom.operations.archive.expected_secrets import FLOOR
from strongroom.operations.archive.live_comparison import selected
from strongroom.operations.archive.open import Backup, Objects
from strongroom.operations.validation.live import LiveComparison, against
from strongroom.operations.validation.value_checks import SecretFinding
from strongroom.sources import Source
from strongroom.words import plural


class Reached(StrEnum):
    """How deep a source was compared with a backup."""

    NOTHING = "nothing"
    COUNTED = "counted"
    NAMES = "names"
    VALUES = "values"


class PolicyComparison(Struct, frozen=True, kw_only=True):
    """A policy's source, and the backup of it that a restore takes: their counts, and what was compared."""

    policy: str
    source: str
    backup: str = ""
    created_at: str = ""
    held: int = 0
    now: int = 0
    depth: Reached = Reached.NOTHING
    compared: LiveComparison | None = None
    findings: tuple[SecretFinding, ...] = ()


def hold(
    policy: str,
    source: Source,
    selection: Selection,
    choice: BackupChoice,
    *,
    identities: Sequence[Identity],
    trusted: frozenset[str],
) -> PolicyComparison:
    """Compare a policy's source with one of its backups.

    Raises:
        SourceError: the source did not answer.
    """
    manifest = choice.manifest
    held = PolicyComparison(
        policy=policy,
        source=source.name,
        backup=manifest.backup_id,
        created_at=manifest.created_at,
        held=manifest.counts.secrets,
        now=sum(1 for _ in selected(source, selection)),
        depth=Reached.COUNTED,
    )
    held = replace(held, findings=tuple(_fewer(held)))
    failed: dict[str, StrongroomError] = {}
    for replica in choice.replicas:
        try:
            secrets = _secrets(replica.objects, manifest, identities, trusted)
            return _compared(held, source, selection, manifest, secrets)
        except SourceError:
            raise
        except StrongroomError as error:
            failed[replica.name] = error
    return _with(held, _not_compared(held, failed))


def _not_compared(held: PolicyComparison, failed: Mapping[str, StrongroomError]) -> SecretFinding:
    """Say why secrets were counted alone. No key here is a remark; no replica that is whole is not."""
    why = "; ".join(f"{name}: {error.message}" for name, error in failed.items())
    if failed and all(isinstance(error, DAMAGE) for error in failed.values()):
        return _about(held.policy, "backup-damaged", f"no replica of backup {held.backup} is whole; {why}")
    text = f"backup {held.backup} could not be opened, so its secrets were counted alone; {why}"
    return _about(held.policy, "not-compared", text, wrong=False)


def _compared(
    held: PolicyComparison,
    source: Source,
    selection: Selection,
    manifest: Manifest,
    secrets: Iterator[Secret],
) -> PolicyComparison:
    counts, findings = against(source, selection, secrets, strict=False, by_name=not manifest.values)
    depth = Reached.VALUES if manifest.values else Reached.NAMES
    return _with(replace(held, compared=counts, depth=depth), *findings)


def _secrets(
    target: Objects, manifest: Manifest, identities: Sequence[Identity], trusted: frozenset[str]
) -> Iterator[Secret]:
    return Backup(target, manifest, identities, trusted=trusted).secrets()


def _fewer(held: PolicyComparison) -> Iterator[SecretFinding]:
    """Less than expected is an alarm, and not a success (counts and floors, as for a backup itself)."""
    if held.now < FLOOR * held.held:
        text = f"its source holds {plural(held.now, 'secret')}, and backup {held.backup} held {held.held:,}"
        yield _about(held.policy, "fewer", text)


def passed_over(held: PolicyComparison, passed: Iterable[Passed]) -> PolicyComparison:
    """Say which newer backups of the policy were not taken, and why."""
    lines = describe_skipped(set_aside for set_aside in passed if set_aside.policy == held.policy)
    newer = (
        _about(held.policy, "passed-over", f"newer, but not used: {line}", wrong=False) for line in lines
    )
    return _with(held, *newer)


def no_backup(policy: str, source: str, error: StrongroomError, *, known: bool) -> PolicyComparison:
    """Say that there is nothing to compare with, which is wrong where the record knows a backup."""
    text = f"no backup of it can be had here, so its source was compared with nothing: {error.message}"
    return PolicyComparison(
        policy=policy, source=source, findings=(_about(policy, "no-backup", text, wrong=known),)
    )


def unreadable(source: str, error: StrongroomError) -> SecretFinding:
    """Say that a source did not let itself be looked at."""
    text = f"it cannot be read: {error.message} ({error.code})"
    return SecretFinding(secret="", source=source, check="source-unreadable", text=text)


def nothing_there(source: str) -> SecretFinding:
    """Say that a source of production holds nothing of what its policies mean: a loss looks like that."""
    return SecretFinding(
        secret="", source=source, check="nothing-there", text="it holds no secret that a policy means"
    )


def _about(policy: str, check: str, text: str, *, wrong: bool = True) -> SecretFinding:
    return SecretFinding(secret="", check=check, text=f"policy '{policy}': {text}", wrong=wrong)


def _with(held: PolicyComparison, *findings: SecretFinding) -> PolicyComparison:
    return replace(held, findings=(*held.findings, *findings))
