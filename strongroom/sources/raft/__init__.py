"""Snapshots of a whole Vault or OpenBao server on Raft storage: the second kind of backup.

``archive`` checks a snapshot offline, ``spool`` keeps a sealed one in parts, ``source`` takes it.
"""

from __future__ import annotations

from strongroom.sources.raft.snapshot import SnapshotHeader
from strongroom.sources.raft.source import RaftSource

__all__ = ["RaftSource", "SnapshotHeader"]
