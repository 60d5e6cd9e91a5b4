"""Which backups there are, and what is known of each of their replicas."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from strongroom.state import catalog
from strongroom.state.engine import Transactions
from strongroom.state.records import CatalogEntry, ContainerCheck, Replica


class BackupCatalog(Transactions):
    """Backups and their replicas."""

    def put_backup(self, entry: CatalogEntry, replicas: Sequence[Replica] = ()) -> None:
        """Record a backup and its replicas; a known one is replaced."""
        with self._database.writing() as conn:
            catalog.put(conn, entry, replicas)

    def backup(self, name: str) -> CatalogEntry | None:
        """Return one backup, or ``None``."""
        with self._database.reading() as conn:
            return catalog.backup(conn, name)

    def names(self, policy: str) -> list[str]:
        """Return the names of all backups of a policy, newest first."""
        with self._database.reading() as conn:
            return catalog.names(conn, policy)

    def digests(self, backups: Sequence[str]) -> dict[str, str]:
        """Return the SHA-256 (hex) of the manifest of each of these backups that the catalog knows."""
        with self._database.reading() as conn:
            return catalog.digests(conn, backups)

    def backups(
        self, *, policy: str | None = None, limit: int | None = None, before: str | None = None
    ) -> list[CatalogEntry]:
        """Return backups, newest first; of one policy if given, and those older than one. Without a limit,
        all of them."""
        with self._database.reading() as conn:
            return catalog.backups(conn, policy=policy, limit=limit, before=before)

    def with_bad_replicas(self) -> list[str]:
        """Return the backups that have a replica that is not good, newest first, however old they are."""
        with self._database.reading() as conn:
            return catalog.with_bad_replicas(conn)

    def most_secrets(self, policy: str, *, since: str, besides: str) -> int:
        """Return the most secrets that a policy's backups since then hold, or its newest if that is older.

        Args:
            besides: the backup that is to be held against them.
        """
        with self._database.reading() as conn:
            return catalog.most_secrets(conn, policy, since=since, besides=besides)

    def set_replica(self, replica: Replica, *, damaged: Collection[int] | None = None) -> None:
        """Record what is known of one replica. Its backup must be in the catalog.

        Args:
            damaged: which containers of a bad one are. Without it all of them count as never read.
        """
        with self._database.writing() as conn:
            catalog.put_replica(conn, replica, damaged)

    def drop_replica(self, backup: str, target: str) -> bool:
        """Forget a replica that was removed from its target; return whether it was the last one,
        and the backup is forgotten with it."""
        with self._database.writing() as conn:
            return catalog.drop_replica(conn, backup, target)

    def replicas(self, backup: str) -> list[Replica]:
        """Return the replicas of a backup, by target."""
        with self._database.reading() as conn:
            return catalog.replicas(conn, backup)

    def replicas_of(self, backups: Sequence[str]) -> dict[str, list[Replica]]:
        """Return the replicas of each of these backups, by target; one read for all of them."""
        with self._database.reading() as conn:
            return catalog.replicas_of(conn, backups)

    def good_replicas(self) -> list[Replica]:
        """Return all replicas that are good on record."""
        with self._database.reading() as conn:
            return catalog.good_replicas(conn)

    def put_checks(self, checks: Sequence[ContainerCheck]) -> None:
        """Record which containers were read back, how deep and when."""
        with self._database.writing() as conn:
            catalog.put_checks(conn, checks)

    def checks(self, backups: Collection[str] | None = None) -> list[ContainerCheck]:
        """Return what was read back of replicas: of these backups, or of all."""
        with self._database.reading() as conn:
            return catalog.checks(conn, backups)
