"""An audit report of a made-up year: backups, verifications, drills, incidents, keys of all ages."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from strongroom.model import Depth
from strongroom.operations.evidence.audit import (
    Audit,
    AuditedBackup,
    AuditedIncident,
    Happening,
    HeldOn,
    KeyAge,
    Operation,
    Rehearsal,
)
from strongroom.operations.evidence.ledger import LedgerPosition
from strongroom.state.records import CatalogEntry

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 365


def at(day: float) -> str:
    return (FIRST + timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%SZ")


def made_up_year(seed: int = 1, *, error: str = "TargetUnavailable: eu does not answer") -> Audit:
    """Return the same year for the same seed."""
    draw = random.Random(seed)
    operations, backups = [], []
    for day in range(DAYS):
        state = draw.choices(("done", "degraded", "failed"), (94, 4, 2))[0]
        said = error if state == "failed" else None
        operations.append(_run("backup", day, state, said))
        if state != "failed":
            backups.append(_held(f"{day:03}-backup", day, draw))
        if day % 7 == 3:
            operations.append(_run("verify" if day < 180 else "verification", day, "done"))
    drills = tuple(_drill(month, draw) for month in range(12))
    operations += [_ended(one) for one in drills]
    return Audit(
        strongroom="0.1.0",
        made_at=at(DAYS),
        since=at(0),
        until=at(DAYS),
        events=4 * DAYS,
        broken=None,
        first=LedgerPosition(id=1, at=at(0), kind="run.created", sha256="0" * 64),
        last=LedgerPosition(id=4 * DAYS, at=at(DAYS), kind="run.finished", sha256="f" * 64),
        outcomes={},
        counted={"access.opened": 9},
        operations=tuple(operations),
        happenings=tuple(
            Happening(event=40 * one, at=at(30 * one), kind="access.opened", run=None, detail={"by": "ann"})
            for one in range(1, 10)
        ),
        backups=tuple(backups),
        drills=drills,
        incidents=(
            AuditedIncident(incident="20260301T101500Z-laptop", opened=at(59.4), due=at(62.4), closed=at(61)),
            AuditedIncident(incident="20260805T080000Z-target", opened=at(216), due=at(219), closed=at(224)),
            AuditedIncident(incident="20261220T080000Z-host", opened=at(353), due=at(366), closed=""),
        ),
        keys=(
            KeyAge(name="recovery", use="opens backups", since=at(-20), evidence="run of 2025"),
            KeyAge(name="hsm-frankfurt", use="opens backups", since=at(180), evidence="run 180-backup"),
            KeyAge(
                name="signer of control", use="signs: signs", since=at(40), evidence="certificate of sr1:00"
            ),
        ),
    )


def _run(kind: str, day: int, state: str, error: str | None = None) -> Operation:
    run, ended = f"{day:03}-{kind}", at(day + 0.01)
    return Operation(run=run, kind=kind, policy="full", began=at(day), ended=ended, state=state, error=error)


def _ended(one: Rehearsal) -> Operation:
    return Operation(
        run=one.run, kind="drill", policy="full", began=one.began, ended=one.began, state=one.state
    )


def _held(run: str, day: int, draw: random.Random) -> AuditedBackup:
    entry = CatalogEntry(
        backup=run,
        policy="full" if day % 7 else "weekly",
        source="vault",
        created_at=at(day),
        values=True,
        secrets=1_000 + day,
        size=40_000_000 + 90_000 * day + draw.randrange(2_000_000),
        containers=3,
        manifest_sha256=f"{day:064x}",
    )
    on = (
        HeldOn(target=name, good=True, verified=Depth.COMPARED, verified_at=at(day + 1))
        for name in ("eu", "us")
    )
    return AuditedBackup(backup=entry, replicas=tuple(on))


def _drill(month: int, draw: random.Random) -> Rehearsal:
    failed, single = month == 4, month % 3
    took = draw.randrange(100_000, 1_000_000) if single else draw.randrange(3_000_000, 9_000_000)
    return Rehearsal(
        run=f"drill-{month:02}",
        drill="single" if single else "full",
        policy="full",
        began=at(30 * month + 5),
        state="failed" if failed else "degraded" if month == 7 else "done",
        took=None if failed else took,
        objective=900_000 if single else 7_200_000,
    )
