"""Secrets Manager as a :class:`~strongroom.sources.Destination`."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Secret, SecretVersion
from strongroom.sources import Destination, Foreseen, Refuse, SecretChange
from strongroom.sources.aws import rotating, secrets, staging
from strongroom.sources.aws.checks import LARGEST, check
from strongroom.sources.aws.client import Api
from strongroom.sources.aws.convention import MARK, understood
from strongroom.sources.aws.described import tags_of
from strongroom.sources.aws.estimate import restore_seconds
from strongroom.sources.aws.failures import AwsMissing
from strongroom.sources.aws.losses import AwsLosses
from strongroom.sources.aws.options import AwsOptions
from strongroom.sources.aws.reading import BATCH, AwsReader
from strongroom.sources.aws.rights import rights
from strongroom.sources.aws.writing import Writer, is_ours, losses_of
from strongroom.sources.batches import batched_secrets
from strongroom.system.batches import batched
from strongroom.vault.rights import PathRights

PAGE = 100
Page = list[dict[str, Any]]


class AwsSource(Destination):
    """All secrets of one region of one account, those included that are scheduled for deletion.

    Args:
        name: what the source is called in digests and manifests.

    Raises, on use:
        SourceError: see :mod:`strongroom.sources.aws.failures`; what may not be read is named.
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
                yield _entry(item, with_tags=with_tags)

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        """Yield each secret, many requests in flight; memory holds what is in flight."""
        in_flight = self._api.options.in_flight
        size = max(1, min(BATCH, -(-len(entries) // in_flight)))
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
        """Return the current version number of each name that exists."""
        return self._writer.heads(names)

    def write(self, changes: Iterable[SecretChange], *, refuse: Refuse | None = None) -> int:
        """Write each secret; see :mod:`strongroom.sources.aws.writing` for what is atomic.

        A batch is checked whole before anything of it is written.
        """
        batches = batched_secrets(changes, by=lambda change: change.secret)
        return sum(self._writer.write(batch, refuse) for batch in batches)

    def is_unfinished(self, wanted: Secret, found: Secret, *, tried: bool) -> bool:  # noqa: ARG002 - its mark tells
        """Return whether a restore of just this secret was interrupted: it leaves a mark until it is done."""
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
        """Have the secret's own function give it a new value; see :mod:`strongroom.sources.aws.rotating`."""
        rotating.rotate(self._api, self._reader, name, token=token, timeout=timeout)

    def staged(self, secret: Secret) -> SecretVersion | None:
        """Return the version that a rotation has put beside the current one."""
        return staging.staged(secret)

    def stage(self, secret: Secret, version: SecretVersion) -> bool:
        """Put a version beside the current one; see :mod:`strongroom.sources.aws.staging`."""
        staging.stage(self._api, secret, version)
        return True

    def promote(self, secret: Secret) -> None:
        """Make current what lies beside the version that was read as the current one."""
        staging.promote(self._api, secret)

    def unstage(self, secret: Secret) -> None:
        """Give up what lies beside the current version."""
        staging.unstage(self._api, secret)

    def least_seconds(self, *, secrets: int, versions: int) -> float:
        """Return how long a restore of so many takes at the least: by the service's quotas and our rate."""
        limit = self._api.options.requests_per_second
        return restore_seconds(secrets, versions, requests_per_second=limit)

    def losses(self) -> tuple[str, ...]:
        """Return what the writes of this instance could not reproduce."""
        return self._losses.lines()

    def not_contained(self) -> tuple[str, ...]:
        """Return what no backup of this source contains."""
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
        found = self._reader.describe(name)
        days = self._api.options.recovery_days
        if found is None or (found.deleted and days is not None):
            return False
        how: dict[str, object] = {"ForceDeleteWithoutRecovery": True}
        if days is not None:
            how = {"RecoveryWindowInDays": days}
        try:
            self._api.ask("delete_secret", f"delete secret '{name}'", SecretId=found.arn, **how)
        except AwsMissing:
            return False
        return True


def _entry(item: dict[str, Any], *, with_tags: bool) -> ListedSecret:
    tags = tags_of(item.get("Tags") or ())
    versions = max(1, len(item.get("SecretVersionsToStages") or ()))
    return ListedSecret(item["Name"], versions * LARGEST, (), understood(tags).tags if with_tags else None)
