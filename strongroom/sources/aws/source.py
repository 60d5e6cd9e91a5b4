"""Secrets Manager as a :class:`~strongroom.sources.Destination`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from secrets import token_hex
from typing import Any, Final

from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Secret, SecretVersion
from strongroom.sources import Destination, Foreseen, Refuse, SecretChange
from strongroom.sources.aws import secrets
from strongroom.sources.aws.client import (
    LONGEST_WINDOW,
    Api,
    AwsDenied,
    AwsExists,
    AwsInvalid,
    AwsLosses,
    AwsMissing,
    AwsOptions,
)
from strongroom.sources.aws.reading import BATCH as READ_AT_ONCE
from strongroom.sources.aws.reading import AwsReader
from strongroom.sources.aws.secrets import (
    CURRENT,
    MARK,
    PENDING,
    Described,
    facts_of,
    meaning_of,
    own_id,
    tags_of,
)
from strongroom.sources.aws.writing import LARGEST, Writer, check, given, is_ours, losses_of
from strongroom.sources.batches import batched_secrets
from strongroom.sources.errors import SecretNotFound
from strongroom.system.attempts import backoff
from strongroom.system.errors import Conflict
from strongroom.system.lazy import batched
from strongroom.vault.rights import PathRights

# -- How long a restore takes at the least: the service's own quotas decide ---------------------
#
# Requests a second for one account and region, none of which AWS raises
# (docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html, November 2026).


READING = 10_000
"""DescribeSecret and GetSecretValue together."""
BATCHES = 100
WRITING = 50
"""Each of: CreateSecret; PutSecretValue with UpdateSecretVersionStage and UpdateSecret; TagResource
with UntagResource; the resource policies; ListSecretVersionIds."""
BATCH = 20
"""Secrets of one BatchGetSecretValue."""


def restore_seconds(count: int, versions: int, *, requests_per_second: float | None = None) -> float:
    """Return the seconds that it takes to restore ``count`` secrets of ``versions`` versions in all
    into an empty region: heads, check, write and read back.

    Args:
        requests_per_second: our own limit, which counts all requests together.
    """
    further = max(0, versions - count)
    in_steps = min(count, further)  # those of one version, without more to them, take one write
    groups = (
        (count, WRITING),  # CreateSecret
        (further, WRITING),  # PutSecretValue; labels fall into place, but for those of a team's own
        (in_steps, WRITING),  # UntagResource: the mark of an unfinished restore
        (in_steps, WRITING),  # the policies that are read back; those that are put come on top
        (in_steps, WRITING),  # ListSecretVersionIds, to read back
        (2 * count + in_steps + further, READING),  # DescribeSecret, and each older version read back
        (-(-count // BATCH), BATCHES),
    )
    least = max(requests / rate for requests, rate in groups)
    if requests_per_second is None:
        return least
    return max(least, sum(requests for requests, _ in groups) / requests_per_second)


# -- What a credential may do, beside what a backup or a restore needs: tried out, where there is no secret
#
# AWS decides on a right before it looks for the secret, and moto's server too. So who may change a secret is
# told that there is none of that name, and who may not is refused: nothing is ever changed. The name
# lies beside that of a real secret, since policies reach names by their beginnings. What a policy
# allows elsewhere is not shown, and the trail of the account will have these requests in it.


_NOBODY = '{"Version": "2012-10-17", "Statement": []}'
_READS: dict[str, dict[str, Any]] = {
    "describe_secret": {},
    "list_secret_version_ids": {"IncludeDeprecated": True},
    "get_resource_policy": {},
    "get_secret_value": {},
}
_WRITES: dict[str, dict[str, Any]] = {
    "put_secret_value": {"SecretString": "probe"},
    "update_secret": {"Description": "probe"},
    "update_secret_version_stage": {"VersionStage": "probe"},
    "tag_resource": {"Tags": [{"Key": "probe", "Value": "probe"}]},
    "untag_resource": {"TagKeys": ["probe"]},
    "put_resource_policy": {"ResourcePolicy": _NOBODY},
    "delete_resource_policy": {},
    "rotate_secret": {"RotateImmediately": False},
    "cancel_rotate_secret": {},
    "replicate_secret_to_regions": {"AddReplicaRegions": [{"Region": "us-east-1"}]},
    "remove_regions_from_replication": {"RemoveReplicaRegions": ["us-east-1"]},
    "restore_secret": {},
    "delete_secret": {"RecoveryWindowInDays": LONGEST_WINDOW},
}


_RESTORING = frozenset(_WRITES) - {
    "cancel_rotate_secret",
    "remove_regions_from_replication",
    "rotate_secret",
}
"""What a restore writes with. Switching rotation on again is a setting, and a right, of its own, and rotators
of kind aws need the same right."""


def rights(api: Api, name: str | None, *, writing: bool = False) -> tuple[PathRights, ...]:
    """Compare what the credential may do with what a backup needs.

    Args:
        writing: whether what a restore needs, beside that, is no excess but has to be there.
        name: a secret that is there: read, and its value dropped. ``None`` if there is none, and
            then nothing is known of the rights to read.

    Raises:
        SourceError: the service was not to be asked.
    """
    asking = _Asking(api)
    folder = name.rpartition("/")[0] + "/" if name and "/" in name else ""
    absent = f"{folder}strongroom-probe-{token_hex(16)}"
    wanted = _RESTORING | {"create_secret"} if writing else frozenset[str]()
    wanted |= {"rotate_secret"} if api.options.rotates else frozenset()
    lacking = [
        operation
        for operation, words in _READS.items()
        if name and not asking.may(operation, SecretId=name, **words)
    ]
    may = {operation: asking.may(operation, SecretId=absent, **words) for operation, words in _WRITES.items()}
    if name:
        may["create_secret"] = asking.may("create_secret", Name=name)  # refused, since it is there
    lacking += [operation for operation, allowed in may.items() if operation in wanted and not allowed]
    excess = [operation for operation, allowed in may.items() if allowed and operation not in wanted]
    return (asking.of_account(name or absent), _right(f"secrets like {folder}*", lacking, excess))


class _Asking:
    def __init__(self, api: Api) -> None:
        self._api = api

    def may(self, operation: str, **words: object) -> bool:
        """Say whether the credential has a right. Other refusals than for want of it come after that."""
        try:
            self._api.ask(operation, f"find out about the right to {action(operation)}", **words)
        except AwsDenied:
            return False
        except (AwsMissing, AwsExists, AwsInvalid):
            return True
        return True

    def of_account(self, name: str) -> PathRights:
        """Ask for the two rights that AWS gives on all secrets or none."""
        needed: Mapping[str, dict[str, Any]] = {
            "list_secrets": {"MaxResults": 1},
            "batch_get_secret_value": {"SecretIdList": [name]},
        }
        return _right(
            "all secrets", [right for right, words in needed.items() if not self.may(right, **words)], []
        )


def _right(path: str, missing: list[str], excess: list[str]) -> PathRights:
    return PathRights(path, tuple(map(action, missing)), tuple(sorted(map(action, excess))))


def action(operation: str) -> str:
    """Return an operation's name as policies spell it."""
    return "".join(word.capitalize() for word in operation.split("_"))


