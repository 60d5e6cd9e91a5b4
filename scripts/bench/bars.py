"""What Strongroom has to reach, and whether it did. A missed bar is printed, never an error:
a busy machine must not turn a build red."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scripts.bench import ours
from scripts.bench.rows import JSONL, TREE, US, Row, Session
from scripts.bench.tools import WITH_PASSPHRASE

Number = Callable[[Session], float | None]
"""Reads one number out of what was measured; ``None`` if a side of it was not."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """``number`` is at most ``most``, or at least ``least``; ``than`` says of what it is a multiple.
    ``{secrets:,}`` and ``{many:,}`` in a text stand for the sizes of the session."""

    what: str
    number: Number
    most: float | None = None
    least: float | None = None
    than: str

    def texts(self, session: Session) -> tuple[str, str]:
        """Return what is held against the bar, and the bar."""
        word, bound = ("at most", self.most) if self.most is not None else ("at least", self.least)
        sizes = {"secrets": session.secrets, "many": session.many}
        return self.what.format(**sizes), f"{word} {bound:,g} {self.than.format(**sizes)}"

    @property
    def unit(self) -> str:
        return self.than if self.than == "a second" else self.than.partition(" ")[0]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One bar, judged. ``met`` is ``None`` if one side was not at hand."""

    bar: Bar
    reached: float | None

    @property
    def met(self) -> bool | None:
        if self.reached is None:
            return None
        if self.bar.most is not None:
            return self.reached <= self.bar.most
        return self.bar.least is not None and self.reached >= self.bar.least

    @property
    def text(self) -> str:
        if self.reached is None:
            return "not measured"
        digits = 0 if self.reached >= 100 else 1 if self.reached >= 10 else 2
        met = "" if self.met else " **missed**"
        return f"{self.reached:,.{digits}f} {self.bar.unit}{met}"


def _beside(job: str, layout: str, peer: str, *, many: bool = False, who: str = US) -> Number:
    """Our seconds over the peer's, of the same job on the same data."""

    def number(session: Session) -> float | None:
        size = session.many if many else session.secrets
        ours = session.row(job, who, layout=layout, secrets=size)
        theirs = session.row(job, peer, layout=layout, secrets=size)
        return ours.seconds / theirs.seconds if ours and theirs else None

    return number


def _cost(job: str) -> Number:
    """What a secret costs of many, over what it costs of a tenth of them."""

    def number(session: Session) -> float | None:
        few = session.row(job, layout=JSONL, secrets=session.secrets)
        many = session.row(job, layout=JSONL, secrets=session.many)
        return few.rate / many.rate if few and many else None

    return number


def _one_secret(session: Session) -> float | None:
    few = session.row("one secret", layout=JSONL, secrets=session.secrets)
    many = session.row("one secret", layout=JSONL, secrets=session.many)
    return many.seconds / few.seconds if few and many else None


def _seconds(what: str) -> Number:
    def number(session: Session) -> float | None:
        row = session.row(what)
        return row.seconds if row else None

    return number


def _largest(what: str, value: Callable[[Row], float | None], who: str = US) -> Number:
    """Return the number of the row of this that has most secrets."""

    def number(session: Session) -> float | None:
        found = [row for row in session.rows if (row.what, row.who) == (what, who) and row.rounds]
        return value(max(found, key=lambda row: row.secrets)) if found else None

    return number


def _fact(name: str) -> Callable[[Row], float | None]:
    return lambda row: row.fact(name)


def _peak(session: Session) -> float | None:
    rows = [row for row in session.rows if row.who.startswith(US) and row.who != WITH_PASSPHRASE]
    return max((row.peak_mib for row in rows if row.peak_mib is not None), default=None)


def _peak_with_passphrase(session: Session) -> float | None:
    rows = [row for row in session.rows if row.who == WITH_PASSPHRASE]
    return max((row.peak_mib for row in rows if row.peak_mib is not None), default=None)


