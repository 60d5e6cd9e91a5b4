"""How the proof of each key stands: the one rule and the one text for health, alerts, metrics and the page.

A key is proven when somebody opened something with it: the scheduled trial, or its holder, who answered a
challenge. From its first backup, or its last proof, on it has a quarter for the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from strongroom.state.store import RunStore
from strongroom.timestamps import rfc3339

DAY = 86_400.0
QUARTER = 92 * DAY
WARNING = 14 * DAY
"""How long a proof holds, and how long before its end people are warned."""
PROVEN, FAILED, RETIRED = "key.proven", "key.failed", "key.retired"


class ProofState(StrEnum):
    """How the proof of a key stands."""

    PROVEN = "proven"
    NOT_YET = "not yet proven"
    DUE_AGAIN = "to be proven again"
    OVERDUE = "overdue"
    FAILED = "failed"


class KeyProof(Struct, frozen=True, kw_only=True):
    """A key (as ``stanza_key`` names it, and as people call it) and its proof; times in epoch seconds.

    ``last`` is when it was last proven, ``by`` until when it has to be (again). ``why`` is the code and the
    words of a failure.
    """

    key: str
    name: str
    proof: ProofState
    by: float
    last: float | None = None
    why: str = ""

    @property
    def wrong(self) -> bool:
        """Whether backups may depend on a key that opens nothing."""
        return self.proof in (ProofState.FAILED, ProofState.OVERDUE)

    @property
    def words(self) -> str:
        """How it stands, in words of our own: no name of a secret is in it."""
        day = rfc3339(self.by)[:10]
        last = f"it was last proven on {rfc3339(self.last)[:10]}" if self.last else "it never was"
        said = {
            ProofState.PROVEN: f"proven {rfc3339(self.last or 0.0)}",
            ProofState.NOT_YET: f"not yet proven; it has to be by {day}",
            ProofState.DUE_AGAIN: f"to be proven again by {day}; {last}",
            ProofState.OVERDUE: f"had to be proven by {day}; {last}",
            ProofState.FAILED: f"did not open when it was tried ({self.why.partition(':')[0]})",
        }
        return f"{self.name}: {said[self.proof]}"


class ProofsOnRecord(Struct, frozen=True, kw_only=True):
    """When each key was last proven and retired, and when and why it last failed."""

    proven: Mapping[str, float]
    failed: Mapping[str, tuple[float, str]]
    retired: Mapping[str, float]

    def of(self, key: str, name: str, *, since: float, now: float) -> KeyProof:
        """Say how the proof of a key stands.

        Args:
            since: when the first backup was sealed to it.
        """
        last = self.proven.get(key)
        failed_at, why = self.failed.get(key, (0.0, ""))
        by = (last or since) + QUARTER
        return KeyProof(
            key=key,
            name=name,
            proof=_judged(last, failed_at, by, now),
            by=by,
            last=last,
            why=why,
        )


def _judged(last: float | None, failed_at: float, by: float, now: float) -> ProofState:
    if failed_at > (last or 0.0):
        return ProofState.FAILED
    if now > by:
        return ProofState.OVERDUE
    if last is None:
        return ProofState.NOT_YET
    return ProofState.DUE_AGAIN if now > by - WARNING else ProofState.PROVEN


def read_proofs(store: RunStore, *, until: float = float("inf")) -> ProofsOnRecord:
    """Read what is on record up to a moment. A row that was edited counts for what it still says."""
    proven: dict[str, float] = {}
    failed: dict[str, tuple[float, str]] = {}
    retired: dict[str, float] = {}
    for event in store.happened(PROVEN, FAILED, RETIRED, since=0.0):
        key = str(event.detail.get("key"))
        if event.at > until:
            continue
        if event.kind == PROVEN:
            proven[key] = event.at
        elif event.kind == FAILED:
            failed[key] = (event.at, str(event.detail.get("why")))
        else:
            retired[key] = event.at
    return ProofsOnRecord(proven=proven, failed=failed, retired=retired)
