"""sweep: remove what a run left, and only that.

Rows can be edited, so no row says that a run made no backup: its targets do. Nothing is removed anywhere
until every target of the run has answered. What a manifest on any of them names is kept, whatever the
policy's quorum, and whether its signer is still trusted. Manifests themselves are never removed here; one
that a commit placed before it was cut off goes into the catalog (:mod:`.interrupted_commit`).

A manifest that nobody known here signed, or that cannot be read, may be that of a good backup whose key was
lost, or a stranger's junk. It keeps all that the run has on *its own* target, and is told of. So junk cannot
have a backup removed, nor can it keep leftovers anywhere but where its writer could fill the target anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from msgspec import Struct

from strongroom.container.errors import FormatError
from strongroom.container.manifest import Manifest, parse_manifest
from strongroom.container.signing import ever_trusted
from strongroom.errors import StrongroomError, TargetError
from strongroom.model import COMMAND
from strongroom.operations.archive.open import manifest_bytes
from strongroom.operations.backup import interrupted_commit
from strongroom.operations.backup.facts import has_manifest
from strongroom.operations.layout import container_name, containers_prefix, manifest_name
from strongroom.operations.runs.stage import sweep_stage
from strongroom.operations.services import Services
from strongroom.state.records import Run
from strongroom.targets import Target
from strongroom.targets.repaired import copies, original_name


class ManifestCopies(Struct, frozen=True, kw_only=True):
    """What a target shows of a run's manifest. ``names`` are those of its copies; ``unclear`` says why
    none of them can be believed, ``away`` why the target could not be asked."""

    names: Sequence[str] = ()
    manifest: Manifest | None = None
    unclear: str | None = None
    away: str | None = None


def sweep_targets(run: Run, services: Services) -> dict[str, str]:
    """Remove what a backup's run left on its targets; say which still hold some of it, or may, and why."""
    looks = {name: _find_manifest(name, run, services) for name in targets_of(run, services)}
    for name, look in looks.items():
        if look.away is None:  # what is not whole yet belongs to no backup
            _reason_if_failed(partial(services.target(name).abort_incomplete, containers_prefix(run.id)))
    signed = {name: look.manifest for name, look in looks.items() if look.manifest}
    interrupted_commit.enter_backup(run, signed, services)
    if away := {name: look.away for name, look in looks.items() if look.away is not None}:
        return away
    if has_manifest(run) and not signed:
        return dict.fromkeys(looks, "the run made a backup, and no target shows its manifest")
    keep = frozenset(_named_containers(run.id, signed.values()))
    left = {name: _sweep_target(services.target(name), run.id, look, keep) for name, look in looks.items()}
    return {name: why for name, why in left.items() if why is not None}


def targets_of(run: Run, services: Services) -> list[str]:
    """Return the targets of a run: those of its row, and all that its policy has here.

    A row could leave out the very target that shows that there is a backup. A target that is configured no
    more is not asked: nothing could be removed from it either.
    """
    named = [pin.name for pin in run.spec.targets if pin.name in services.targets]
    return list(dict.fromkeys((*named, *_policy_targets(run, services))))


def _policy_targets(run: Run, services: Services) -> Iterable[str]:
    try:
        return [pin.name for pin in services.pinned(run.spec.policy).spec.targets]
    except (
        StrongroomError
    ):  # who cannot tell looks everywhere; a command's file is known to its process alone
        return () if run.spec.policy == COMMAND else services.targets


EARLIER = 100
"""Earlier runs that one report sweeps after, chosen by lot. While a target is dead, each backup adds one.
Each costs requests to the targets that answer, and a report must end."""


def sweep_earlier(run: Run, services: Services) -> list[str]:
    """Sweep again after earlier runs of this policy; return those that leave nothing any more.

    They had to leave something because it was locked, or because a target did not answer.
    """
    clean: list[str] = []
    for earlier in services.store.leaving(run.spec.policy, limit=EARLIER):
        if not sweep_targets(earlier, services) and sweep_stage(earlier, services):
            services.store.swept(earlier.id)
            clean.append(earlier.id)
    return clean


def _find_manifest(place: str, run: Run, services: Services) -> ManifestCopies:
    """Find a run's manifest on one target."""
    # One whose signer is distrusted by now still keeps what it names: doubt removes nothing.
    trusted = ever_trusted(services.signer_fingerprints)
    names: Sequence[str] = ()
    try:
        names = copies(services.target(place), manifest_name(run.id))
        if not names:
            return ManifestCopies()
        content = manifest_bytes(services.target(place), run.id, trusted=trusted)
        return ManifestCopies(names=names, manifest=parse_manifest(content, trusted=trusted))
    except FormatError as error:
        return ManifestCopies(names=names, unclear=error.message)
    except StrongroomError as error:
        return ManifestCopies(away=error.message)


def _named_containers(backup: str, manifests: Iterable[Manifest]) -> Iterable[str]:
    return (container_name(backup, entry.sha256) for manifest in manifests for entry in manifest.containers)


def _sweep_target(target: Target, backup: str, look: ManifestCopies, keep: frozenset[str]) -> str | None:
    """Remove from one target what no manifest names; return why something stays, if it does."""
    if look.unclear is not None:
        return f"a manifest that cannot be believed keeps it: {look.unclear}"
    return _reason_if_failed(partial(_remove, target, backup, look, keep))


def _remove(target: Target, backup: str, look: ManifestCopies, keep: frozenset[str]) -> None:
    """Remove a run's containers that no manifest names.

    Before each it is asked again whether the target shows the same manifests: a worker that was taken for
    dead may have been about to write one.
    """
    for name in [info.name for info in target.list(containers_prefix(backup))]:
        if original_name(name) not in keep:
            if list(copies(target, manifest_name(backup))) != list(look.names):
                raise TargetError(
                    f"target '{target.name}' has another manifest of {backup} than a moment ago"
                )
            target.delete(name)


def _reason_if_failed(work: Callable[[], object]) -> str | None:
    try:
        work()
    except StrongroomError as error:
        return error.message
    return None