def _vault(session: Session) -> float | None:
    ours = session.row("read Vault")
    pooled = session.row("read Vault", "plain pooled client")
    return ours.rate / pooled.rate if ours and pooled else None


def _longest_wait(session: Session) -> float | None:
    waits = [number for row in session.of("record") for number in row.facts.get(LONGEST_WAIT, ())]
    return max(waits, default=None)


def _regions(session: Session) -> float | None:
    rows = list(session.of("regions"))
    together = [row.seconds for row in rows if row.who.startswith("all")]
    alone = [row.seconds for row in rows if not row.who.startswith("all")]
    return together[0] / max(alone) if together and alone else None


LONGEST_WAIT = "longest wait of another writer s"
RESTIC = "× restic"
MIB, SECONDS = "MiB", "s"
SCALE = "× that of {secrets:,}"
COSTS = {
    "backup": "backup",
    "verify": "verify",
    "restore": "restore",
    ours.VERIFY: "verify on a target",
    ours.FIND: "find",
    ours.DIFF: "diff",
}

BARS = (
    Bar(
        what="backup of a tree, read back",
        number=_beside("backup", TREE, "restic"),
        most=0.40,
        than=RESTIC,
    ),
    Bar(
        what="verify a tree by opening all", number=_beside("verify", TREE, "restic"), most=0.25, than=RESTIC
    ),
    Bar(what="one secret of a tree", number=_beside("one secret", TREE, "restic"), most=0.20, than=RESTIC),
    Bar(
        what="one secret of a tree, with a passphrase",
        number=_beside("one secret", TREE, "restic", who=WITH_PASSPHRASE),
        most=1.0,
        than=RESTIC,
    ),
    Bar(what="restore of a tree", number=_beside("restore", TREE, "restic"), most=0.30, than=RESTIC),
    Bar(what="backup of {secrets:,} lines", number=_beside("backup", JSONL, "restic"), most=1.0, than=RESTIC),
    Bar(
        what="backup of {many:,} lines",
        number=_beside("backup", JSONL, "restic", many=True),
        most=1.3,
        than=RESTIC,
    ),
    Bar(
        what="verify of {many:,} lines",
        number=_beside("verify", JSONL, "borg", many=True),
        most=1.0,
        than="× borg check",
    ),
    *(
        Bar(what=f"cost a secret at {{many:,}}: {name}", number=_cost(job), most=1.1, than=SCALE)
        for job, name in COSTS.items()
    ),
    Bar(what="one secret of {many:,} lines", number=_one_secret, most=1.1, than=SCALE),
    Bar(what="peak memory of any process", number=_peak, most=150, than=MIB),
    Bar(
        what="peak memory with a passphrase (128 MiB are scrypt's)",
        number=_peak_with_passphrase,
        most=250,
        than=MIB,
    ),
    Bar(what="secrets a second from Vault", number=_vault, least=0.90, than="× a plain pooled client"),
    Bar(
        what="secrets restored a second into OpenBao",
        number=_largest("restore into Vault", lambda row: row.rate),
        least=1000,
        than="a second",
    ),
    Bar(
        what="requests to OpenBao for a restored secret",
        number=_largest("restore into Vault", _fact("requests a secret")),
        most=4,
        than="requests",
    ),
    Bar(
        what="longest time that the record keeps other writers waiting",
        number=_longest_wait,
        most=0.5,
        than=SECONDS,
    ),
    Bar(what="upload to three regions", number=_regions, most=1.1, than="× the slowest alone"),
    *(
        Bar(what=f"first second: `{what}`", number=_seconds(what), most=0.2, than=SECONDS)
        for what in ("status", "check", "config check")
    ),
    Bar(what="first second: `--help`", number=_seconds("--help"), most=0.03, than=SECONDS),
)


def judge(session: Session) -> list[Verdict]:
    """Hold all that was measured against the bars."""
    return [Verdict(bar=bar, reached=bar.number(session)) for bar in BARS]
