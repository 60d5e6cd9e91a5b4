"""A change that was checked, and which ids and labels it comes to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from msgspec import Struct

from strongroom.model import Secret, SecretVersion
from strongroom.sources.aws.described import Described
from strongroom.sources.aws.secrets import AwsFacts, facts_of, live
from strongroom.sources.aws.versions import CURRENT, PREVIOUS, own_id

LABEL = "strongroom-restoring"
"""What a version is labelled with while it has no other label: the service wants one."""


class PlannedWrite(Struct, frozen=True, kw_only=True):
    """A change that was checked. ``found`` is the secret as it is; ``ours``, half written by us."""

    secret: Secret
    facts: AwsFacts | None
    found: Described | None
    head: tuple[int, str] = (0, "")
    ours: bool = False


def ids_of(planned: PlannedWrite, versions: Sequence[SecretVersion]) -> dict[int, str]:
    """Return each version's id by number: its own where it has one."""
    kept = planned.facts.versions if planned.facts else {}
    return {
        version.number: kept[str(version.number)].id
        if str(version.number) in kept
        else own_id(planned.secret.name, version.number, version.media)
        for version in versions
    }


def labels_of(
    planned: PlannedWrite, versions: Sequence[SecretVersion], ids: Mapping[int, str]
) -> dict[str, str]:
    """Return which version every label belongs on; of a secret from elsewhere, the newest two have one."""
    if not versions:
        return {}
    kept = planned.facts.versions if planned.facts else {}
    labels = {
        stage: version.id
        for version in kept.values()
        for stage in version.stages
        if version.id in ids.values()
    }
    if planned.facts is None and len(versions) > 1:
        labels[PREVIOUS] = ids[versions[-2].number]
    return {stage: id_ for stage, id_ in labels.items() if stage != LABEL} | {
        CURRENT: ids[versions[-1].number]
    }


def fingerprint_of(secret: Secret) -> str:
    """Return what tells this restore's unfinished secret from any other: ids, and nothing of values."""
    planned = PlannedWrite(secret=secret, facts=facts_of(secret), found=None)
    ids = ids_of(planned, live(secret))
    return hashlib.sha256("\0".join((secret.name, *ids.values())).encode()).hexdigest()[:32]
