"""What frameworks and the yearly review rest on: the configuration, the installation and the record."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from strongroom import __version__
from strongroom.config import Settings
from strongroom.operations.engine.findings import Finding
from strongroom.operations.engine.services import CheckResult, Services
from strongroom.operations.evidence.audit import Audit, audit
from strongroom.operations.evidence.compliance import Demands, require
from strongroom.operations.evidence.reports import MADE, ReviewedKey, ReviewedSigner, SecurityReview, parts
from strongroom.operations.keys.health import DAY
from strongroom.operations.keys.usage import KeyUse, survey
from strongroom.times import rfc3339

_UNYIELDING = frozenset({"compliance", "locked"})


def evidence(settings: Settings, areas: Iterable[Finding]) -> Iterator[Finding]:
    """Yield all findings. ``areas`` are those of the installation, as check sees it."""
    yield from require(_demands(settings), told=len(settings.routes) + bool(settings.alerts.email))
    yield from areas


def _demands(settings: Settings) -> Iterator[Demands]:
    for name, policy in settings.policies.items():
        locks = {target: settings.targets[target].locking for target in policy.targets}
        yield Demands(
            name=name,
            values=policy.kind == "full",
            sealed=policy.sealed,
            schedule=policy.schedule,
            offline=policy.offline,
            erasable=policy.erasable,
            quorum=policy.quorum,
            regions=policy.regions,
            locking=tuple(target for target, lock in locks.items() if lock != "none"),
            unyielding=tuple(target for target, lock in locks.items() if lock in _UNYIELDING),
            minimum_retention_days=policy.minimum_retention_days,
            why_short=policy.short_retention_reason,
            keys={key: settings.keys[key].kind for key in policy.recipients},
        )


# -- The yearly security review: put together, and asked for by the calendar until somebody has made it


YEAR = 365 * DAY
DUE = 330 * DAY
"""A review that is younger than this is the one of this year."""
YOUNG = 30 * DAY
"""An installation that is younger than this has nothing to review yet."""
_ACCESS = ("access.", "key.", "signer.", "incident.", "shred.", "hold.", "backup.quarantined")


def review(
    services: Services,
    findings: Iterable[Finding],
    signers: Sequence[ReviewedSigner],
    *,
    installation: str,
    reviewers: Sequence[str],
    now: float,
) -> SecurityReview:
    """Return the review of the year before a time (epoch seconds), without the digest of its page."""
    found = audit(services.store, since=now - YEAR, until=now, now=now)
    looked = survey(services, services.store.backups())
    return SecurityReview(
        strongroom=__version__,
        installation=installation,
        made_at=rfc3339(now),
        since=rfc3339(now - YEAR),
        until=rfc3339(now),
        reviewers=tuple(reviewers),
        parts=parts(list(findings)),
        keys=tuple(map(_key, looked.keys)),
        unread=len(looked.unread),
        signers=tuple(signers),
        outcomes=found.outcomes,
        access=dict(_access(found)),
        event=found.last.id if found.last else 0,
        event_sha256=found.last.sha256 if found.last else "",
    )


def _key(use: KeyUse) -> ReviewedKey:
    name = ", ".join(use.labels) or use.key
    opens = len({*use.backups, *use.together})
    return ReviewedKey(key=name, type=use.type, opens=opens, alone=len(use.only), by_copy=len(use.by_copy))


def _access(found: Audit) -> Iterator[tuple[str, int]]:
    counted = Counter(found.counted)
    yield from ((kind, count) for kind, count in sorted(counted.items()) if kind.startswith(_ACCESS))


def remind(services: Services, _settings: Settings) -> CheckResult:
    """Say that the review of this year is missing: the calendar asks for it until it is made."""
    now = time.time()
    first = next(iter(services.store.events(limit=1)), None)
    made = services.store.happened(MADE, since=now - DUE)
    if any(True for _ in made) or first is None or now - first.at < YOUNG:
        return CheckResult()
    return CheckResult(
        bad=("the security review of this year is missing",),
        do="Run 'strongroom reports review --output review.json', look at the page beside it, and sign it.",
    )
