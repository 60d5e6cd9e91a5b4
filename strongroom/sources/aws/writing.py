"""Writes secrets back, after everything that can be was checked, and counts what could not be reproduced."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from secrets import token_hex
from typing import Any

from msgspec import Struct

from strongroom.errors import SourceError
from strongroom.model import Media, Secret, SecretVersion
from strongroom.sources import Refuse, SecretChange
from strongroom.sources.aws.client import Api, AwsExists, AwsInvalid, AwsLosses, AwsOptions
from strongroom.sources.aws.reading import AwsReader, valid_name
from strongroom.sources.aws.secrets import (
    CURRENT,
    MARK,
    PENDING,
    PREVIOUS,
    RESERVED,
    Attributes,
    AwsFacts,
    Described,
    Turning,
    description_of,
    facts_of,
    head_of,
    listed,
    live,
    own_id,
    own_rotation,
    region_of,
    tags_for,
)
from strongroom.sources.batches import Refusing, check_expected, check_writable, on_top
from strongroom.system.errors import Conflict
from strongroom.words import plural

# -- A change that was checked, and which ids and labels it comes to ----------------------------


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


# -- What Secrets Manager can hold, and where it is not to be written: asked before anything is ---


LARGEST = 65_536
"""Bytes of a value."""
_HINT_NAME = "It takes ASCII letters, digits and /_+=.@- (at most 512). Nothing of this batch was written."
_HINT_EXCLUDE = "Nothing of this batch was written. Exclude the secret, or restore it elsewhere."


def check(secret: Secret) -> None:
    """Refuse what the service cannot hold as it is."""
    check_writable(secret)
    name, versions = secret.name, live(secret)
    if not valid_name(name):
        raise SourceError(f"{name!r} cannot be the name of a secret of Secrets Manager", hint=_HINT_NAME)
    if not versions and facts_of(secret) is None:
        raise SourceError(f"secret '{name}' has no version with a value to write", hint=_HINT_EXCLUDE)
    if versions and versions[-1] is not secret.current:
        raise SourceError(
            f"the newest version of secret '{name}' is deleted, which Secrets Manager cannot express: "
            "an older one would come to life",
            hint=_HINT_EXCLUDE,
        )
    for version in versions:
        if problem := _problem(version):
            raise SourceError(f"version {version.number} of secret '{name}' {problem}", hint=_HINT_EXCLUDE)


def _problem(version: SecretVersion) -> str:
    value = plain(version)
    if not 1 <= len(value) <= LARGEST:
        return f"has {plural(len(value), 'byte')}; Secrets Manager holds 1 to {LARGEST:,}"
    if version.media is not Media.BINARY and not _is_text(value):
        return "is called text and is not UTF-8"
    return ""


def check_place(secret: Secret, found: Described, region: str) -> None:
    """Refuse to write where it would do harm, or not be taken."""
    if found.primary_region not in (None, region):
        raise SourceError(
            f"secret '{secret.name}' is a replica here: only its primary can be written",
            hint=f"Restore it into region {found.primary_region}.",
        )
    if not live(secret) and found.stages and not found.deleted:
        raise SourceError(
            f"secret '{secret.name}' is in use, and the backup holds no value of it: "
            "it was scheduled for deletion when the backup was made",
            hint="Nothing of this batch was written. Exclude it, then repeat.",
        )


def check_key(name: str, facts: AwsFacts | None, options: AwsOptions) -> None:
    """Refuse a new secret under a key of another region: the service takes its own region's only."""
    key = facts.kms_key_id if facts and not options.kms_key_id else None
    region = region_of(key) if key else None
    if region in (None, options.region):
        return
    raise SourceError(
        f"secret '{name}' is sealed under a key of region {region}, which {options.region} cannot use",
        hint="Nothing of this batch was written. Name a key for what is restored: kms_key_id in the source's "
        "settings.",
    )


def given(version: SecretVersion) -> dict[str, object]:
    """Return a value as a request takes it."""
    value = plain(version)
    return {"SecretBinary": value} if version.media is Media.BINARY else {"SecretString": value.decode()}


def plain(version: SecretVersion) -> bytes:
    """Return the bytes of a version that has a value."""
    assert version.value is not None  # only live versions are written
    return version.value.reveal()


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