# -- Has the service rotate a secret by the secret's own function, and waits for the end --------
#
# The token is the id of the new version. So one that the service knows already was asked for before, and is
# waited for. The function puts the label AWSPENDING on that version while it works, and AWSCURRENT at its
# end.


LONGEST_PAUSE: Final = 5.0
_FUNCTION: Final = "Look at the log of its rotation function, and at the function's rights."


def rotate(api: Api, reader: AwsReader, name: str, *, token: str, timeout: float) -> None:
    """Rotate a secret under a token, or wait for the rotation that has this token already.

    Raises:
        SourceError: the secret has no function, another rotation is under way, or it did not end in time.
    """
    if not _is_known(_described(reader, name), token):
        try:
            api.ask("rotate_secret", f"rotate secret '{name}'", SecretId=name, ClientRequestToken=token)
        except AwsInvalid:
            # A reply that was lost: the second request meets the rotation that the first one began.
            if not _is_known(described := _described(reader, name), token):
                raise _refused(described) from None
    ends, tried = time.monotonic() + timeout, 0
    while not _is_over(_described(reader, name), token):
        tried += 1
        pause = backoff(tried, first=0.1, longest=LONGEST_PAUSE)
        if time.monotonic() + pause > ends:
            raise SourceError(
                f"the rotation of secret '{name}' did not end within {timeout:g} s: the new version is not "
                "current yet",
                hint=f"The former value is current. {_FUNCTION} AWS tries it again by itself.",
            )
        time.sleep(pause)  # the service announces nothing


