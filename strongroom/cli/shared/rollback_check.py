"""Whether a target shows an older envelope than is known of elsewhere: it was rolled back, or lags behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from strongroom.cli.shared import backup_argument, shred_guard
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.errors import Stale
from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError
from strongroom.operations.archive.envelopes import wrapping_keys
from strongroom.operations.archive.newest_envelope import Elsewhere, Newest
from strongroom.targets import Target


def find_newer_envelope(
    target: Target, manifest: Manifest, installation: InstallationPlace, *, trusted: frozenset[str]
) -> Stale | None:
    """Return what is wrong if another target, or this installation's record, knows a newer generation.

    What is away, or where there is no record, tells nothing.
    """
    known = _newest_known(target, manifest, installation, trusted)
    newest = Newest(target, trusted=trusted, known=known)
    for key in wrapping_keys(manifest):
        try:
            newest.of(key)
        except Stale as error:
            hint = (
                f"'strongroom backups repair {manifest.backup_id}' brings the newest one here. Until then "
                "restore "
                "from another target. If no rotation is under way, ask who put the older one back."
            )
            return Stale(error.message, hint=hint)
    return None


def _newest_known(
    target: Target, manifest: Manifest, installation: InstallationPlace, trusted: frozenset[str]
) -> Callable[[str], int]:
    elsewhere = Elsewhere(list(_other_targets(target, installation)), trusted=trusted)
    recorded = _generations_on_record(manifest, installation)
    return lambda key: max(elsewhere(key), recorded.get(key, 0))


def _other_targets(target: Target, installation: InstallationPlace) -> Iterator[Target]:
    for name in installation.section("targets") or backup_argument.DEFAULTS:
        if name != target.name:
            with suppress(StrongroomError):
                yield backup_argument.target_of(name, installation)


def _generations_on_record(manifest: Manifest, installation: InstallationPlace) -> Mapping[str, int]:
    """Return the generations that rotations of this installation reached, by wrapping key."""
    try:
        if (store := shred_guard.find_run_store(installation)) is None:
            return {}
        from strongroom.operations.rotation.outcome import generations

        return generations(store, policy=manifest.policy, backup=manifest.backup_id)
    except StrongroomError:
        return {}