# -- Writes secrets back ------------------------------------------------------------------------
#
# One that is absent comes back exactly: ids, labels, order. What CreateSecret makes whole takes that one
# request. Any other carries a mark until it is whole, so a restore that died goes on where it stopped
# instead of putting a second history on top of half a one; until then it belongs to the restore, which does
# not look out for other writers.
#
# One that exists keeps its history. New versions come under a label of our own; then AWSCURRENT is
# taken from the version that the writer saw, by name: the service refuses if it is another by now.
# That step is the check-and-set, and it is atomic. What the API cannot make atomic is the rest:
# between several secrets, and for tags, description and other labels, the last writer wins.


REMEMBERED = 10_000
"""Names of which it is remembered what a look found, until the write, and what the write made, until that is
read back."""


class Writer:
    """Writes to one region."""

    def __init__(self, api: Api, reader: AwsReader, losses: AwsLosses) -> None:
        self._api = api
        self._reader = reader
        self._losses = losses
        self._attributes = Attributes(api, losses)
        self._seen: dict[str, str | None] = {}
        self._made: dict[str, str] = {}

    def made_whole(self, name: str) -> str:
        """Return, once, the id of the only version of a secret that one request made; empty for others."""
        return self._made.pop(name, "")

    def heads(self, names: Sequence[str]) -> dict[str, int]:
        """Return current version numbers, and remember the ids behind them for the next write."""
        found = dict(zip(names, self._api.each(self._head, names), strict=True))
        if len(self._seen) > REMEMBERED:
            self._seen.clear()
        self._seen |= {name: None if head is None else head[1] for name, head in found.items()}
        return {name: head[0] for name, head in found.items() if head is not None}

    def write(self, changes: Sequence[SecretChange], refuse: Refuse | None) -> int:
        """Write changes of distinct names: all are checked before the first is written."""

        def plan(change: SecretChange) -> PlannedWrite | None:
            with Refusing(change.secret.name, refuse):
                return self._plan(change)
            return None

        def apply(planned: PlannedWrite) -> int:
            with Refusing(planned.secret.name, refuse):
                for loss in losses_of(planned.secret):
                    self._losses.add(loss, planned.secret.name)
                if planned.found is None or planned.ours:
                    self._restore_exactly(planned)
                else:
                    self._put_on_top(planned, planned.found)
                self._seen.pop(planned.secret.name, None)
                return 1
            return 0

        return sum(self._api.each(apply, filter(None, self._api.each(plan, changes))))

    def rearm(self, secrets: Iterable[Secret]) -> None:
        """Switch rotation on again where it was on."""
        found = ((secret.name, facts_of(secret)) for secret in secrets)
        turned = [(name, facts.turning) for name, facts in found if facts and facts.turning]
        self._api.each(self._rearm, [(name, how) for name, how in turned if how.enabled])

    def _rearm(self, turned: tuple[str, Turning]) -> None:
        name, how = turned
        described = self._reader.describe(name)
        if described is not None and not described.deleted and described.turning != how:
            self._attributes.rearm(name, how)

    def _head(self, name: str) -> tuple[int, str] | None:
        found = self._reader.head(name)
        return head_of(found[1]) if found is not None else None

    # -- checking ----------------------------------------------------------------

    def _plan(self, change: SecretChange) -> PlannedWrite:
        secret, facts = change.secret, facts_of(change.secret)
        check(secret)
        # What was looked for in vain is not looked for again: CreateSecret refuses what is there by now.
        absent = change.expected is None and self._seen.get(secret.name, "") is None
        there = None if absent else self._reader.head(secret.name)
        if there is None:
            check_expected(change, None)
            check_key(secret.name, facts, self._api.options)
            return PlannedWrite(secret=secret, facts=facts, found=None)
        described, versions = there
        head = head_of(versions)
        ours = described.tags.get(MARK) == fingerprint_of(secret) and self._agrees(secret, facts)
        if not (ours and change.expected is None):
            check_expected(change, head[0])
        if (self._seen.get(secret.name) or head[1]) != head[1]:
            raise Conflict(f"secret {secret.name!r} has another current version than the writer saw")
        check_place(secret, described, self._api.options.region)
        return PlannedWrite(secret=secret, facts=facts, found=described, head=head, ours=ours)

    def _agrees(self, secret: Secret, facts: AwsFacts | None) -> bool:
        """Say whether what an unfinished restore left is the beginning of just this secret.

        Two backups of one secret from elsewhere give the same ids to other values.
        """
        there = self._reader.read([secret.name])[0]
        aws_facts = facts_of(there) if there else None
        if there is None or aws_facts is None:
            return True
        values = {aws_facts.versions[str(version.number)].id: version.value for version in live(there)}
        ids = ids_of(PlannedWrite(secret=secret, facts=facts, found=None), live(secret))
        return all(values.get(ids[v.number], v.value) == v.value for v in live(secret))

    # -- writing -------------------------------------------------------------------

    def _restore_exactly(self, planned: PlannedWrite) -> None:
        secret, versions = planned.secret, live(planned.secret)
        ids = ids_of(planned, versions)
        here = set(list(ids.values())[:1])
        if planned.found is None:
            labels = labels_of(planned, versions, ids)
            whole = _is_one_request(planned) and [*labels] == [CURRENT]
            if self._create(planned, ids, whole=whole) and whole:
                if len(self._made) > REMEMBERED:
                    self._made.clear()
                self._made[secret.name] = labels[CURRENT]
                return
        else:
            here = self._take_up(planned.found, wanted=bool(versions))
        for version in versions:
            if ids[version.number] not in here:
                last = version is versions[-1]
                self._put(secret.name, ids[version.number], version, CURRENT if last else LABEL)
        self._label(secret.name, labels_of(planned, versions, ids), drop={PREVIOUS, LABEL})
        self._attributes.finish(secret, planned.facts, mark=MARK)

    def _take_up(self, found: Described, *, wanted: bool) -> set[str]:
        """Return the ids that an unfinished restore of ours has written."""
        if found.deleted and wanted:
            self._undelete(found)
        there = self._reader.head(found.name)
        return {version.id for version in there[1]} if there else set()

    def _undelete(self, found: Described) -> None:
        doing = f"take back the deletion of secret '{found.name}'"
        self._api.ask("restore_secret", doing, SecretId=found.arn)

    def _create(self, planned: PlannedWrite, ids: Mapping[int, str], *, whole: bool) -> bool:
        """Create a secret; say whether just this request did. One that is ``whole`` by it needs no mark."""
        secret, versions = planned.secret, live(planned.secret)
        mark = {} if whole else {MARK: fingerprint_of(secret)}
        first = given(versions[0]) if versions else {}
        parameters: dict[str, Any] = {
            "Name": secret.name,
            "ClientRequestToken": ids[versions[0].number] if versions else fingerprint_of(secret),
            **first,
        }
        if tags := self._tags(secret, planned.facts) | mark:
            parameters["Tags"] = listed(tags)
        if description := description_of(secret):
            parameters["Description"] = description
        if key := self._api.options.kms_key_id or (planned.facts and planned.facts.kms_key_id):
            parameters["KmsKeyId"] = key
        try:
            self._api.ask("create_secret", f"create secret '{secret.name}'", **parameters)
        except AwsExists:
            # The reply of a create that was repeated may be lost; anybody else's secret has no such mark, or
            # not this very version.
            described = self._reader.describe(secret.name)
            if described is not None:
                if described.tags.get(MARK) == fingerprint_of(secret):
                    return False
                if whole and {*described.stages} == {*ids.values()} and self._agrees(secret, planned.facts):
                    return False
            raise Conflict(f"secret {secret.name!r} was created meanwhile") from None

        return True

    def _put_on_top(self, planned: PlannedWrite, found: Described) -> None:
        secret, (number, head) = planned.secret, planned.head
        if not live(secret):
            self._attributes.finish(secret, planned.facts, mark=MARK)
            return
        if found.deleted:
            self._undelete(found)
        versions = on_top(live(secret), number)
        salt = token_hex()  # an earlier attempt's ids may hold another backup's values
        ids = [own_id(secret.name, v.number, v.media, salt=salt) for v in versions]
        for id_, version in zip(ids, versions, strict=True):
            self._put(secret.name, id_, version, LABEL)
        # Where there was no version at all, the first one that came is current by itself.
        self._make_current(secret.name, head or ids[0], ids[-1])
        self._label(secret.name, self._custom(planned, ids), drop={LABEL})
        self._attributes.replace(secret, planned.facts, found, self._tags(secret, planned.facts))

    def _custom(self, planned: PlannedWrite, ids: Sequence[str]) -> dict[str, str]:
        """Return the labels of the team's own making. Those of a rotation under way are out of date,
        and AWSPREVIOUS is the way back to what was just replaced."""
        kept = planned.facts.versions if planned.facts else {}
        numbers = [str(version.number) for version in live(planned.secret)]
        labels = {
            stage: id_
            for number, id_ in zip(numbers, ids, strict=True)
            for stage in (kept[number].stages if number in kept else ())
        }
        if PENDING in labels:
            self._losses.add(
                "the label AWSPENDING was not put back beside a newer history", planned.secret.name
            )
        return {
            stage: id_ for stage, id_ in labels.items() if stage not in (CURRENT, PREVIOUS, PENDING, LABEL)
        }

    def _put(self, name: str, id_: str, version: SecretVersion, stage: str) -> None:
        """Put a version; doing it twice is the same as once, since the id is a token."""
        try:
            self._api.ask(
                "put_secret_value",
                f"write a version of secret '{name}'",
                SecretId=name,
                ClientRequestToken=id_,
                VersionStages=[stage],
                **given(version),
            )
        except AwsExists:
            raise Conflict(f"secret {name!r} has a version of the same id and another value") from None

    def _make_current(self, name: str, old: str, new: str) -> None:
        """Take AWSCURRENT from one version to another: fails if it is not where the writer saw it."""
        if old == new:
            return
        try:
            self._move(name, CURRENT, old, new)
        except AwsInvalid:
            self._label(name, {}, drop={LABEL})
            raise Conflict(
                f"secret {name!r} got another current version meanwhile",
                hint="What was written beside it has no label and is not current. Look at it, then repeat.",
            ) from None

    def _label(self, name: str, wanted: Mapping[str, str], *, drop: set[str]) -> None:
        """Put labels where they belong; drop those that belong nowhere. AWSCURRENT goes first, since
        it takes AWSPREVIOUS along."""
        labelled = self._labelled(name)
        current = wanted.get(CURRENT)
        if current is not None and labelled.holder(CURRENT) != current:
            self._move(name, CURRENT, labelled.holder(CURRENT), current)
            labelled = self._labelled(name)
        for stage, id_ in wanted.items():
            if labelled.holder(stage) != id_:
                self._move(name, stage, labelled.holder(stage), id_)
        for stage in drop - wanted.keys():
            if (holder := labelled.holder(stage)) is not None:
                self._move(name, stage, holder, None)

    def _labelled(self, name: str) -> Described:
        described = self._reader.describe(name)
        if described is None:
            raise SourceError(f"secret '{name}' vanished while it was being written")
        return described

    def _move(self, name: str, stage: str, old: str | None, new: str | None) -> None:
        """Move a label from one version to another; refused if it is not on the first one."""
        places = {"RemoveFromVersionId": old, "MoveToVersionId": new}
        those = {place: id_ for place, id_ in places.items() if id_ is not None}
        doing = f"move label '{stage}' of secret '{name}'"
        try:
            self._api.ask("update_secret_version_stage", doing, SecretId=name, VersionStage=stage, **those)
        except AwsInvalid:
            if self._labelled(name).holder(stage) != new:
                raise
            # It was done, and the reply was lost.

    def _tags(self, secret: Secret, facts: AwsFacts | None) -> dict[str, str]:
        return tags_for(secret, rotation=own_rotation(secret, facts))


