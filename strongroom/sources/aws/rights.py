"""What a credential may do, beside what a backup or a restore needs: tried out, where there is no secret.

AWS decides on a right before it looks for the secret, and moto's server too. So who may change a secret is
told that there is none of that name, and who may not is refused: nothing is ever changed. The name
lies beside that of a real secret, since policies reach names by their beginnings. What a policy
allows elsewhere is not shown, and the trail of the account will have these requests in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from strongroom.sources.aws.client import Api
from strongroom.sources.aws.failures import AwsDenied, AwsExists, AwsInvalid, AwsMissing
from strongroom.sources.aws.options import LONGEST_WINDOW
from strongroom.vault.rights import PathRights

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
