"""Candidates for tests of the retention rules, without a target."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from strongroom.model import Depth, Selection
from strongroom.operations.engine.services import KeepRules
from strongroom.operations.retention.rules import Candidate
from strongroom.times import compact

DAY = 86_400.0


def at(text: str) -> float:
    """Return a moment in UTC, such as ``2026-11-27 02:00``, in seconds since the epoch."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def candidate(created_at: float, **others: Any) -> Candidate:
    """Return a whole backup that was read back, of policy ``daily`` of source ``local``."""
    fields: dict[str, Any] = {
        "backup": others.get("backup") or f"{compact(created_at)}-aaaa",
        "policy": "daily",
        "source": "local",
        "values": True,
        "selection": Selection(),
        "secrets": 100,
        "size": 1_000,
        "whole": True,
        "verified": Depth.DIGEST,
    }
    return Candidate(created_at=created_at, **(fields | others))


def keep(**others: Any) -> dict[str, KeepRules]:
    """Return the rules of policy ``daily``, which by themselves keep one backup and a day."""
    return {"daily": KeepRules(**({"minimum_days": 1, "minimum_count": 1, "last": 1} | others))}