def _is_one_request(planned: PlannedWrite) -> bool:
    """Say whether CreateSecret takes all that there is of a new secret."""
    facts = planned.facts
    more = facts is not None and (facts.policy or facts.replicas or facts.turning or facts.deleted)
    return len(live(planned.secret)) == 1 and not more


def losses_of(secret: Secret) -> Iterator[str]:
    """Yield what of a secret has no place in the service."""
    facts = facts_of(secret)
    if any(key.startswith(RESERVED) for key in secret.tags):
        yield "tags that only AWS can set were left out"
    if set(secret.metadata) - {"aws", "description"}:
        yield "metadata that Secrets Manager has no place for was left out"
    if any(version.value is None and version.number for version in secret.versions):
        yield "versions without a value in the backup were not made"
    if facts is not None and live(secret) and not facts.has_current:
        yield "no version was AWSCURRENT; the newest one is now"
    if facts is not None and facts.is_replica:
        yield "replicas of another region's secret became secrets of their own"
    if facts is not None and facts.owner:
        yield "secrets that an AWS service manages are now managed by nobody"


def is_ours(wanted: Secret, found: Secret) -> bool:
    """Return whether ``found`` still has the mark of a restore of just ``wanted``."""
    facts = facts_of(found)
    return facts is not None and facts.restoring is not None and facts.restoring == fingerprint_of(wanted)