def _described(reader: AwsReader, name: str) -> Described:
    described = reader.describe(name)
    if described is None:
        raise SecretNotFound(f"Secrets Manager has no secret '{name}'")
    return described


def _is_known(described: Described, token: str) -> bool:
    return token in described.stages


def _is_over(described: Described, token: str) -> bool:
    return CURRENT in described.stages.get(token, ()) and described.holder(PENDING) in (None, token)


def _refused(described: Described) -> SourceError:
    if described.holder(PENDING) not in (None, described.holder(CURRENT)):
        return SourceError(
            f"another rotation of secret '{described.name}' has not ended: a version has the label {PENDING}",
            hint=f"{_FUNCTION} When it has ended, rotate this secret again.",
        )
    return SourceError(
        f"secret '{described.name}' cannot be rotated by AWS: "
        "it has no rotation function, or is to be deleted",
        hint="Set up its rotation at AWS, or use another kind of rotator. Nothing was changed.",
    )


# -- A new version beside the current one, under AWSPENDING, until it is made current: as AWS's rotations do
#
# So users read the former value until whatever checks it has taken the new one. AWSCURRENT is taken from the
# version that was read, by name: the service refuses if it is on another by now.


def staged(secret: Secret) -> SecretVersion | None:
    """Return the version that has the label, if that is not the current one."""
    number = _number(secret, PENDING)
    if number is None or number == _number(secret, CURRENT):
        return None
    return next((version for version in secret.versions if version.number == number), None)


def stage(api: Api, secret: Secret, version: SecretVersion) -> None:
    """Put a version beside the current one. Raises Conflict if another rotation is under way."""
    if staged(secret) is not None:
        raise Conflict(
            f"another rotation of secret {secret.name!r} has not ended: a version has the label {PENDING}",
            hint="Wait for its end, or take the label off at AWS; then rotate this secret again.",
        )
    id_ = own_id(secret.name, version.number, version.media, salt=token_hex())
    api.ask(
        "put_secret_value",
        f"write a version of secret '{secret.name}'",
        SecretId=secret.name,
        ClientRequestToken=id_,
        VersionStages=[PENDING],
        **given(version),
    )


def promote(api: Api, secret: Secret) -> None:
    """Make what lies beside current, if the current one is still what was read. Raises Conflict."""
    new = _id(secret, PENDING)
    _move(api, secret, CURRENT, RemoveFromVersionId=_id(secret, CURRENT), MoveToVersionId=new)
    _move(api, secret, PENDING, RemoveFromVersionId=new)


def unstage(api: Api, secret: Secret) -> None:
    """Take the label off what lies beside: the service removes a version without a label in its time."""
    _move(api, secret, PENDING, RemoveFromVersionId=_id(secret, PENDING))


def _move(api: Api, secret: Secret, label: str, **versions: str) -> None:
    doing = f"move label '{label}' of secret '{secret.name}'"
    try:
        api.ask("update_secret_version_stage", doing, SecretId=secret.name, VersionStage=label, **versions)
    except AwsInvalid:
        raise Conflict(f"somebody else moved label {label} of secret {secret.name!r} meanwhile") from None


def _number(secret: Secret, label: str) -> int | None:
    facts = facts_of(secret)
    held = facts.versions.items() if facts else ()
    return next((int(number) for number, version in held if label in version.stages), None)


def _id(secret: Secret, label: str) -> str:
    facts, number = facts_of(secret), _number(secret, label)
    if facts is None or number is None:
        raise SourceError(f"no version of secret '{secret.name}' has the label {label}")
    return facts.versions[str(number)].id


