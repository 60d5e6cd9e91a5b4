"""What a look at the health of backups and of the installation found: one record a thing looked at.

Nothing is called good that was not looked at: what could not be is a state of its own, and is as
loud as what is wrong (invariant 8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from strongroom.alert_kinds import Severity
from strongroom.container.errors import DAMAGE
from strongroom.errors import StrongroomError, by_name

_DAMAGE = frozenset(kind.__name__ for kind in DAMAGE)


class FindingState(StrEnum):
    """How something stands. The order is that in which it is shown.

    What is wrong is critical. People are notified of it and of a warning, of a remark they are not.
    """

    WRONG = "wrong"
    UNKNOWN = "could not look"
    WARNING = "warning"
    REMARK = "remark"
    GOOD = "good"


class AlertRecord(Struct, frozen=True, kw_only=True, rename={"to_do": "do"}):
    """An alert as machines are told of it, by a command or a webhook."""

    key: str
    kind: str
    subject: str
    severity: Severity
    what: str
    means: str
    to_do: str


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was checked. ``code`` and ``exit_code`` are those of the error class that fits;
    empty and 0 where nothing has to be done. ``transient``: it may pass by itself.

    What was judged by facts has a ``kind`` and a ``subject``, ``means`` what it means, and a ``weight``: how
    bad it is within its severity. No name of a secret and no value is in it.
    """

    check: str
    state: FindingState
    what: str
    to_do: str = ""
    policy: str = ""
    backup: str = ""
    target: str = ""
    code: str = ""
    exit_code: int = 0
    transient: bool = False
    kind: str = ""
    subject: str = ""
    means: str = ""
    weight: int = 0

    @property
    def key(self) -> str:
        """What stays the same as long as it is the same alert: its kind and its subject."""
        return f"{self.kind}:{self.subject}"[:255] if self.subject else self.kind

    @property
    def severity(self) -> Severity:
        return Severity.CRITICAL if self.state is FindingState.WRONG else Severity.WARNING

    @property
    def record(self) -> AlertRecord:
        """What machines are told of it as an alert."""
        return AlertRecord(
            key=self.key,
            kind=self.kind,
            subject=self.subject,
            severity=self.severity,
            what=self.what,
            means=self.means,
            to_do=self.to_do,
        )

    @property
    def is_alert(self) -> bool:
        """Whether people are told of it."""
        return bool(self.kind) and self.state in (FindingState.WRONG, FindingState.WARNING)

    @property
    def damage(self) -> bool:
        """Whether it tells of damage."""
        return self.state is FindingState.WRONG and self.code in _DAMAGE

    @property
    def error(self) -> StrongroomError | None:
        """The error that a command ends with which found this; ``None`` if nothing has to be done."""
        kind = by_name(self.code)
        if kind is None:
            return None
        if self.kind:  # its words name what it is about
            return kind(self.what, hint=self.to_do or None)
        about = ", ".join(filter(None, (self.policy, self.backup, self.target)))
        return kind(f"{self.check}{f' ({about})' if about else ''}: {self.what}", hint=self.to_do or None)

    def on(self, *, policy: str = "", backup: str = "", target: str = "") -> Finding:
        """Return the same, said of a policy, backup or target."""
        return replace(
            self,
            policy=policy or self.policy,
            backup=backup or self.backup,
            target=target or self.target,
        )


def good(check: str, what: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(check=check, state=FindingState.GOOD, what=what)


def remark(check: str, what: str, to_do: str = "") -> Finding:
    """Return that something stands out, and is no reason for an alarm."""
    return Finding(check=check, state=FindingState.REMARK, what=what, to_do=to_do)


def wrong(check: str, error: StrongroomError) -> Finding:
    """Return that something is wrong, by the class of the error that fits."""
    return _of(check, FindingState.WRONG, error)


def unknown(check: str, error: StrongroomError) -> Finding:
    """Return that something could not be looked at, and why."""
    return _of(check, FindingState.UNKNOWN, error)


def finding_of_error(check: str, error: StrongroomError) -> Finding:
    """Return what an error tells: damage is wrong, whatever else kept from looking is not known."""
    return wrong(check, error) if isinstance(error, DAMAGE) else unknown(check, error)


def _of(check: str, state: FindingState, error: StrongroomError) -> Finding:
    return Finding(
        check=check,
        state=state,
        what=error.message,
        to_do=error.hint,
        code=error.code,
        exit_code=error.exit_code,
        transient=error.transient,
    )


# -- all of them ---------------------------------------------------------------

_ORDER = tuple(FindingState)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings by how bad they are, otherwise in the order given: damage before all else, what may
    pass by itself after what will not."""
    return sorted(
        findings, key=lambda finding: (_ORDER.index(finding.state), not finding.damage, finding.transient)
    )


def worst_error(findings: Iterable[Finding]) -> StrongroomError | None:
    """Return the error of the worst finding; ``None`` if nothing is wrong and all was looked at."""
    return next((finding.error for finding in worst_first(findings)), None)


def attempted(
    check: str, look: Callable[[], Iterable[Finding]], failed: Callable[[str, StrongroomError], Finding]
) -> Iterator[Finding]:
    """Yield what a look finds; what stops it is a finding, and stops no other look."""
    try:
        yield from look()
    except StrongroomError as error:
        yield failed(check, error)
