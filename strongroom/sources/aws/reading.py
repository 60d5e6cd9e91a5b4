"""Reads secrets whole: all versions, all metadata, each as of one moment.

A version's value never changes, so what DescribeSecret says and the values of just the versions
that it and the list of versions name are one state, whatever happens meanwhile. Where the two do
not agree, or a version has gone before it was read, the secret moved: it is read anew.

Current values come twenty at a time; where the service gives another version than the described
one, or an error, that version is asked for by itself, which also says what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from strongroom.errors import SourceError
from strongroom.model import Media, Secret, SecretBytes, SecretVersion
from strongroom.sources.aws.client import Api, AwsInvalid, AwsMissing
from strongroom.sources.aws.secrets import (
    CURRENT,
    Described,
    ListedVersion,
    described,
    held,
    media_of,
    moment,
    secret_of,
)
from strongroom.sources.errors import SourceChanged
from strongroom.words import plural

BATCH = 20
TRIES = 5
PAGE = 100
_NAME = re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}")


class SecretChanged(Exception):
    """The secret is not what it was a moment ago."""


class SecretShell(Struct, frozen=True, kw_only=True):
    """A secret without its values."""

    found: Described
    held: tuple[ListedVersion, ...]
    policy: str | None


_Values = dict[str, tuple[str, SecretVersion]]


class AwsReader:
    """Reads secrets by name."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def read(
        self, names: Sequence[str], looks: Mapping[str, SecretShell | None] | None = None
    ) -> list[Secret | None]:
        """Return up to :data:`BATCH` secrets; ``None`` for one that is not there.

        Args:
            looks: what :meth:`look` returned of each, if they were looked at.

        Raises:
            SourceChanged: one was written again and again while we were reading.
            SourceError: one may not be read; it is named.
        """
        if looks is None:
            looks = {name: self.look(name) for name in dict.fromkeys(names)}
        values = self._current([look.found for look in looks.values() if look is not None])
        secrets = {name: self._whole(name, look, values) for name, look in looks.items()}
        return [secrets[name] for name in names]

    def describe(self, name: str) -> Described | None:
        """Return what is known of a secret, or ``None`` if there is none."""
        if not _NAME.fullmatch(name):
            return None
        try:
            answer = self._api.ask("describe_secret", f"read what is known of secret '{name}'", SecretId=name)
        except AwsMissing:
            return None
        found = described(answer)
        return found if found.name == name else None

    def versions(self, found: Described) -> tuple[ListedVersion, ...]:
        """Return all versions, those without a label too, in the service's order.

        Raises :class:`Moved` if they are not those that were described.
        """
        listed = self._listed(found)
        for version in listed:
            if set(version.stages) != set(found.stages.get(version.id, ())):
                raise SecretChanged
        known = {version.id for version in listed}
        empty = [ListedVersion(id_, stages) for id_, stages in found.stages.items() if id_ not in known]
        return (*listed, *empty)

    def head(self, name: str) -> tuple[Described, tuple[ListedVersion, ...]] | None:
        """Return a secret's description and versions, or ``None`` if there is none."""
        for _ in range(TRIES):
            found = self.describe(name)
            if found is None:
                return None
            try:
                return found, self.versions(found)
            except (SecretChanged, AwsMissing):
                continue
        raise _restless(name)

    def look(self, name: str, whole: str = "") -> SecretShell | None:
        """Return what there is of a secret but its values.

        Args:
            whole: the id of its only version, if we just made it whole with one request. As long as it has
                that one and no other, there is nothing else to ask for.
        """
        for _ in range(TRIES):
            found = self.describe(name)
            if found is None:
                return None
            if whole and found.stages == {whole: (CURRENT,)} and found.deleted is None:
                return SecretShell(found=found, held=(ListedVersion(whole, (CURRENT,)),), policy=None)
            try:
                return SecretShell(found=found, held=self.versions(found), policy=self.policy(found))
            except (SecretChanged, AwsMissing):
                continue
        raise _restless(name)

    def _whole(self, name: str, look: SecretShell | None, values: _Values) -> Secret | None:
        for _ in range(TRIES):
            if look is None:
                return None
            try:
                found = look.found
                read = {} if found.deleted else {v.id: self._version(found, v, values) for v in look.held}
                return secret_of(
                    found, look.held, {id_: version for id_, version in read.items() if version}, look.policy
                )
            except SecretChanged:
                look = self.look(name)
        raise _restless(name)

    def policy(self, found: Described) -> str | None:
        """Return the resource policy's JSON. That of a secret scheduled for deletion may be withheld,
        and that of a replica is its primary's business."""
        doing = f"read the resource policy of secret '{found.name}'"
        try:
            answer = self._api.ask("get_resource_policy", doing, SecretId=found.arn)
        except AwsInvalid:
            if found.deleted is None and not self._is_replica(found):
                raise
            return None
        return answer.get("ResourcePolicy")

    def _is_replica(self, found: Described) -> bool:
        return found.primary_region not in (None, self._api.options.region)

    def _version(self, found: Described, version: ListedVersion, values: _Values) -> SecretVersion | None:
        """Return a version with its value. One that is labelled may have none: it was only announced."""
        read = values.get(found.arn)
        if read is not None and read[0] == version.id:
            return read[1]
        doing = f"read a value of secret '{found.name}'"
        try:
            answer = self._api.ask("get_secret_value", doing, SecretId=found.arn, VersionId=version.id)
        except AwsMissing:
            again = self.describe(found.name)
            if again is None or again.arn != found.arn or version.id not in again.stages:
                raise SecretChanged from None
            return None
        if answer["ARN"] != found.arn or answer["VersionId"] != version.id:
            raise SecretChanged
        return _valued(found.name, answer)

    def _current(self, described: Sequence[Described]) -> _Values:
        """Return current values by ARN, with the id of their version."""
        wanted = [found for found in described if not found.deleted and found.holder(CURRENT)]
        if len(wanted) < 2:
            return {}
        names = {found.arn: found.name for found in wanted}
        doing = f"read the values of secret '{wanted[0].name}' and {plural(len(wanted) - 1, 'other')}"
        found: _Values = {}
        for item in self._batch(doing, list(names)):
            if item.get("ARN") in names:
                found[item["ARN"]] = (item["VersionId"], _valued(names[item["ARN"]], item))
        return found

    def _batch(self, doing: str, arns: list[str]) -> list[Mapping[str, Any]]:
        items: list[Mapping[str, Any]] = []
        more: dict[str, str] = {}
        while True:
            try:
                answer = self._api.ask("batch_get_secret_value", doing, SecretIdList=arns, **more)
            except AwsMissing:  # one of them has gone: each is asked for by itself
                return items
            items += answer.get("SecretValues") or ()
            if not answer.get("NextToken"):
                return items
            more = {"NextToken": answer["NextToken"]}

    def _listed(self, found: Described) -> list[ListedVersion]:
        doing = f"list the versions of secret '{found.name}'"
        listed: list[ListedVersion] = []
        more: dict[str, str] = {}
        while True:
            answer = self._api.ask(
                "list_secret_version_ids",
                doing,
                SecretId=found.arn,
                IncludeDeprecated=True,
                MaxResults=PAGE,
                **more,
            )
            listed += map(held, answer.get("Versions") or ())
            if not answer.get("NextToken"):
                return listed
            more = {"NextToken": answer["NextToken"]}


def valid_name(name: str) -> bool:
    """Say whether the service can hold a secret of that name."""
    return _NAME.fullmatch(name) is not None


def _restless(name: str) -> SourceChanged:
    return SourceChanged(f"secret '{name}' changed {TRIES} times while it was being read")


def _valued(name: str, answer: Mapping[str, Any]) -> SecretVersion:
    created = moment(answer.get("CreatedDate"))
    media = media_of(answer["VersionId"])
    text = answer.get("SecretString")
    if text is None:
        value = SecretBytes(bytes(answer.get("SecretBinary") or b""))
        return SecretVersion(number=0, value=value, media=media or Media.BINARY, created_at=created)
    return SecretVersion(
        number=0, value=SecretBytes(_encoded(name, text)), media=media or Media.TEXT, created_at=created
    )


def _encoded(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        problem = SourceError(
            f"the value of secret '{name}' is no Unicode text", hint="Write it as SecretBinary."
        )
    raise problem
