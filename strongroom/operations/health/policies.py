"""Policies as they are configured now, for a look: what they demand, and whether their backups are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from strongroom.errors import StrongroomError
from strongroom.state.records import Spec


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A policy. ``unpinned`` are those of its keys whose key services did not say which key it is, with why;
    ``spec.recipients`` are the others. ``offline``: its targets are media that lie in a safe."""

    spec: Spec
    schedule: str | None = None
    time_zone: str = "UTC"
    offline: bool = False
    unpinned: Mapping[str, StrongroomError] = field(default_factory=dict)