# -- Secrets Manager as a :class:`~strongroom.sources.Destination` ------------------------------


PAGE = 100
Page = list[dict[str, Any]]


class AwsSource(Destination):
    """All secrets of one region of one account, those included that are scheduled for deletion.

    Args:
        name: what the source is called in digests and manifests.

    Raises, on use:
        SourceError: see :mod:`strongroom.sources.aws.client`; what may not be read is named.
        SourceChanged: a secret was written again and again while it was being read.
    """

    kind = "aws"
    written_at_once = 20
    rotates = True

    def __init__(self, options: AwsOptions, *, name: str) -> None:
        self.name = name
        self._api = Api(options, source=name)
        self._reader = AwsReader(self._api)
        self._losses = AwsLosses()
        self._writer = Writer(self._api, self._reader, self._losses)

    def __repr__(self) -> str:
        return f"AwsSource({self.name!r}, region={self._api.options.region!r})"

    @property
    def address(self) -> str:
        """Return the region, and its endpoint if it is not the public one."""
        options = self._api.options
        return f"{options.region} {options.endpoint_url or ''}".rstrip()

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        """Yield an entry for every secret. Its size is a bound: the service does not tell sizes."""
        before: set[str] = set()
        for page in self._pages():
            # What is created meanwhile may push a secret onto the next page as well.
            fresh = [item for item in page if item["ARN"] not in before]
            before = {item["ARN"] for item in page}
            for item in fresh:
                tags = tags_of(item.get("Tags") or ())
                versions = max(1, len(item.get("SecretVersionsToStages") or ()))
                yield ListedSecret(
                    item["Name"], versions * LARGEST, (), meaning_of(tags).rest if with_tags else None
                )

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        """Yield each secret, many requests in flight; memory holds what is in flight."""
        in_flight = self._api.options.in_flight
        size = max(1, min(READ_AT_ONCE, -(-len(entries) // in_flight)))
        names = [entry.name for entry in entries]
        running: deque[Future[list[Secret | None]]] = deque()
        try:
            for some in batched(names, size):
                running.append(self._api.threads.submit(self._reader.read, some))
                if len(running) == in_flight:
                    yield from running.popleft().result()
            while running:
                yield from running.popleft().result()
        finally:
            for future in running:
                future.cancel()

    def heads(self, names: Sequence[str]) -> dict[str, int]:
        return self._writer.heads(names)

    def write(self, changes: Iterable[SecretChange], *, refuse: Refuse | None = None) -> int:
        """Write each secret; see :mod:`strongroom.sources.aws.writing` for what is atomic.

        A batch is checked whole before anything of it is written.
        """
        batches = batched_secrets(changes, by=lambda change: change.secret)
        return sum(self._writer.write(batch, refuse) for batch in batches)

    def read_written(self, names: Sequence[str]) -> Iterator[Secret | None]:
        """Yield what is there of secrets that were just written: what each is, many at once, and their values
        together. Of one that a single request made, versions without a label and a policy are not looked for:
        nothing has made any."""
        whole = {name: self._writer.made_whole(name) for name in names}
        for some in batched(names, READ_AT_ONCE):
            looks = self._api.each(lambda name: self._reader.look(name, whole[name]), some)
            yield from self._reader.read(some, dict(zip(some, looks, strict=True)))

    def is_unfinished(self, wanted: Secret, found: Secret, *, tried: bool) -> bool:  # noqa: ARG002 - its mark tells
        return is_ours(wanted, found)

    def delete(self, names: Iterable[str]) -> int:
        """Schedule the deletion of secrets; return how many there were.

        They can be taken back for ``recovery_days``; if that is ``None``, they are gone at once.
        """
        return sum(self._delete(name) for name in set(names))

    def settle(self, secrets: Sequence[Secret]) -> None:
        """Switch on the rotation of secrets that are back, as it was, if the settings want that.

        The service calls the secret's function, to test it, and makes a version for that; so it
        comes after the compare. It is not told to rotate now.
        """
        if self._api.options.rearm_rotation:
            self._writer.rearm(secrets)

    def rotate(self, name: str, *, token: str, timeout: float) -> None:
        rotate(self._api, self._reader, name, token=token, timeout=timeout)

    def staged(self, secret: Secret) -> SecretVersion | None:
        return staged(secret)

    def stage(self, secret: Secret, version: SecretVersion) -> bool:
        """Put a version beside the current one; see :mod:`strongroom.sources.aws.source`."""
        stage(self._api, secret, version)
        return True

    def promote(self, secret: Secret) -> None:
        """Make current what lies beside the version that was read as the current one."""
        promote(self._api, secret)

    def unstage(self, secret: Secret) -> None:
        unstage(self._api, secret)

    def least_seconds(self, *, secrets: int, versions: int) -> float:
        """Return how long a restore of so many takes at the least: by the service's quotas and our rate."""
        limit = self._api.options.requests_per_second
        return restore_seconds(secrets, versions, requests_per_second=limit)

    def losses(self) -> tuple[str, ...]:
        return self._losses.lines()

    def not_contained(self) -> tuple[str, ...]:
        region = self._api.options.region
        return (
            f"Secrets Manager of other regions than {region}, and of other accounts",
            "values of secrets that are scheduled for deletion: the service gives them to nobody",
            "KMS keys, rotation functions (Lambda), and the IAM policies that let anybody use secrets",
        )

    def rights(self) -> tuple[PathRights, ...]:
        """Compare what the credential may do with what a backup needs; nothing is changed by it."""
        entry = next(iter(self.list()), None)
        return rights(self._api, entry.name if entry else None)

    def write_rights(
        self,
        secrets: Iterable[Secret] | None = None,  # noqa: ARG002
        *,
        removing: bool = False,  # noqa: ARG002 - a restore needs to delete, too
    ) -> tuple[PathRights, ...]:
        """Return what the credential lacks of what a restore needs: the same for all secrets, which the
        service does not tell apart before one is written. Nothing is changed by it."""
        entry = next(iter(self.list()), None)
        return rights(self._api, entry.name if entry else None, writing=True)

    def foresee(
        self,
        secrets: Sequence[Secret],
        *,
        made: Collection[str],  # noqa: ARG002 - nothing rests on anything here
    ) -> Iterator[Foreseen]:
        """Yield what writing each secret would come to. Asks nobody."""
        return map(self._foreseen, secrets)

    def _foreseen(self, secret: Secret) -> Foreseen:
        try:
            check(secret)
        except SourceError as error:
            return Foreseen(refusal=error.message)
        return Foreseen(loss="; ".join(losses_of(secret)))

    def unfinished(self) -> int:
        """Count the secrets that an interrupted restore left half-written."""
        marked = {"Filters": [{"Key": "tag-key", "Values": [MARK]}]}
        items = (item for page in self._pages(**marked) for item in page)
        return sum(MARK in tags_of(item.get("Tags") or ()) for item in items)

    def kept(self, secret: Secret) -> Secret:
        """Return what of a secret a restore brings back, to compare a backup's with what was read."""
        return secrets.kept(secret, policies=self._api.options.resource_policies)

    def _pages(self, **filters: object) -> Iterator[Page]:
        more: dict[str, str] = {}
        while True:
            answer = self._api.ask(
                "list_secrets",
                "list the secrets",
                IncludePlannedDeletion=True,
                MaxResults=PAGE,
                **filters,
                **more,
            )
            yield answer.get("SecretList") or []
            if not answer.get("NextToken"):
                return
            more = {"NextToken": answer["NextToken"]}

    def _delete(self, name: str) -> bool:
        described = self._reader.describe(name)
        days = self._api.options.recovery_days
        if described is None or (described.deleted and days is not None):
            return False
        how: dict[str, object] = {"ForceDeleteWithoutRecovery": True}
        if days is not None:
            how = {"RecoveryWindowInDays": days}
        try:
            self._api.ask("delete_secret", f"delete secret '{name}'", SecretId=described.arn, **how)
        except AwsMissing:
            return False
        return True
