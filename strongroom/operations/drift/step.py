"""The steps of a comparison with the source."""

from __future__ import annotations

from contextlib import suppress

from strongroom.container.digests import value_digester
from strongroom.container.errors import DAMAGE, WrongKey
from strongroom.errors import ConfigError
from strongroom.operations.drift.comparison import Drift, compare
from strongroom.operations.drift.freeze import Frozen, freeze
from strongroom.operations.drift.history import facts_of
from strongroom.operations.drift.mass_change import describe_mass_change
from strongroom.operations.errors import BackupQuarantined
from strongroom.operations.restore.by_record import open_anywhere
from strongroom.operations.services import Services
from strongroom.operations.shredding.errors import BackupShredded
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Run, RunStep

_UNUSABLE = (*DAMAGE, WrongKey, BackupQuarantined, BackupShredded, ConfigError)
"""What keeps an earlier backup from being judged by."""


def compare_with_source(run: Run, step: RunStep, services: Services) -> Drift:
    """Compare the run's backup, and the one that a mass change is judged by, with their source.

    Raises:
        SourceError: the source did not answer.
        NothingOpens, WrongKey: this host does not open the backup.
        ConfigError: the policy names another source by now, or the digests are not of this installation.
    """
    backup, policy = open_anywhere(run, services), services.pinned(run.spec.policy).spec
    name = backup.manifest.source
    if name != policy.source:
        raise ConfigError(
            f"backup {run.spec.backup} was made of '{name}', and policy '{policy.policy}' names "
            f"'{policy.source}'",
            hint=f"Nothing was compared. Make a new backup: 'strongroom backup --policy {policy.policy}'.",
        )
    source, digest = services.source(name), value_digester(services.digest_key, name)
    since = facts_of(run).since
    if since not in ("", run.spec.backup):
        # The result names the backup that was judged by, and the report says if it is another.
        with suppress(*_UNUSABLE):
            earlier = open_anywhere(run, services, backup=since)
            return compare(backup, earlier, source, policy.selection, digest)
    return compare(backup, backup, source, policy.selection, digest)


def freeze_retention(run: Run, step: RunStep, services: Services) -> Frozen:
    """Have nothing of the policy deleted until a person has looked at what changed."""
    drift = facts_of(run).drift
    if drift is None:
        raise RecordRefused(f"run {run.id} does not record what it compared")
    return freeze(run, services, reason=f"mass change: {describe_mass_change(drift)}")
